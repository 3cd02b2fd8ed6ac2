"""Finds and loads the compiled ops, and knows what is missing when there are none."""

from __future__ import annotations

import glob
import importlib.util
import os
import shutil
import warnings
from pathlib import Path

import torch

ENV_BACKEND = "INFONOISE_BACKEND"
BACKENDS = ("auto", "eager", "triton")
MIN_TORCH = (2, 10)
HOW_TO_GET_TRITON = "torch's GPU builds bring it, else `pip install triton` (Linux)"


def library_path() -> Path | None:
    """Path of `_C.abi3.so` beside this file, or None."""
    found = sorted(glob.glob(str(Path(__file__).parent.parent / "_C.abi3.*")))
    return Path(found[0]) if found else None


def requested_backend() -> str:
    """What the environment variable INFONOISE_BACKEND asks for, checked."""
    backend = os.environ.get(ENV_BACKEND, "auto").lower()
    if backend not in BACKENDS:
        raise ValueError(f"{ENV_BACKEND} is {backend!r}, but must be one of {BACKENDS}")
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
            reason = f"{path.name} does not load: {error}"
        else:
            return None
    warnings.warn(f"infonoise_ext runs on its eager torch backend; {reason}", RuntimeWarning, stacklevel=2)
    return reason


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
