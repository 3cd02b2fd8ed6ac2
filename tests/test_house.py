"""The project's own rules: every op has all its parts, and imports point one way."""

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import infonoise_ext
from infonoise_ext import eager, ops, reference, triton_ops
from infonoise_ext._schemas import NAMESPACE, SCHEMAS

ROOT = Path(__file__).parent.parent
PACKAGE = Path(infonoise_ext.__file__).parent


def test_schemas_are_complete():
    text = {
        "tests": (ROOT / "tests" / "test_ops.py").read_text() + (ROOT / "tests" / "test_compile.py").read_text(),
        "Triton's tests": (ROOT / "tests" / "test_triton.py").read_text(),
        "benchmarks": "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py")),
    }
    cuda = "".join(path.read_text() for path in (ROOT / "csrc" / "cuda").glob("*.cu"))
    for name, schema in SCHEMAS.items():
        arguments = re.findall(r"(\w+)[,)]", schema.split("->")[0])
        assert list(inspect.signature(getattr(reference, name)).parameters) == arguments, name
        assert list(inspect.signature(getattr(eager, name)).parameters)[: len(arguments)] == arguments, name
        assert list(inspect.signature(getattr(triton_ops, name)).parameters) == arguments, name
        assert list(inspect.signature(ops._FAKES[name]).parameters) in (arguments, ["args"]), name
        for key in ("CPU", "CompositeExplicitAutograd"):
            assert torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::{name}", key), (name, key)
        assert f'm.impl("{name}"' in cuda, f"{name} has no CUDA implementation"
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}_triton::{name}", key), name
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::{name}", "CUDA"), name
        for kind, source in text.items():
            assert f'"{name}"' in source, f"{name} has no row in {kind}"


def test_params_tuple_is_the_schema():
    assert reference.Params._fields == infonoise_ext._schemas.PARAMS


def test_import_contracts_hold():
    pytest.importorskip("importlinter")
    lint = shutil.which("lint-imports", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    result = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def run_copy(tmp_path, code, **environment):
    """Run code against a copy of the package that has no compiled ops."""
    target = tmp_path / "infonoise_ext"
    if not target.exists():
        shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)} | environment,
    )  # fmt: skip


def test_without_a_build_the_package_runs_and_says_so_once(tmp_path):
    code = (
        "import infonoise_ext as inx, infonoise_ext.ops as ops\n"
        "s = inx.InfoNoise(seed=1); x = s.sample(100); print(float(s.advance(x, x).sum()), ops.serving('cpu'))\n"
        "inx.InfoNoise()"
    )
    result = run_copy(tmp_path, code)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("eager torch backend") == 1
    assert "--no-build-isolation" in result.stderr
    schedule = infonoise_ext.InfoNoise(seed=1)
    sigma = schedule.sample(100)
    total, serving = result.stdout.split(" ", 1)
    assert abs(float(total) / float(schedule.advance(sigma, sigma).sum()) - 1) < 1e-5
    assert serving.strip() == "eager torch"


def test_doctor_tells_what_is_there_and_what_is_missing(tmp_path):
    command = [sys.executable, "-m", "infonoise_ext", "doctor"]
    here = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert torch.__version__ in here
    assert re.search(r"CPU tensors\s+C\+\+", here)
    bare = run_copy(tmp_path, "from infonoise_ext.doctor import report; print(report())")
    assert re.search(r"CPU tensors\s+eager torch", bare.stdout)
    assert "--no-build-isolation" in bare.stdout
    asked = run_copy(tmp_path, "import infonoise_ext", INFONOISE_BACKEND="eager")
    assert asked.stderr == ""
    wrong = run_copy(tmp_path, "import infonoise_ext", INFONOISE_BACKEND="quick")
    assert "INFONOISE_BACKEND is 'quick'" in wrong.stderr


def test_doctor_says_when_ops_do_not_see_backward(monkeypatch):
    """The reference, which knows nothing of backward, stands for ops under a torch that does not tell them."""
    from infonoise_ext import doctor

    for served in (torch.ops.infonoise, torch.ops.infonoise_eager):
        monkeypatch.setattr(ops, "backend", lambda name, served=served: served)
        assert "records twice" not in doctor.report()
    monkeypatch.setattr(ops, "backend", lambda name: reference)
    assert "does not tell the C++ ops that backward runs" in doctor.report()


def test_triton_is_imported_by_no_one_who_does_not_use_it():
    """Torch itself may import triton with its compiler, so after use only our own module tells."""
    code = (
        "import sys, infonoise_ext as inx; print('triton' in sys.modules)\n"
        "inx.InfoNoise().sample(3); print('infonoise_ext.triton_ops' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]


def test_without_triton_all_else_works_and_the_backend_says_how_to_get_it(tmp_path):
    """A finder that hides triton stands for an environment without it."""
    hide = (
        "import sys, importlib.abc\n"
        "class Hide(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'triton': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "import importlib.util; plain = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'triton' else plain(name, *a)\n"
        "import infonoise_ext as inx, infonoise_ext.ops as ops\n"
        "from infonoise_ext.doctor import report\n"
        "inx.InfoNoise(seed=1).sample(3); print(ops.serving('cuda')); print(report())\n"
        "inx.InfoNoise(seed=1, backend='triton')\n"
    )
    result = subprocess.run([sys.executable, "-c", hide], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.startswith("eager torch")
    assert "Triton ops for GPU tensors" in result.stdout
    assert "RuntimeError: backend 'triton' needs triton" in result.stderr
    assert "pip install triton" in result.stderr


def test_doctor_names_triton_for_gpu_tensors():
    from infonoise_ext.doctor import report

    assert ops.serving("cuda") == ops.serving("xpu") == "Triton"
    assert re.search(r"CUDA tensors\s+Triton", report())
    assert re.search(r"backend='triton'\s+GPU tensors, and CPU tensors", report())


def test_command_line_names_its_commands():
    result = subprocess.run([sys.executable, "-m", "infonoise_ext"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert "doctor" in result.stderr
    assert "demo" in result.stderr
