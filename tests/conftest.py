import functools
import importlib.util
import os
import shutil
import subprocess
import sys

import pytest
import torch
from support import OPS, generator
from support.builds import cmake, ptx
from support.parity import LIMITS, schedules

try:
    from hypothesis import settings
except ImportError:  # the tests on a GPU do without
    settings = None

# Triton reads this when it decorates a kernel, which is at the first op that it serves: so it must be
# set before any test. It changes nothing else here, since nothing else on a CPU runs Triton.
if os.environ.get("INFONOISE_TEST_DEVICE", "cpu") == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"

if settings is not None:
    settings.register_profile("ci", deadline=None, derandomize=True, max_examples=60)
    settings.register_profile("long", deadline=None, max_examples=3000)
    settings.load_profile("ci")


def pytest_collection_modifyitems(items):
    """Slow tests first, so that no worker is left alone with one, and each with a timeout of its own."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _poisoned_empty(monkeypatch):
    """Code of the package that leaves an element of `torch.empty` unwritten meets NaN there."""
    plain = torch.empty

    def poisoned(*size, **options):
        out = plain(*size, **options)
        ours = sys._getframe(1).f_globals.get("__name__", "").startswith("infonoise_ext")
        return out.fill_(torch.nan) if ours and out.is_floating_point() else out

    monkeypatch.setattr(torch, "empty", poisoned)


@pytest.fixture(name="generator")
def _generator():
    """Source of the random inputs of one test."""
    return generator(20260218)


def built(*names):
    """Test-only modules of CMakeLists.txt, built on first use."""
    command = [sys.executable, "-m", "pybind11", "--cmakedir"]
    pybind11 = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    options = "-DINFONOISE_TESTS=ON", f"-Dpybind11_DIR={pybind11}", f"-DPython_EXECUTABLE={sys.executable}"
    build = cmake("native", names, *options)
    modules = []
    for name in names:
        spec = importlib.util.spec_from_file_location(name, next(build.glob(f"{name}.*so")))
        modules.append(importlib.util.module_from_spec(spec))
        spec.loader.exec_module(modules[-1])
    return modules


@pytest.fixture(scope="session")
def native():
    """`csrc/core` in Python."""
    return built("_native")[0]


@pytest.fixture(scope="session")
def emulated():
    """The CUDA kernels on CPU tensors."""
    return built("_emulated")[0]


@pytest.fixture(scope="session")
def interpreter():
    """The interpreter of PTX, as a function of the CUDA sources to load, with planted bugs or without."""
    if shutil.which("nvcc") is None:
        pytest.skip("needs nvcc")
    module, texts, loaded = built("_interpreted")[0], functools.cache(ptx), []

    def load(*sources, planted=False):
        if loaded != [sources, planted]:
            module.load(texts(*sources, planted=planted))
            loaded[:] = [sources, planted]
        return module

    return load


KERNELS = ("csrc/cuda/ops.cu", "csrc/cuda/loss_ops.cu")


@pytest.fixture
def interpreted(interpreter):
    """What nvcc compiled of the CUDA kernels, on CPU tensors."""
    return interpreter(*KERNELS)


@pytest.fixture
def ways(backend, request):
    """The ops of a backend: one set of them, or where schedules matter one under each, and under each limit."""
    if backend not in ("emulated", "interpreted"):
        return [OPS[backend]]
    module = request.getfixturevalue(backend)
    return [op for limits in LIMITS.values() for op in schedules(backend, module, **limits)]


@pytest.fixture
def planted(emulated):
    """The CUDA kernels with bugs; `plant(name)` wakes one."""
    yield emulated
    emulated.plant("")


@pytest.fixture
def planted_ptx(interpreter):
    """What nvcc compiled of the CUDA kernels with bugs; `plant(name)` wakes one."""
    module = interpreter(*KERNELS, planted=True)
    yield module
    module.plant("")
