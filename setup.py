"""Builds the C++ ops with CMake. What cannot be built is left out, with one sentence.

INFONOISE_CUDA is 0, 1 or auto (the default: where nvcc fits the installed torch). INFONOISE_CUDA=1 demands the
CUDA ops and INFONOISE_BACKEND=compiled the C++ ops: without them the build is an error.
"""

import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, OptionError, PlatformError

ROOT = Path(__file__).parent
CUDA = os.environ.get("INFONOISE_CUDA", "auto")
REQUIRED = CUDA == "1" or os.environ.get("INFONOISE_BACKEND") == "compiled"


def torch_dir() -> Path:
    """Folder of the installed torch, without importing it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise PlatformError("torch is not installed here (with it, build by `pip install --no-build-isolation`)")
    return Path(spec.origin).parent


def nvcc_release() -> str | None:
    """Version of the nvcc on the PATH, as "13.0"; None without one that runs."""
    try:
        said = subprocess.run(["nvcc", "--version"], capture_output=True, text=True).stdout
    except OSError:
        return None
    found = re.search(r"release ([\d.]+)", said)
    return found and found[1]


def why_no_cuda(torch_cuda: str | None) -> str | None:
    """Why the CUDA ops cannot be built beside a torch of that CUDA version; None if they can."""
    nvcc = nvcc_release()
    if nvcc is None:
        return "nvcc is not on the PATH"
    if torch_cuda is not None and nvcc.split(".")[0] != torch_cuda.split(".")[0]:
        return f"nvcc is of CUDA {nvcc}, but torch of CUDA {torch_cuda}, and their major versions must be equal"
    return None


def wants_cuda() -> bool:
    """Whether to build the CUDA ops: as INFONOISE_CUDA says, or where nvcc and torch allow it."""
    if CUDA not in ("0", "1", "auto"):
        raise OptionError(f"INFONOISE_CUDA is {CUDA!r}, but must be 0, 1 or auto")
    torch_cuda = runpy.run_path(str(torch_dir() / "version.py")).get("cuda")
    if CUDA == "0" or (CUDA == "auto" and torch_cuda is None):
        return False
    reason = why_no_cuda(torch_cuda)
    if CUDA == "1" and reason is not None:
        raise PlatformError(f"INFONOISE_CUDA=1, but {reason}")
    if reason is not None:
        say(f"no CUDA ops are built, Triton serves GPUs: {reason}")
    return reason is None


def say(what: str) -> None:
    """One sentence for whoever watches the build."""
    print(f"infonoise_ext: {what}", file=sys.stderr)


def first_error(said: str) -> str:
    """The first sentence of the first error in what CMake says."""
    found = re.search(r"CMake Error[^\n]*:\n+((?:.|\n)+?\.)\s", said + "\n")
    return " ".join((found[1] if found else said.strip() or "no reason is given").split())


class CMakeBuild(build_ext):
    """Runs CMake for the one library, or leaves it out."""

    def run(self) -> None:
        """Configure, then build; without what CMake needs, build nothing."""
        try:
            self.configure(wants_cuda())
        except PlatformError as reason:
            if REQUIRED:
                raise
            say(f"no C++ ops are built, eager torch serves: {reason}")
            self.extensions = []
        super().run()

    def configure(self, cuda: bool) -> None:
        """Let CMake look at the compilers; PlatformError with its reason if they will not do."""
        build = self.folder()
        shutil.rmtree(build, ignore_errors=True)  # it remembers the compilers of last time
        command = [
            "cmake", "-S", str(ROOT), "-B", str(build), *(["-G", "Ninja"] if shutil.which("ninja") else []),
            f"-DINFONOISE_TORCH_DIR={torch_dir()}", f"-DINFONOISE_CUDA={'ON' if cuda else 'OFF'}",
        ]  # fmt: skip
        try:
            result = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            raise PlatformError(f"cmake does not run: {error.strerror}") from None
        if result.returncode == 0:
            return
        reason = first_error(result.stderr)
        if not cuda or CUDA == "1":
            raise PlatformError(reason)
        say(f"no CUDA ops are built, Triton serves GPUs: {reason}")
        self.configure(cuda=False)

    def folder(self) -> Path:
        """Where CMake works."""
        return Path(self.build_temp).resolve() / "cmake"

    def build_extension(self, ext: Extension) -> None:
        """Build `_C.abi3.so` where setuptools wants it."""
        if subprocess.run(["cmake", "--build", str(self.folder()), "--target", "_C"]).returncode:
            raise CompileError("the C++ ops do not compile, see above (INFONOISE_CUDA=0 leaves out the CUDA ops)")
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.folder() / "_C.abi3.so", target)


setup(
    ext_modules=[Extension("infonoise_ext._C", sources=[], py_limited_api=True)],
    cmdclass={"build_ext": CMakeBuild},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
