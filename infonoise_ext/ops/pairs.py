"""Two batches of samples that are compared element by element: what every backend asks of them."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import FLOATS


def check_pair(denoised: Tensor, target: Tensor) -> None:
    """ValueError unless both are [B, ...] of one shape, on one device, with elements in each sample."""
    for name, x in (("denoised", denoised), ("target", target)):
        if x.dtype not in FLOATS:
            raise ValueError(f"{name} must be one of {FLOATS}, got {x.dtype}")
    if denoised.shape != target.shape:
        raise ValueError(
            f"denoised and target must have the same shape, got {list(denoised.shape)} and {list(target.shape)}"
        )
    if denoised.device != target.device:
        raise ValueError(f"denoised and target must be on one device, got {denoised.device} and {target.device}")
    if denoised.dim() == 0 or 0 in denoised.shape[1:]:
        raise ValueError(f"denoised must be [B, ...] with elements in each sample, got shape {list(denoised.shape)}")


def check_grad(grad_error: Tensor, denoised: Tensor) -> None:
    """ValueError unless grad_error is a floating vector [B] on denoised's device."""
    fits = grad_error.shape == denoised.shape[:1] and grad_error.device == denoised.device
    if not fits or grad_error.dtype not in FLOATS:
        raise ValueError(
            f"grad_error must be one of {FLOATS}, of shape {list(denoised.shape[:1])} on {denoised.device}, "
            f"got {grad_error.dtype} {list(grad_error.shape)} on {grad_error.device}"
        )


def error_dtype(denoised: Tensor, target: Tensor) -> torch.dtype:
    """The dtype of arithmetic and errors: float64 if an input is, else float32."""
    return torch.float64 if torch.float64 in (denoised.dtype, target.dtype) else torch.float32


def are_aligned(denoised: Tensor, target: Tensor) -> bool:
    """Whether both fill their memory sample after sample, without gap or overlap, in the same order."""
    if denoised.is_contiguous() and target.is_contiguous():
        return True
    return _is_dense(denoised) and all(
        size == 1 or a == b for size, a, b in zip(denoised.shape, denoised.stride(), target.stride(), strict=True)
    )


def aligned(denoised: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The pair in one dense layout, denoised's own if it is dense; copies only what does not fit."""
    if are_aligned(denoised, target):
        return denoised, target
    if not _is_dense(denoised):
        return denoised.contiguous(), target.contiguous()
    return denoised, torch.empty_like(denoised, dtype=target.dtype).copy_(target)


def _is_dense(x: Tensor) -> bool:
    inner = sorted((stride, size) for stride, size in zip(x.stride()[1:], x.shape[1:], strict=True) if size != 1)
    step = 1
    for stride, size in inner:
        if stride != step:
            return False
        step *= size
    return x.shape[0] <= 1 or x.stride(0) == step
