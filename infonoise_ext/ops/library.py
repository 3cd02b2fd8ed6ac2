"""Finds and loads the compiled ops, and knows what is missing when there are none."""

from __future__ import annotations

import ctypes
import glob
import importlib.util
import os
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch

ENV_BACKEND = "INFONOISE_BACKEND"
BACKENDS = ("auto", "eager", "triton")
COMPILED = "compiled"  # for the environment only: as "auto", but nothing else may serve in the compiled ops' place
MIN_TORCH = (2, 10)
HOW_TO_GET_TRITON = "torch's GPU builds bring it, else `pip install triton` (Linux)"


def library_path() -> Path | None:
    """Path of `_C.abi3.so` beside this file, or None."""
    found = sorted(glob.glob(str(Path(__file__).parent.parent / "_C.abi3.*")))
    return Path(found[0]) if found else None


def requested_backend() -> str:
    """What the environment variable INFONOISE_BACKEND asks for, checked."""
    backend = os.environ.get(ENV_BACKEND, "auto").lower()
    if backend not in (*BACKENDS, COMPILED):
        raise ValueError(f"{ENV_BACKEND} is {backend!r}, but must be one of {(*BACKENDS, COMPILED)}")
    return backend


def load() -> str | None:
    """Load the compiled ops; return None on success, else the reason why eager torch serves."""
    if requested_backend() == "eager":
        return f"{ENV_BACKEND}=eager asks for the eager backend"
    path = library_path()
    if path is None:
        reason = f"this installation has no compiled ops: {how_to_build()}"
    elif torch_version() < MIN_TORCH:
        reason = f"the compiled ops need torch >= 2.10, but torch is {torch.__version__}"
    else:
        try:
            torch.ops.load_library(str(path))
        except OSError as error:
            said = str(error.__cause__ or error)  # the loader's own words: the symbol or the library that it misses
            reason = f"{path.name} does not load: {said.replace(f'{path}: ', '')}"
        else:
            return None
    if requested_backend() == COMPILED:
        return reason
    warnings.warn(f"infonoise_ext runs on its eager torch backend; {reason}", RuntimeWarning, stacklevel=2)
    return reason


def built_for() -> tuple[str, ...]:
    """CUDA version and architectures that the loaded library has CUDA ops for; empty without CUDA ops."""
    try:
        record = ctypes.c_char.in_dll(ctypes.CDLL(str(library_path())), "infonoise_built_for")
    except (OSError, ValueError):
        return ()
    return tuple(ctypes.string_at(ctypes.addressof(record)).decode().split())


def has_image(architectures: Iterable[str], major: int, minor: int) -> bool:
    """Whether CUDA code built for `architectures` (CMake's words: 90, 90-real, 90-virtual) runs on a GPU."""
    for architecture in architectures:
        number, _, kind = architecture.partition("-")
        if not number.isdigit():  # native, all, 90a: whoever asked for it knows the GPU
            return True
        built = divmod(int(number), 10)
        if kind != "virtual" and built[0] == major and built[1] <= minor:
            return True
        if kind != "real" and built <= (major, minor):  # PTX, which the driver compiles
            return True
    return False


def why_no_cuda() -> str | None:
    """Why the library's CUDA ops cannot serve every GPU here, or None. Asks torch for the GPUs, which starts CUDA."""
    toolkit, *architectures = built_for()
    cuda = torch.version.cuda
    if cuda is None or cuda.split(".")[0] != toolkit.split(".")[0]:
        return f"the compiled ops are of CUDA {toolkit}, but torch is of {f'CUDA {cuda}' if cuda else 'no CUDA'}"
    for i in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(i)
        if not has_image(architectures, major, minor):
            gpu = f"{torch.cuda.get_device_name(i)} (sm_{major}{minor})"
            return f"the compiled ops have no image for {gpu}, but for {', '.join(architectures)}"
    return None


def triton_is_installed() -> bool:
    """Whether a triton package can be found; it is not imported."""
    return importlib.util.find_spec("triton") is not None


def torch_version() -> tuple[int, int]:
    """Major and minor of the torch that runs."""
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)


def how_to_build() -> str:
    """One sentence: what is missing for the compiled ops and the command that builds them."""
    missing = [name for name in ("cmake", "ninja", "c++") if shutil.which(name) is None]
    needs = f"install {', '.join(missing)}, then " if missing else ""
    return f"{needs}run `pip install --no-build-isolation .` in the source folder"
