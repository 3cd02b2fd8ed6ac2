"""Builds the C++ ops with CMake and Ninja; without a compiler the package installs without them."""

import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent


def torch_dir() -> Path | None:
    """Folder of the installed torch, without importing it."""
    spec = importlib.util.find_spec("torch")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def torch_has_cuda() -> bool:
    """Whether the installed torch is a CUDA build."""
    folder = torch_dir()
    return folder is not None and runpy.run_path(str(folder / "version.py")).get("cuda") is not None


def missing_tools() -> list[str]:
    """What the build needs and does not find."""
    compiler = os.environ.get("CXX", "c++")
    found = {
        "torch": torch_dir(),
        "cmake": shutil.which("cmake"),
        "ninja": shutil.which("ninja"),
        f"a C++17 compiler ({compiler})": shutil.which(compiler) or shutil.which("g++") or shutil.which("clang++"),
    }
    return [name for name, path in found.items() if path is None]


def cuda_enabled() -> bool:
    """What INFONOISE_CUDA means here: 0, 1, or auto (with nvcc and a CUDA build of torch)."""
    choice = os.environ.get("INFONOISE_CUDA", "auto")
    if choice not in ("0", "1", "auto"):
        raise ValueError(f"INFONOISE_CUDA is {choice!r}, but must be 0, 1 or auto")
    nvcc = shutil.which("nvcc")
    if choice == "1" and nvcc is None:
        raise RuntimeError("INFONOISE_CUDA=1, but nvcc is not on the PATH: install the CUDA toolkit, or use auto")
    return choice == "1" or (choice == "auto" and nvcc is not None and torch_has_cuda())


class CMakeBuild(build_ext):
    """Runs CMake for the one library, or leaves it out and says so."""

    def run(self) -> None:
        """Build, unless a tool is missing."""
        cuda = cuda_enabled()
        missing = missing_tools()
        if missing:
            if cuda:
                raise RuntimeError(f"CUDA ops are asked for, but the build lacks {', '.join(missing)}")
            print(f"infonoise_ext: no C++ ops are built, for want of {', '.join(missing)}; eager torch serves",
                  file=sys.stderr)  # fmt: skip
            self.extensions = []
        super().run()

    def build_extension(self, ext: Extension) -> None:
        """Configure and build `_C.abi3.so` where setuptools wants it."""
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        build = Path(self.build_temp).resolve() / "cmake"
        configure = [
            "cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DINFONOISE_TORCH_DIR={torch_dir()}",
            f"-DINFONOISE_OUTPUT_DIR={target.parent}",
            f"-DINFONOISE_CUDA={'ON' if cuda_enabled() else 'OFF'}",
        ]  # fmt: skip
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(build), "--target", "_C"], check=True)
        if not target.exists():
            raise RuntimeError(f"CMake ended well, but did not write {target}")


setup(
    ext_modules=[Extension("infonoise_ext._C", sources=[], py_limited_api=True)],
    cmdclass={"build_ext": CMakeBuild},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
