"""What tests build by CMake, a library with CUDA ops for machines that have nvcc and no GPU among it."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from . import ROOT


def cmake(folder, targets, *options, **environment):
    """Build targets of CMakeLists.txt, one process at a time; returns the folder below `build` where they lie."""
    build = ROOT / "build" / folder
    build.mkdir(parents=True, exist_ok=True)
    with (build / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        configure = [
            "cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja", *options,
            f"-DINFONOISE_TORCH_DIR={Path(torch.__file__).parent}", f"-DINFONOISE_OUTPUT_DIR={build}",
        ]  # fmt: skip
        subprocess.run(configure, check=True, capture_output=True, env=os.environ | environment)
        subprocess.run(["cmake", "--build", str(build), "--target", *targets], check=True, capture_output=True)
    return build


def cuda_library():
    """Path of a `_C.abi3.so` with CUDA ops for sm_90, built on first use."""
    return cmake("cuda-test", ["_C"], "-DINFONOISE_CUDA=ON", CUDAARCHS="90-real") / "_C.abi3.so"


def ptx(*sources, planted=False):
    """What nvcc compiles of sources for sm_90 with the library's options, as texts; with bugs that a test can wake."""
    include = ("-include", str(ROOT / "tests" / "native" / "planted.h")) if planted else ()
    command = [
        "nvcc", "--ptx", "-arch=compute_90", "-std=c++17", "-O3", "-fmad=false", "-lineinfo", "-DUSE_CUDA",
        "-DTORCH_TARGET_VERSION=0x020a000000000000ULL", f"-I{ROOT / 'csrc'}",
        "-isystem", str(Path(torch.__file__).parent / "include"), *include,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / f"{i}.ptx" for i in range(len(sources))]
        pairs = zip(sources, outputs, strict=True)
        running = [subprocess.Popen([*command, ROOT / source, "-o", output]) for source, output in pairs]
        assert [process.wait() for process in running] == [0] * len(running)
        return [output.read_text() for output in outputs]


def assert_names_no_folder(library, *folders):
    """No path of the machine that built it: of the sources, of torch's headers, of places to look for libraries."""
    content = library.read_bytes()
    assert re.search(rb"csrc/\S+\.cpp", content)  # where a relative path is, an absolute one could be
    for folder in (ROOT, Path(torch.__file__).parent.parent, *folders):
        assert str(folder).encode() not in content, folder


def copy_package(folder):
    """A copy of the package without its library, in a folder."""
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    return shutil.copytree(ROOT / "infonoise_ext", folder / "infonoise_ext", ignore=ignored)


def run_copy(folder, code, **environment):
    """Run code against the package's copy in a folder; the finished process."""
    environment = os.environ | {"PYTHONPATH": str(folder)} | environment
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=environment)
