"""The project's own rules: every op has all its parts, and imports point one way."""

import ast
import functools
import inspect
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import ROOT, builds

import infonoise_ext
from infonoise_ext.ops import eager, reference, triton_ops
from infonoise_ext.ops import registry as ops
from infonoise_ext.ops.schemas import LAYOUT, NAMESPACE, SCHEMAS

PACKAGE = Path(infonoise_ext.__file__).parent


def test_schemas_are_complete():
    text = {
        "tests": "".join((ROOT / "tests" / "ops" / f"test_{name}.py").read_text() for name in ("ops", "loss_ops")),
        "arguments for tests": (ROOT / "tests" / "support" / "arguments.py").read_text(),
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
            assert re.search(rf"\b{name}\b", source), f"{name} has no row in {kind}"


STEPS = {
    "record": ("bin_of", "skip_cause", "record"),
    "draw": ("philox", "shuffle", "uniforms", "invert"),
    "estimate": ("variance", "pooled", "estimate"),
    "pivot": ("onset", "knee", "power_law", "pivot"),
    "signal": ("rise", "window", "sharpness", "learnable", "signal"),
    "refresh": ("gate", "build_table"),
}
"""The steps of the algorithm by the stem of their file; the ops themselves are in `OPS_OF`."""
OPS_OF = {
    "record": ("observe_", "bin_stats"),
    "draw": ("sample_",),
    "refresh": ("refresh_",),
    "advance": ("advance_",),
    "loss": ("denoising_error", "denoising_error_backward"),
}


def functions_by_file(folder):
    """Names of the functions that each module of a folder defines."""
    trees = {path.stem: ast.parse(path.read_text()) for path in folder.glob("*.py")}
    return {stem: [n.name for n in tree.body if isinstance(n, ast.FunctionDef)] for stem, tree in trees.items()}


@pytest.mark.parametrize("backend", ["reference", "eager", "triton_ops"])
def test_every_step_has_one_name_and_one_stem_in_python(backend):
    assert sorted(itertools.chain(*OPS_OF.values())) == sorted(SCHEMAS)
    found = functions_by_file(PACKAGE / "ops" / backend)
    for stem, names in [*STEPS.items(), *OPS_OF.items()]:
        for name in names:
            assert [file for file, defined in found.items() for each in defined if each == name] == [stem], name


def test_every_step_has_the_same_name_and_stem_in_cpp():
    """In the arithmetic or the CPU's loops once; a kernel of the same name has the same stem."""
    texts = {path: path.read_text() for path in (ROOT / "csrc").glob("c*/*") if path.suffix in (".h", ".cuh")}
    for stem, names in STEPS.items():
        for name in names:
            definition = re.compile(rf"^[A-Za-z][^;=\n]*[ *&]{name}\(", re.MULTILINE)
            found = [path for path, text in texts.items() for _ in definition.findall(text)]
            assert {path.stem for path in found} == {stem}, (name, found)
            assert sum(path.parent.name != "cuda" for path in found) == 1, (name, found)


def test_state_lies_as_the_ops_and_a_checkpoint_take_it():
    """Written out once more, since a checkpoint of today must load for ever."""
    f32, f64, i64 = torch.float32, torch.float64, torch.int64
    wanted = {
        "ring": (f32, (3, 7, 5), -1), "count": (i64, (3, 7), 0), "previous_count": (i64, (3, 2, 7), 0),
        "previous_cdf": (f64, (3, 8), None), "mmse": (f64, (3, 7), -1), "cdf": (f64, (3, 8), None),
        "stats": (f64, (3, 6), 0), "counters": (i64, (3, 12), 0), "rng": (i64, (2,), None), "grid": (f64, (4, 8), None),
        "params": (f64, (15,), None),
    }  # fmt: skip
    state = infonoise_ext.InfoNoise(groups=3, bins=7, capacity=5, min_count=2).state
    assert list(state._asdict()) == list(wanted) == list(LAYOUT)
    for name, (dtype, shape, start) in wanted.items():
        tensor = getattr(state, name)
        assert (tensor.dtype, tensor.shape) == (dtype, shape), name
        assert start is None or bool((tensor == start).all()), name


def test_import_contracts_hold():
    pytest.importorskip("importlinter")
    lint = shutil.which("lint-imports", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    result = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.fixture(scope="module")
def run_copy(tmp_path_factory):
    """Runs code against a copy of the package that has no compiled ops."""
    folder = tmp_path_factory.mktemp("copy")
    builds.copy_package(folder)
    return functools.partial(builds.run_copy, folder)


def test_without_a_build_the_package_runs_and_says_so_once(run_copy):
    code = (
        "import infonoise_ext as inx, infonoise_ext.ops.registry as ops\n"
        "s = inx.InfoNoise(seed=1); x = s.sample(100); print(float(s.advance(x, x).sum()), ops.serving('cpu'))\n"
        "inx.InfoNoise()"
    )
    result = run_copy(code)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("eager torch backend") == 1
    assert "--no-build-isolation" in result.stderr
    schedule = infonoise_ext.InfoNoise(seed=1)
    sigma = schedule.sample(100)
    total, serving = result.stdout.split(" ", 1)
    assert abs(float(total) / float(schedule.advance(sigma, sigma).sum()) - 1) < 1e-5
    assert serving.strip() == "eager torch"


@pytest.mark.slow
def test_doctor_tells_what_is_there_and_what_is_missing(run_copy):
    command = [sys.executable, "-m", "infonoise_ext", "doctor"]
    here = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert torch.__version__ in here
    assert re.search(r"CPU tensors\s+C\+\+", here)
    bare = run_copy("from infonoise_ext.doctor import report; print(report())")
    assert re.search(r"CPU tensors\s+eager torch", bare.stdout)
    assert "--no-build-isolation" in bare.stdout
    asked = run_copy("import infonoise_ext", INFONOISE_BACKEND="eager")
    assert asked.stderr == ""
    wrong = run_copy("import infonoise_ext", INFONOISE_BACKEND="quick")
    assert "INFONOISE_BACKEND is 'quick'" in wrong.stderr


def test_doctor_says_when_ops_do_not_see_backward(monkeypatch):
    """The reference, which knows nothing of backward, stands for ops under a torch that does not tell them."""
    from infonoise_ext import doctor

    for served in (torch.ops.infonoise, torch.ops.infonoise_eager):
        monkeypatch.setattr(ops, "backend", lambda name, served=served: served)
        assert "records twice" not in doctor.report()
    monkeypatch.setattr(ops, "backend", lambda name: reference)
    assert "does not tell the C++ ops that backward runs" in doctor.report()


def test_without_triton_all_else_works_and_the_backend_says_how_to_get_it():
    """A finder that hides triton stands for an environment without it."""
    hide = (
        "import sys, importlib.abc\n"
        "class Hide(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'triton': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "import importlib.util; plain = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'triton' else plain(name, *a)\n"
        "import infonoise_ext as inx, infonoise_ext.ops.registry as ops\n"
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
