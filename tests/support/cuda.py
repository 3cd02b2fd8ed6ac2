"""The library with CUDA ops, for tests on machines that have nvcc and no GPU."""

import fcntl
import os
import subprocess
from pathlib import Path

import torch

from . import ROOT


def cuda_library():
    """Path of a `_C.abi3.so` with CUDA ops for sm_90, built on first use."""
    build = ROOT / "build" / "cuda-test"
    build.mkdir(parents=True, exist_ok=True)
    with (build / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        configure = [
            "cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja", "-DINFONOISE_CUDA=ON",
            f"-DINFONOISE_TORCH_DIR={Path(torch.__file__).parent}", f"-DINFONOISE_OUTPUT_DIR={build}",
        ]  # fmt: skip
        subprocess.run(configure, check=True, capture_output=True, env=os.environ | {"CUDAARCHS": "90-real"})
        subprocess.run(["cmake", "--build", str(build), "--target", "_C"], check=True, capture_output=True)
    return build / "_C.abi3.so"
