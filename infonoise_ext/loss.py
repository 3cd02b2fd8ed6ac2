"""`denoising_loss`: the weighted training loss, which tells the schedule what it measured on the way."""

from __future__ import annotations

import torch
from torch import Tensor

from .curves.arguments import refuse
from .curves.density import Density
from .curves.levels import Shift
from .ops import registry
from .ops.checks import check_pair, error_dtype
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
    shift: Shift = None,
) -> Tensor:
    """Mean of w(sigma) times the squared error under each level, and `schedule.observe` of that error.

    One pass over `denoised` and `target` gives both, one more in backward gives the gradient; nothing of their
    size is kept but the two themselves. Differentiable twice, by `denoised` and by `target`; in forward mode and under
    `torch.func` too, then in plain PyTorch. Lanes of `torch.vmap`, and so `jacfwd`, need a fixed schedule.

    Args:
        denoised: [B, ...] estimate of the clean samples: float16, bfloat16, float32 or float64.
        target: the clean samples, of denoised's shape and device, any of these dtypes.
        sigma: noise levels that were used: [B], or [B, T, ...] for one a frame or token, as denoised's shape begins.
        schedule: gives the weight w, and records the unweighted error: the mean over a level's elements.
        mask: bool, as denoised's shape begins. Of sigma's shape it leaves levels out of loss, gradient and
            statistics, whatever they hold; with more sizes, as for padding, it leaves elements out of a level's mean,
            in plain PyTorch.
        group: int64 or int32, as `InfoNoise.observe` takes it.
        shift: in log sigma, as `InfoNoise.observe` takes it; the weight is that of sigma as it is.

    Returns:
        0-dimensional float32, float64 if an input is: the mean over the levels kept, 0 if there are none.
        The arithmetic is in that type, whatever the inputs' and autocast's.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or levels without elements.

    Source:
        InfoNoise (arXiv 2602.18647): what is recorded estimates the mmse of Eq. 11, without the weight of Eq. 16.
    """
    check_pair(denoised, target)
    _check_beginnings(denoised, sigma=sigma, mask=mask, group=group)
    if mask is not None and mask.dim() > sigma.dim():
        error, mask = _masked_error(denoised, target, mask, sigma.dim())
    else:
        measure = getattr(schedule, "_ops", _AUTO).denoising_error  # a fixed density has no backend of its own
        if sigma.dim() == 1:
            error = measure(*aligned(denoised, target))
        else:
            levels = sigma.dim() - 1
            error = measure(*aligned(denoised.flatten(0, levels), target.flatten(0, levels))).view(sigma.shape)
    schedule.observe(sigma, error, mask, group, shift=shift)
    weight = schedule.weight(sigma)
    if mask is None:
        return (weight * error).sum() / max(error.numel(), 1)
    # Both factors: the gradient of the one is the other, and 0 times a NaN is NaN.
    kept = torch.where(mask, weight, 0.0) * torch.where(mask, error, 0.0)
    return kept.sum() / mask.sum().clamp(min=1)


def _masked_error(denoised: Tensor, target: Tensor, mask: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """The mean squared error of the elements kept under each level, and which levels keep any."""
    kept = mask.view(*mask.shape, *[1] * (denoised.dim() - mask.dim())).expand_as(denoised).flatten(levels)
    wide = error_dtype(denoised, target)
    difference = (denoised.to(wide) - target).flatten(levels)
    count = kept.sum(-1)
    return torch.where(kept, difference, 0.0).square().sum(-1) / count.clamp(min=1), count > 0


def _check_beginnings(denoised: Tensor, **tensors: Tensor | None) -> None:
    for name, x in tensors.items():
        if x is None:
            continue
        if x.dim() == 0 or x.shape != denoised.shape[: x.dim()]:
            refuse(f"the shape of {name}", list(x.shape), f"how that of denoised begins, {list(denoised.shape)}")
        if x.device != denoised.device:
            refuse(f"the device of {name}", str(x.device), f"{denoised.device}, as that of denoised")
    mask, sigma = tensors["mask"], tensors["sigma"]
    if mask is not None and mask.dtype != torch.bool:
        refuse("the dtype of mask", mask.dtype, "torch.bool")
    if mask is not None and sigma is not None and mask.dim() < sigma.dim():
        refuse("the shape of mask", list(mask.shape), f"that of sigma, {list(sigma.shape)}, or longer")
