import fcntl
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Triton reads this when it decorates a kernel, which is at the first op that it serves: so it must be
# set before any test. It changes nothing else here, since nothing else on a CPU runs Triton.
os.environ["TRITON_INTERPRET"] = "1"

ROOT = Path(__file__).parent.parent
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("ci")


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


@pytest.fixture(scope="session")
def native():
    """`csrc/core.h` in Python, built on first use."""
    build = ROOT / "build" / "native"
    build.mkdir(parents=True, exist_ok=True)
    pybind = subprocess.run(
        [sys.executable, "-m", "pybind11", "--cmakedir"], capture_output=True, text=True, check=True
    )
    with (build / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        configure = [
            "cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja", "-DINFONOISE_TESTS=ON",
            f"-Dpybind11_DIR={pybind.stdout.strip()}", f"-DPython_EXECUTABLE={sys.executable}",
            f"-DINFONOISE_OUTPUT_DIR={build}",
        ]  # fmt: skip
        subprocess.run(configure, check=True, capture_output=True)
        subprocess.run(["cmake", "--build", str(build)], check=True, capture_output=True)
    path = next(build.glob("_native*.so"))
    spec = importlib.util.spec_from_file_location("_native", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
