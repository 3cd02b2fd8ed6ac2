"""Which GPUs the compiled ops can serve, and what is said of a library that does not load."""

import os
import re
import subprocess
import sys

import pytest
import torch
from support import ROOT
from support.builds import copy_package, run_copy

from infonoise_ext.ops import library


def run(folder, code, content=b"no library", **environment):
    """Run code against a copy of the package whose library is `content`."""
    (copy_package(folder) / "_C.abi3.so").write_bytes(content)
    return run_copy(folder, code, **environment)


WHEEL = "75-real 80-real 86-real 89-real 90-real 100-real 120-real 120-virtual"


# By NVIDIA's rules: an image runs on its major version from its minor version on, PTX on all that is newer.
@pytest.mark.parametrize(
    ("architectures", "capability", "runs"),
    [
        (WHEEL, (7, 5), True),
        (WHEEL, (8, 0), True),
        (WHEEL, (8, 7), True),
        (WHEEL, (9, 0), True),
        (WHEEL, (10, 3), True),
        (WHEEL, (12, 1), True),
        (WHEEL, (13, 0), True),
        (WHEEL, (7, 0), False),
        (WHEEL, (6, 1), False),
        (WHEEL, (11, 0), False),
        ("86-real", (8, 0), False),
        ("90-real", (10, 0), False),
        ("90", (10, 0), True),
        ("90-virtual", (8, 9), False),
        ("90a-real", (9, 0), True),
        ("native", (5, 0), True),
        ("all-major", (9, 0), True),
    ],
)
def test_a_gpu_needs_an_image(architectures, capability, runs):
    assert library.has_image(architectures.split(), *capability) is runs


@pytest.mark.parametrize(
    ("cuda", "capability", "reason"),
    [
        ("13.2", (9, 0), None),
        ("12.8", (9, 0), "the compiled ops are of CUDA 13.0.88, but torch is of CUDA 12.8"),
        (None, (9, 0), "the compiled ops are of CUDA 13.0.88, but torch is of no CUDA"),
        ("13.0", (7, 0), "the compiled ops have no image for Volta (sm_70), but for 80-real, 90"),
    ],
)
def test_why_the_cuda_ops_cannot_serve(cuda, capability, reason, monkeypatch):
    monkeypatch.setattr(library, "built_for", lambda: ("13.0.88", "80-real", "90"))
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: capability if i else (8, 6))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: "Volta" if i else "Ampere")
    assert library.why_no_cuda() == reason


@pytest.mark.slow
def test_a_library_that_is_none_is_said_once(tmp_path):
    result = run(tmp_path, "import infonoise_ext as inx; inx.InfoNoise().sample(3); inx.InfoNoise().sample(3)")
    assert result.returncode == 0, result.stderr
    assert len(re.findall("_C.abi3.so does not load: file too short", result.stderr)) == 1
    assert str(tmp_path / "infonoise_ext" / "_C") not in result.stderr


@pytest.mark.slow
def test_a_missing_symbol_is_named(tmp_path):
    (tmp_path / "lib.c").write_text(
        "void other_torch(void); __attribute__((constructor)) void f(void) { other_torch(); }"
    )
    path = tmp_path / "lib.so"
    subprocess.run(["cc", "-shared", "-fPIC", str(tmp_path / "lib.c"), "-o", str(path)], check=True)
    code = "from infonoise_ext.doctor import report; print(report())"
    result = run(tmp_path, code, path.read_bytes())
    for said in (result.stdout, result.stderr):
        assert said.count("_C.abi3.so does not load: undefined symbol: other_torch\n") == 1
    assert re.search("CPU tensors +eager torch: the C.. ops are not loaded", result.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    "use", ["inx.InfoNoise()", "torch.ops.infonoise.bin_stats(torch.zeros(1, 4, 2), torch.zeros(1, 4).long())"]
)
def test_compiled_refuses_to_fall_back(use, tmp_path):
    code = f"import torch, infonoise_ext as inx; print('imported'); {use}"
    result = run(tmp_path, code, INFONOISE_BACKEND="compiled")
    assert (result.returncode, result.stdout) == (1, "imported\n")
    last = "RuntimeError: INFONOISE_BACKEND=compiled allows nothing else, but _C.abi3.so does not load: file too short"
    assert result.stderr.splitlines()[-1] == last


@pytest.mark.slow
def test_compiled_serves_where_the_library_loads():
    code = (
        "import torch, infonoise_ext as inx; from infonoise_ext.ops import registry as ops\n"
        "print(ops.serving('cpu'), inx.InfoNoise(seed=1).sample(4).isfinite().all())"
    )
    environment = os.environ | {"INFONOISE_BACKEND": "compiled"}
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.stdout == "C++ tensor(True)\n", result.stderr


@pytest.mark.slow
def test_doctor_says_that_nothing_serves(tmp_path):
    result = run(tmp_path, "from infonoise_ext.doctor import report; print(report())", INFONOISE_BACKEND="compiled")
    assert re.search("CPU tensors +nothing: the C.. ops are not loaded", result.stdout), result.stderr
    assert "C++ ops: _C.abi3.so does not load: file too short" in result.stdout
