"""Defines the ops, registers what implements them, and hands out a backend's set of them.

`torch.ops.infonoise.*` picks the implementation by the device of its tensors: compiled where a
kernel is built for it, Triton on other GPUs where it is installed, eager torch everywhere else.
`torch.ops.infonoise_eager.*` and `torch.ops.infonoise_triton.*` are the same ops, always by that
backend. Triton is imported at the first op that it serves.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import autograd, eager, library
from .checks import check_pair, error_dtype
from .schemas import MOMENTS, NAMESPACE, SCHEMAS

_AUTOGRAD_FALLTHROUGH = "Autograd"
_GPU_KEYS = ("CUDA", "XPU")  # ROCm's tensors have the key CUDA
_CHANGE_STATE = ("observe_", "sample_", "advance_")
_LIBRARIES: list[torch.library.Library] = []  # registrations live as long as these objects


def _fake_nothing(*args: Any) -> None:
    """Of an op that returns nothing."""
    _check_one_device(args)


def _fake_sigmas(*args: Any) -> Tensor:
    """Of an op that draws: its last arguments are n and the groups."""
    _check_one_device(args)
    return args[0].new_empty((args[-2],), dtype=torch.float32)


def _fake_bin_stats(ring: Tensor, count: Tensor) -> Tensor:
    return ring.new_empty((*count.shape, len(MOMENTS)), dtype=torch.float64)


def _fake_denoising_error(denoised: Tensor, target: Tensor) -> Tensor:
    check_pair(denoised, target)
    return denoised.new_empty((denoised.shape[0],), dtype=error_dtype(denoised, target))


def _fake_denoising_error_backward(grad_error: Tensor, denoised: Tensor, target: Tensor) -> Tensor:
    check_pair(denoised, target)
    return torch.empty_like(denoised)


_FAKES: dict[str, Callable[..., Any]] = {
    "observe_": _fake_nothing,
    "bin_stats": _fake_bin_stats,
    "refresh_": _fake_nothing,
    "sample_": _fake_sigmas,
    "advance_": _fake_sigmas,
    "denoising_error": _fake_denoising_error,
    "denoising_error_backward": _fake_denoising_error_backward,
}


def _check_one_device(args: tuple[Any, ...]) -> None:
    devices = {str(x.device) for x in args if isinstance(x, Tensor)}
    if len(devices) > 1:
        raise ValueError(f"the tensors are on {' and '.join(sorted(devices))}, but must be on one device")


def _refuse_vmap(name: str) -> Callable[..., Any]:
    """Under torch.vmap one call stands for many: all would get the same noise levels."""

    def refuse(*args: Any) -> None:
        raise RuntimeError(f"{name.rstrip('_')} was called under torch.vmap, but must be called outside of it")

    return refuse


def define(namespace: str, implementations: Mapping[str, Callable[..., Any]]) -> torch.library.Library:
    """Define every schema under `namespace`: one implementation for all devices, fakes, derivatives."""
    namespaced = torch.library.Library(namespace, "DEF")
    for name, schema in SCHEMAS.items():
        namespaced.define(name + schema)
        namespaced.impl(name, implementations[name], "CompositeExplicitAutograd")
        if name not in autograd.DIFFERENTIABLE:
            namespaced.impl(name, torch.library.fallthrough_kernel, _AUTOGRAD_FALLTHROUGH)
        torch.library.register_fake(f"{namespace}::{name}", _FAKES[name], lib=namespaced)
        if name in _CHANGE_STATE:
            namespaced.impl(name, _refuse_vmap(name), "FuncTorchVmapMode")
    autograd.register(namespaced, namespace)
    _LIBRARIES.append(namespaced)
    return namespaced


@functools.cache
def _triton() -> ModuleType:
    try:
        from . import triton_ops
    except ImportError as error:
        raise RuntimeError(f"backend 'triton' needs triton: {error}; {library.HOW_TO_GET_TRITON}") from error
    return triton_ops


@functools.cache
def _triton_or_eager() -> ModuleType:
    try:
        return _triton()
    except RuntimeError as error:
        warnings.warn(f"infonoise_ext runs on its eager torch backend; {error}", RuntimeWarning, stacklevel=3)
        return eager


def _late(module: Callable[[], ModuleType], name: str) -> Callable[..., Any]:
    """The function `name` of a module that is imported when it is first called."""
    return lambda *args: getattr(module(), name)(*args)


def _refuse(*args: Any) -> None:
    reason = missing_reason or gpu_reason or "no compiled op is built for the device of these tensors"
    raise RuntimeError(f"{library.ENV_BACKEND}=compiled allows nothing else, but {reason}")


def _fallback(name: str) -> Callable[..., Any]:
    """What serves tensors that nothing else serves."""
    return _refuse if _FALLBACK == "nothing" else getattr(eager, name)


def _serve_without_compiled_ops(key: str) -> None:
    """Let Triton, or the fallback, serve the tensors of a GPU."""
    triton = library.requested_backend() in ("auto", "triton") and library.triton_is_installed()
    for name in SCHEMAS:
        _AUTO.impl(name, _late(_triton_or_eager, name) if triton else _fallback(name), key)
    _SERVED[key] = "Triton" if triton else _FALLBACK


def _check_gpus() -> None:
    """Take CUDA tensors from the compiled ops if those cannot serve every GPU here."""
    global gpu_reason
    gpu_reason = library.why_no_cuda()
    if gpu_reason is not None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"(?s).*Overriding a previously registered kernel", UserWarning)
            _serve_without_compiled_ops("CUDA")
        warnings.warn(f"{_SERVED['CUDA']} serves CUDA tensors; {gpu_reason}", RuntimeWarning, stacklevel=2)


def _has_kernel(key: str) -> bool:
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::observe_", key))


_FALLBACK = "nothing" if library.requested_backend() == library.COMPILED else "eager torch"
_SERVED: dict[str, str] = {}  # what serves the GPU keys that have no compiled op
_AUTO = define(NAMESPACE, {name: _fallback(name) for name in SCHEMAS})
define(f"{NAMESPACE}_eager", {name: getattr(eager, name) for name in SCHEMAS})
define(f"{NAMESPACE}_triton", {name: _late(_triton, name) for name in SCHEMAS})
missing_reason: str | None = library.load()
"""Why no compiled op is loaded; None when they are."""
gpu_reason: str | None = None
"""Why the CUDA ops that are loaded do not serve the GPUs here; None if they do, and until torch starts CUDA."""
for _key in _GPU_KEYS:
    if not _has_kernel(_key):
        _serve_without_compiled_ops(_key)
if "CUDA" not in _SERVED:
    torch.cuda._lazy_call(_check_gpus)  # at torch's first use of CUDA: to ask earlier would start it


class Ops:
    """The ops of one namespace as attributes, in a form that pickles and copies."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        for name in SCHEMAS:
            setattr(self, name, getattr(getattr(torch.ops, namespace), name).default)

    def __reduce__(self) -> tuple[type[Ops], tuple[str]]:
        return Ops, (self.namespace,)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., Any]: ...


def backend(name: str | None = None) -> Ops:
    """The ops of a backend.

    Args:
        name: "auto" (compiled where built, else Triton on GPUs, else eager), "eager", "triton" (GPU
            tensors; CPU tensors too if TRITON_INTERPRET=1 was set early), or None for what
            INFONOISE_BACKEND says (default "auto").

    Raises:
        ValueError: an unknown name.
        RuntimeError: "triton" without triton, or INFONOISE_BACKEND=compiled without compiled ops.
    """
    name = library.requested_backend() if name is None else name
    if name == library.COMPILED == library.requested_backend():
        if missing_reason is not None:
            _refuse()
        name = "auto"
    if name not in library.BACKENDS:
        raise ValueError(f"backend is {name!r}, but must be one of {library.BACKENDS}")
    if name == "triton":
        _triton()
    return Ops(NAMESPACE if name == "auto" else f"{NAMESPACE}_{name}")


def serving(device_type: str) -> str:
    """Which implementation of `auto` serves tensors of a device type.

    "C++", "CUDA C++", "Triton", "eager torch", or "nothing" where INFONOISE_BACKEND=compiled finds no compiled op.
    """
    key = device_type.upper()
    if key in _SERVED:
        return _SERVED[key]
    return ("CUDA C++" if key == "CUDA" else "C++") if _has_kernel(key) else _FALLBACK
