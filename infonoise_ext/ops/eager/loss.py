"""`denoising_error` and its gradient: three passes over memory where a kernel makes one."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import are_aligned, check_gradient, check_pair, error_dtype, is_dense


def aligned(denoised: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The pair in one dense layout, denoised's own if it is dense; copies only what does not fit."""
    if are_aligned(denoised, target):
        return denoised, target
    if not is_dense(denoised):
        return denoised.contiguous(), target.contiguous()
    return denoised, torch.empty_like(denoised, dtype=target.dtype).copy_(target)


def inner_sum(x: Tensor) -> Tensor:
    """Sum over all dimensions but the first: [B]."""
    inner = tuple(range(1, x.dim()))
    return x.sum(inner) if inner else x


def per_sample(x: Tensor, like: Tensor) -> Tensor:
    """A vector [B] in a shape that broadcasts over the samples of `like`."""
    return x.view(-1, *[1] * (like.dim() - 1))


def denoising_error(denoised: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each sample: float32 [B], float64 if an input is."""
    check_pair(denoised, target)
    difference = denoised.to(error_dtype(denoised, target)) - target
    return inner_sum(difference.square()) / denoised.shape[1:].numel()


def denoising_error_backward(grad_error: Tensor, denoised: Tensor, target: Tensor) -> Tensor:
    """Gradient of the errors by `denoised`, in its dtype; 0 where `grad_error` is, whatever the sample holds."""
    return torch.empty_like(denoised).copy_(gradient(grad_error, denoised, target))


def gradient(grad_error: Tensor, denoised: Tensor, target: Tensor) -> Tensor:
    """`denoising_error_backward` in whatever layout comes of it, which torch itself can differentiate in any way."""
    check_pair(denoised, target)
    check_gradient(grad_error, denoised)
    wide = error_dtype(denoised, target)
    scale = per_sample((2.0 / denoised.shape[1:].numel() * grad_error).to(wide), denoised)
    return torch.where(scale == 0, 0.0, scale * (denoised.to(wide) - target)).to(denoised.dtype)
