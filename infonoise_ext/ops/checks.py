"""Checks of the arguments of the ops that Python implements: "NAME is VALUE, but must be WHAT".

They ask for what the host knows of a tensor: dtype, shape, strides and device. They never read a value, for which
the host would wait for the device, but one: a group on the CPU, where reading costs nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .schemas import LAYOUT, MAX_DRAW, MOMENTS_LAYOUT

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.int64, torch.int32)
_TENSORS = LAYOUT | {"moments": MOMENTS_LAYOUT}


def check_state(**tensors: Tensor) -> None:
    """ValueError unless every tensor lies as `LAYOUT` says, and all on one device."""
    device = next(iter(tensors.values())).device
    for name, x in tensors.items():
        layout = _TENSORS[name]
        if x.dtype != layout.dtype or x.dim() != len(layout.shape) or not x.is_contiguous():
            gaps = "" if x.is_contiguous() else ", not contiguous"
            wanted = f"{_names(layout.dtype)} [{', '.join(map(str, layout.shape))}]"
            raise ValueError(f"{name} is {_kind(x)}{gaps}, but must be contiguous {wanted}")
        _check_device(name, x, device)


def check_batch(like: Tensor, sigma: Tensor, error: Tensor, mask: Tensor | None, group: Tensor | None) -> None:
    """ValueError unless these are what `observe_` takes, on the device of `like`."""
    _check_vector("sigma", sigma, like, None, *FLOATS)
    batch = sigma.numel()
    _check_vector("error", error, like, batch, *FLOATS)
    if mask is not None:
        _check_vector("mask", mask, like, batch, torch.bool)
    if group is not None:
        _check_vector("group", group, like, batch, *_INTEGERS)


def check_draw(cdf: Tensor, n: int, group: Tensor | None, name: str = "group") -> None:
    """ValueError unless n sigmas can be drawn from the tables `cdf` that `group` names."""
    if not 0 <= n <= MAX_DRAW:
        raise ValueError(f"n is {n}, but must be in [0, {MAX_DRAW}]")
    if group is None:
        return
    _check_vector(name, group, cdf, n, *_INTEGERS)
    if group.device.type == "cpu" and not torch.compiler.is_compiling():
        bad = (group < 0) | (group >= len(cdf))
        if bool(bad.any()):
            raise ValueError(f"{name} holds {int(group[bad][0])}, but must be in [0, {len(cdf)})")


def check_pair(denoised: Tensor, target: Tensor) -> None:
    """ValueError unless both are [B, ...] of one shape, on one device, with elements in each sample."""
    for name, x in (("denoised", denoised), ("target", target)):
        if x.dtype not in FLOATS:
            raise ValueError(f"{name} is {_kind(x)}, but must be {_names(*FLOATS)}")
    if denoised.shape != target.shape:
        raise ValueError(f"target is {_kind(target)}, but must have the shape of denoised, {list(denoised.shape)}")
    _check_device("target", target, denoised.device)
    if denoised.dim() == 0 or 0 in denoised.shape[1:]:
        raise ValueError(f"denoised is {_kind(denoised)}, but must have a shape [B, ...] with elements in each sample")


def check_gradient(grad_error: Tensor, denoised: Tensor) -> None:
    """ValueError unless grad_error is a floating vector [B] on denoised's device."""
    _check_vector("grad_error", grad_error, denoised, denoised.shape[0], *FLOATS)


def check_aligned(denoised: Tensor, target: Tensor) -> None:
    """ValueError unless the pair is one, and can be walked as flat memory."""
    check_pair(denoised, target)
    if not are_aligned(denoised, target):
        raise ValueError(
            f"denoised and target have strides {denoised.stride()} and {target.stride()}, but must be dense, sample "
            "after sample, with the same strides"
        )


def error_dtype(denoised: Tensor, target: Tensor) -> torch.dtype:
    """The dtype of arithmetic and errors: float64 if an input is, else float32."""
    return torch.float64 if torch.float64 in (denoised.dtype, target.dtype) else torch.float32


def are_aligned(denoised: Tensor, target: Tensor) -> bool:
    """Whether both fill their memory sample after sample, without gap or overlap, in the same order."""
    if denoised.is_contiguous() and target.is_contiguous():
        return True
    return is_dense(denoised) and all(
        size == 1 or a == b for size, a, b in zip(denoised.shape, denoised.stride(), target.stride(), strict=True)
    )


def is_dense(x: Tensor) -> bool:
    """Whether x fills its memory sample after sample, in any order within a sample."""
    inner = sorted((stride, size) for stride, size in zip(x.stride()[1:], x.shape[1:], strict=True) if size != 1)
    step = 1
    for stride, size in inner:
        if stride != step:
            return False
        step *= size
    return x.shape[0] <= 1 or x.stride(0) == step


def _check_vector(name: str, x: Tensor, like: Tensor, length: int | None, *dtypes: torch.dtype) -> None:
    _check_device(name, x, like.device)
    if x.dtype not in dtypes or x.dim() != 1 or (length is not None and x.numel() != length):
        wanted = "B" if length is None else length
        raise ValueError(f"{name} is {_kind(x)}, but must be {_names(*dtypes)} [{wanted}]")


def _check_device(name: str, x: Tensor, device: torch.device) -> None:
    if x.device != device:
        raise ValueError(f"{name} is on {x.device}, but must be on {device}")


def _kind(x: Tensor) -> str:
    return f"{_names(x.dtype)} {list(x.shape)}"


def _names(*dtypes: torch.dtype) -> str:
    names = [str(dtype).removeprefix("torch.") for dtype in dtypes]
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
