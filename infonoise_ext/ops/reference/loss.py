"""`denoising_error` and its gradient, one sample at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def denoising_error(denoised: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each sample: float32 [B], float64 if an input is."""
    errors = [float((a - b).square().mean()) for a, b in zip(denoised.double(), target.double(), strict=True)]
    wide = torch.float64 in (denoised.dtype, target.dtype)
    return torch.tensor(errors, dtype=torch.float64 if wide else torch.float32)


def denoising_error_backward(grad_error: Tensor, denoised: Tensor, target: Tensor) -> Tensor:
    """2 / M (denoised - target) times `grad_error` of the sample; 0 where that is 0, whatever the sample holds."""
    out = torch.zeros_like(denoised)
    for i, grad in enumerate(grad_error.double().tolist()):
        if grad != 0:
            out[i] = 2 / denoised[i].numel() * grad * (denoised[i].double() - target[i].double())
    return out
