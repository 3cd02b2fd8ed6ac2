"""lucidrains' denoising-diffusion-pytorch: a schedule for its models, their loss, and an info grid to sample on."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import EDMWeight, InfoNoise, Profile, clean_error, info_grid

_PREDICTIONS = {"pred_noise": "eps", "pred_x0": "x0", "pred_v": "v"}


def make_schedule(diffusion: Any, **options: Any) -> InfoNoise:
    """An `InfoNoise` with the range, the loss weight and the device of a diffusion.

    Args:
        diffusion: an `ElucidatedDiffusion`, or a `GaussianDiffusion`, whose range is that of its table.
        **options: for `InfoNoise`.
    """
    own: dict[str, Any] = {"device": diffusion.device}
    if _is_table(diffusion):
        table = _levels(diffusion)
        # `loss_weight` multiplies the error of what is predicted; the schedule's, that of the clean sample.
        factor = clean_error(torch.ones_like(table), table, _PREDICTIONS[diffusion.objective])
        own |= {"sigma_min": float(table[0]), "sigma_max": float(table[-1])}
        own["weight"] = partial(_table_weight, table, diffusion.loss_weight / factor)
    else:
        own |= {"sigma_min": diffusion.sigma_min, "sigma_max": diffusion.sigma_max}
        own["weight"] = EDMWeight(diffusion.sigma_data)
    return InfoNoise(**(own | options))


def loss(diffusion: Any, images: Tensor, schedule: InfoNoise, **options: Any) -> Tensor:
    """`diffusion(images)` at the schedule's noise levels, which the schedule learns from.

    Args:
        diffusion: an `ElucidatedDiffusion`, or a `GaussianDiffusion` of a table of times, without
            offset noise or immiscible pairing: there the noise is not what the schedule assumes.
        images: [B, C, H, W], as `diffusion` takes them.
        schedule: of `make_schedule`.
        **options: for `diffusion`, such as `classes`.

    Returns:
        the mean loss, a scalar. Call `schedule.step()` once per optimizer step.

    Raises:
        ValueError: a diffusion with offset noise or immiscible pairing.
    """
    sigma = schedule.sample(len(images))
    if not _is_table(diffusion):
        losses = diffusion(images, sigma=sigma, loss_reduction="none", **options)
        schedule.observe(sigma, losses / diffusion.loss_weight(sigma))
        return losses.mean()
    if diffusion.offset_noise_strength or diffusion.immiscible:
        raise ValueError("diffusion has offset_noise_strength or immiscible, but the noise must be plain Gaussian")
    table = _levels(diffusion)
    times = _nearest(table, sigma)
    losses = diffusion(images, times=times, loss_reduction="none", **options)
    error = losses / diffusion.loss_weight[times]
    schedule.observe(table[times], clean_error(error, table[times], _PREDICTIONS[diffusion.objective]))
    return losses.mean()


def use_info_grid(diffusion: Any, source: InfoNoise | Profile) -> None:
    """Let an `ElucidatedDiffusion` sample on `info_grid` instead of its rho = 7 grid.

    Replaces `sample_schedule` of this one object, for `sample` and `sample_using_dpmpp`; delete the
    attribute to have the old one back.

    Args:
        diffusion: an `ElucidatedDiffusion`.
        source: a schedule, or its `profile()`: what it knows now is what counts.

    Raises:
        ValueError: a `GaussianDiffusion`; nothing is measured yet.
    """
    if _is_table(diffusion):
        raise ValueError("diffusion must be an ElucidatedDiffusion: GaussianDiffusion samples on times of its own")
    profile = source if isinstance(source, Profile) else source.profile()
    info_grid(profile, 1)  # raises now, not at the first sample, when nothing is measured
    diffusion.sample_schedule = partial(_sample_schedule, diffusion, profile)


def _sample_schedule(diffusion: Any, profile: Profile, num_sample_steps: int | None = None) -> Tensor:
    n = diffusion.num_sample_steps if num_sample_steps is None else num_sample_steps
    return info_grid(profile, n).to(diffusion.device)


def _is_table(diffusion: Any) -> bool:
    return hasattr(diffusion, "alphas_cumprod")


def _levels(diffusion: Any) -> Tensor:
    """The noise level of every time of a table, ascending, float32 [T]."""
    return diffusion.sqrt_one_minus_alphas_cumprod / diffusion.sqrt_alphas_cumprod


def _nearest(table: Tensor, sigma: Tensor) -> Tensor:
    """Indices into the table of the levels nearest to sigma in log sigma, int64."""
    return torch.bucketize(sigma.to(table.dtype), (table[1:] * table[:-1]).sqrt())


def _table_weight(table: Tensor, weights: Tensor, sigma: Tensor) -> Tensor:
    return weights.to(sigma)[_nearest(table.to(sigma.device), sigma)]
