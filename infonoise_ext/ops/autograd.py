"""Derivatives of the differentiable ops, for any backend's namespace."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .checks import error_dtype
from .eager.loss import aligned, inner_sum, per_sample

DIFFERENTIABLE = ("denoising_error", "denoising_error_backward")


def register(library: torch.library.Library, namespace: str) -> None:
    """Register first and second derivatives of `denoising_error`; the third is torch's own."""
    ops = getattr(torch.ops, namespace)

    def error_backward(ctx: Any, grad_error: Tensor) -> tuple[Tensor | None, ...]:
        denoised, target = aligned(*ctx.saved_tensors)  # hooks on saved tensors may have moved them
        backward = ops.denoising_error_backward.default
        pairs = ((denoised, target), (target, denoised))
        return tuple(
            backward(grad_error, *pair) if needed else None
            for pair, needed in zip(pairs, ctx.needs_input_grad, strict=True)
        )

    formulas = {"denoising_error": error_backward, "denoising_error_backward": _backward_backward}
    for name, formula in formulas.items():
        torch.library.register_autograd(f"{namespace}::{name}", formula, setup_context=_save, lib=library)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
    grad_error, denoised, target = ctx.saved_tensors
    wide = error_dtype(denoised, target)
    scaled = 2.0 / denoised.shape[1:].numel() * grad.to(wide)
    by_error = inner_sum(scaled * (denoised.to(wide) - target))
    by_denoised = scaled * per_sample(grad_error, grad)
    return by_error.to(grad_error.dtype), by_denoised.to(denoised.dtype), -by_denoised.to(target.dtype)
