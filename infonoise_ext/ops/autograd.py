"""Derivatives of the differentiable ops, for any backend's namespace.

Reverse mode runs the ops. Whatever the ops have no formula for, forward mode and the transforms of torch.func, runs
the same arithmetic in plain PyTorch, which has one: `torch.library` itself would give tangents of zero there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._library.autograd import Info, make_autograd_impl
from torch.autograd import forward_ad

from .checks import error_dtype
from .eager.loss import aligned, denoising_error, gradient, inner_sum, per_sample

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

    formulas: dict[str, tuple[Callable[..., Any], Callable[..., Tensor]]] = {
        "denoising_error": (error_backward, denoising_error),
        "denoising_error_backward": (_backward_backward, gradient),
    }
    for name, (formula, plain) in formulas.items():
        op = getattr(ops, name).default
        library.impl(name, _differentiable(op, formula, plain), "Autograd", with_keyset=True)
    torch.library.register_vmap(f"{namespace}::denoising_error", _error_of_lanes(ops), lib=library)


def _differentiable(op: Any, formula: Callable[..., Any], plain: Callable[..., Tensor]) -> Callable[..., Any]:
    """What autograd runs for an op: `formula` in reverse mode, `plain` in any other."""
    in_reverse = make_autograd_impl(op, Info(formula, _save))

    def run(keyset: Any, *tensors: Tensor) -> Any:
        return plain(*tensors) if forward_or_functional() else in_reverse(keyset, *tensors)

    return run


def forward_or_functional() -> bool:
    """Whether derivatives are taken in forward mode, or by a transform of torch.func."""
    return forward_ad._current_level >= 0 or torch._C._functorch.peek_interpreter_stack() is not None


def _error_of_lanes(ops: Any) -> Callable[..., Any]:
    """The rule of `denoising_error` for torch.vmap: lanes are samples."""

    def rule(info: Any, dims: tuple[int | None, ...], *pair: Tensor) -> tuple[Tensor, int]:
        lanes = [
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip(pair, dims, strict=True)
        ]
        error = ops.denoising_error.default(*aligned(*(x.flatten(0, 1) for x in lanes)))
        return error.view(info.batch_size, -1), 0

    return rule


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
    grad_error, denoised, target = ctx.saved_tensors
    wide = error_dtype(denoised, target)
    scaled = 2.0 / denoised.shape[1:].numel() * grad.to(wide)
    by_error = inner_sum(scaled * (denoised.to(wide) - target))
    by_denoised = scaled * per_sample(grad_error, grad)
    return by_error.to(grad_error.dtype), by_denoised.to(denoised.dtype), -by_denoised.to(target.dtype)
