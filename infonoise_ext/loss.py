"""`denoising_loss`: the weighted training loss, which tells the schedule what it measured on the way."""

from __future__ import annotations

import torch
from torch import Tensor

from .curves.arguments import refuse
from .curves.density import Density
from .ops import registry
from .ops.checks import check_pair
from .ops.eager.loss import aligned
from .schedule import InfoNoise

_AUTO = registry.backend("auto")


def denoising_loss(
    denoised: Tensor,
    target: Tensor,
    sigma: Tensor,
    schedule: InfoNoise | Density,
    *,
    mask: Tensor | None = None,
    group: Tensor | None = None,
) -> Tensor:
    """Mean of w(sigma) times the squared error of each sample, and `schedule.observe` of that error.

    One pass over `denoised` and `target` gives both, one more in backward gives the gradient; nothing of their
    size is kept but the two themselves. Differentiable twice, by `denoised` and by `target`.

    Args:
        denoised: [B, ...] estimate of the clean samples: float16, bfloat16, float32 or float64.
        target: the clean samples, of denoised's shape and device, any of these dtypes.
        sigma: [B] noise levels that were used.
        schedule: gives the weight w, and records the unweighted error: the mean over a sample's elements.
        mask: [B] bool, False leaves a sample out of loss, gradient and statistics, whatever it holds.
        group: [B] int64 or int32, as `InfoNoise.observe` takes it.

    Returns:
        0-dimensional float32, float64 if an input is: the mean over the samples kept, 0 if there are none.
        The arithmetic is in that type, whatever the inputs' and autocast's.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or samples without elements.

    Source:
        InfoNoise (arXiv 2602.18647): what is recorded estimates the mmse of Eq. 11, without the weight of Eq. 16.
    """
    check_pair(denoised, target)
    _check_vectors(denoised, sigma=sigma, mask=mask, group=group)
    # A fixed density has no backend of its own.
    error = getattr(schedule, "_ops", _AUTO).denoising_error(*aligned(denoised, target))
    schedule.observe(sigma, error, mask, group)
    weight = schedule.weight(sigma)
    if mask is None:
        return (weight * error).sum() / max(error.shape[0], 1)
    # Both factors: the gradient of the one is the other, and 0 times a NaN is NaN.
    kept = torch.where(mask, weight, 0.0) * torch.where(mask, error, 0.0)
    return kept.sum() / mask.sum().clamp(min=1)


def _check_vectors(denoised: Tensor, **vectors: Tensor | None) -> None:
    for name, x in vectors.items():
        if x is not None and x.shape != denoised.shape[:1]:
            refuse(f"the shape of {name}", list(x.shape), f"{list(denoised.shape[:1])}, as the samples of denoised")
        if x is not None and x.device != denoised.device:
            refuse(f"the device of {name}", str(x.device), f"{denoised.device}, as that of denoised")
    mask = vectors["mask"]
    if mask is not None and mask.dtype != torch.bool:
        refuse("the dtype of mask", mask.dtype, "torch.bool")
