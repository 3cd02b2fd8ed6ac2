"""Libraries that tests build: one with CUDA ops for machines that have nvcc and no GPU, and what none may hold."""

import fcntl
import os
import re
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


def assert_names_no_folder(library, *folders):
    """No path of the machine that built it: of the sources, of torch's headers, of places to look for libraries."""
    content = library.read_bytes()
    assert re.search(rb"csrc/\S+\.cpp", content)  # where a relative path is, an absolute one could be
    for folder in (ROOT, Path(torch.__file__).parent.parent, *folders):
        assert str(folder).encode() not in content, folder
