"""`python -m infonoise_ext doctor`: what runs here, and how to get what does not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform

import torch

from ._version import __version__
from .ops import library, registry
from .schedule import InfoNoise

EXTRAS = {"matplotlib": "plots and the demo's figure", "tqdm": "the demo's progress bar"}


def report() -> str:
    """Versions, backends found, which serves CPU and CUDA tensors, and what is missing."""
    rows = [("infonoise_ext", __version__), ("torch", torch.__version__), ("python", platform.python_version())]
    rows += [("numpy", _version("numpy")), ("triton", _version("triton"))]
    if torch.cuda.is_available():
        torch.cuda.init()  # lets the ops look at the GPUs
    rows += [
        ("compiled ops", _compiled()),
        (library.ENV_BACKEND, library.requested_backend()),
        ("CPU tensors", _serving("cpu")),
        ("CUDA tensors", f"{_serving('cuda')} ({_cuda_devices()})"),
        ("XPU tensors", _serving("xpu")),
        ("backend='triton'", _triton()),
    ]
    lines = [f"{name:<18} {value}" for name, value in rows]
    return "\n".join([*lines, "", *_advice()])


def _compiled() -> str:
    path = library.library_path()
    if path is None or registry.missing_reason is not None:
        return "not built" if path is None else f"{path.name} not loaded"
    toolkit, *architectures = library.built_for() or ("",)
    cuda = f"with CUDA {toolkit} for {' '.join(architectures)}" if toolkit else "without CUDA ops"
    return f"{path.name} loaded, {cuda}"


def _serving(device: str) -> str:
    """What serves a device's tensors and, if that is not the compiled ops, why."""
    if library.requested_backend() == "triton":
        return f"Triton: {library.ENV_BACKEND} asks for it"
    served = registry.serving(device)
    if "C++" in served:
        return served
    if registry.missing_reason is not None:
        return f"{served}: the C++ ops are not loaded"
    return (
        f"{served}: {(device == 'cuda' and registry.gpu_reason) or f'the C++ ops are not built for {device.upper()}'}"
    )


def _knows_backward() -> bool:
    """Whether the ops see that backward runs, by trying; csrc/backward.h asks torch in a way that torch may take away."""
    s, x = InfoNoise(seed=0).state, torch.ones(1, requires_grad=True)
    observe_ = registry.backend("auto").observe_
    x.register_hook(lambda gradient: observe_(s.ring, s.count, s.counters, s.grid, gradient, gradient, None, None))
    x.sum().backward()
    return int(s.count.sum()) == 0


def _triton() -> str:
    if not library.triton_is_installed():
        return "no triton"
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    return f"GPU tensors{', and CPU tensors in its interpreter' if interpreted else ''}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _cuda_devices() -> str:
    if not torch.cuda.is_available():
        return "no CUDA device here"
    capabilities = [torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())]
    return ", ".join(f"{torch.cuda.get_device_name(i)}, sm_{a}{b}" for i, (a, b) in enumerate(capabilities))


def _advice() -> list[str]:
    advice = []
    if registry.missing_reason is not None:
        advice.append(f"C++ ops: {registry.missing_reason}")
    if registry.serving("cpu") != "nothing" and not _knows_backward():
        advice.append(
            f"Activation checkpoints: torch {torch.__version__} does not tell the C++ ops that backward runs, so a "
            "compiled function that calls `observe` inside a checkpoint records twice"
        )
    if not library.triton_is_installed():
        advice.append(f"Triton ops for GPU tensors: {library.HOW_TO_GET_TRITON}")
    for package, use in EXTRAS.items():
        if importlib.util.find_spec(package) is None:
            advice.append(f"{use}: pip install {package}")
    return advice or ["Nothing is missing."]
