"""Tests that need a CUDA device: `INFONOISE_TEST_DEVICE=cuda python -m pytest tests/gpu`.

Elsewhere they are skipped. INFONOISE_REHEARSE=1 runs on the CPU those that say something there, with the CPU's
ops in the place of the GPU's: it finds mistakes in the tests themselves.
"""

import os
from pathlib import Path

import pytest
import torch
from support import DEVICE

from infonoise_ext.ops import registry as ops

HERE = Path(__file__).parent
REHEARSAL = DEVICE == "cpu" and os.environ.get("INFONOISE_REHEARSE") == "1"
CUDA = DEVICE == "cuda" and torch.cuda.is_available()


def pytest_configure(config):
    config.addinivalue_line("markers", "cuda: says nothing on a CPU, not even in a rehearsal")


def pytest_collection_modifyitems(items):
    """One reason for all of them."""
    needs = pytest.mark.skip(
        reason="needs a CUDA device and INFONOISE_TEST_DEVICE=cuda, as scripts/gpu_check.sh has it"
    )
    for item in items:
        if HERE in item.path.parents and not CUDA and (not REHEARSAL or item.get_closest_marker("cuda")):
            item.add_marker(needs)


@pytest.fixture(scope="session", autouse=True)
def _the_right_kernels():
    """A library whose CUDA ops do not load must fail the tests, not pass them on another backend."""
    if CUDA and os.environ.get("INFONOISE_CUDA_BUILT") == "1":
        torch.cuda.init()  # only then do the ops know whether they serve this GPU
        assert ops.serving("cuda") == "CUDA C++", ops.missing_reason


@pytest.fixture
def cpp():
    """Skips where no CUDA C++ is built."""
    if ops.serving(DEVICE) not in ("CUDA C++", "C++"):
        pytest.skip("needs the CUDA C++ ops, which need nvcc")
