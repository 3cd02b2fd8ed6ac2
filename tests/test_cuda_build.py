"""The library as CMake builds it: with CUDA ops it loads with a torch that knows no CUDA, and it names no folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from infonoise_ext._schemas import SCHEMAS

ROOT = Path(__file__).parent.parent


def build(name, *options, **environment):
    """The library, built in a folder of its own."""
    folder = ROOT / "build" / name
    configure = [
        "cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja", *options,
        f"-DINFONOISE_TORCH_DIR={Path(torch.__file__).parent}", f"-DINFONOISE_OUTPUT_DIR={folder}",
    ]  # fmt: skip
    subprocess.run(configure, check=True, capture_output=True, env=os.environ | environment)
    subprocess.run(["cmake", "--build", str(folder), "--target", "_C"], check=True, capture_output=True)
    return folder / "_C.abi3.so"


def assert_names_no_folder(library):
    """Neither sources, nor torch's headers, nor a place to look for libraries."""
    content = library.read_bytes()
    assert b"csrc/cpu/ops.cpp" in content  # where a relative path is, an absolute one could be
    for folder in (ROOT, Path(torch.__file__).parent.parent, Path(sys.prefix)):
        assert str(folder).encode() not in content, folder


def test_library_names_no_folder_of_the_machine_that_built_it():
    assert_names_no_folder(build("cpu-test"))


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_one_library_serves_cpu_and_cuda_keys(tmp_path):
    output = tmp_path / "infonoise_ext"
    shutil.copytree(ROOT / "infonoise_ext", output, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    library = build("cuda-test", "-DINFONOISE_CUDA=ON", CUDAARCHS="90")
    assert_names_no_folder(library)
    assert b"csrc/cuda/ops.cu" in library.read_bytes()
    shutil.copy(library, output)
    code = (
        "import torch, infonoise_ext as inx, infonoise_ext.ops as ops\n"
        f"assert ops.missing_reason is None and inx.__file__.startswith({str(tmp_path)!r}), inx.__file__\n"
        "has = torch._C._dispatch_has_kernel_for_dispatch_key\n"
        "print(*(name for name in ops.SCHEMAS if has('infonoise::' + name, 'CUDA')))\n"
        "print(ops.serving('cpu'), inx.InfoNoise(seed=1).sample(4).isfinite().all())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    names, rest = result.stdout.strip().splitlines()
    assert names.split() == list(SCHEMAS)
    assert rest == "C++ tensor(True)"
