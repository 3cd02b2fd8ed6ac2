"""lucidrains' denoising-diffusion-pytorch: a schedule for its models, their loss, and an info grid to sample on."""

from __future__ import annotations

from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .. import EDMWeight, GaussianBound, InfoNoise, LogNormal, Profile, SigmaTable, clean_error
from ..curves.arguments import refuse
from ..curves.density import Schedule
from ..distributed import all_ranks
from ..grids import Source, info_grid
from ..grids.source import profile_of

_PREDICTIONS = {"pred_noise": "eps", "pred_x0": "x0", "pred_v": "v"}
_tables: WeakKeyDictionary[Any, SigmaTable] = WeakKeyDictionary()


def make_schedule(diffusion: Any, **options: Any) -> InfoNoise:
    """An `InfoNoise` with the range, the loss weight, the density (as warm-up) and the device of a diffusion.

    All ranks share it. Where noise is predicted it is bounded: images in [-1, 1] have a mean square of at most 1.

    Args:
        diffusion: an `ElucidatedDiffusion`, or a `GaussianDiffusion` or `GaussianDiffusion1D`, whose range is that
            of its table.
        **options: for `InfoNoise`.
    """
    group = None if {"rank", "world"} & set(options) else all_ranks()
    own: dict[str, Any] = {"device": diffusion.device, "process_group": group}
    if _is_table(diffusion):
        levels = _levels(diffusion)
        table = SigmaTable(levels)
        # `loss_weight` multiplies the error of what is predicted; the schedule's, that of the clean sample.
        factor = clean_error(torch.ones_like(levels), levels, _PREDICTIONS[diffusion.objective])
        own |= {"sigma_min": table.sigma_min, "sigma_max": table.sigma_max, "prior": table.uniform()}
        if diffusion.objective == "pred_noise":
            own["bound"] = GaussianBound(1.0)
        own["weight"] = partial(_table_weight, table, diffusion.loss_weight / factor)
    else:
        own |= {"sigma_min": diffusion.sigma_min, "sigma_max": diffusion.sigma_max}
        own |= {"weight": EDMWeight(diffusion.sigma_data), "prior": LogNormal(diffusion.P_mean, diffusion.P_std)}
    return InfoNoise(**(own | options))


def loss(diffusion: Any, images: Tensor, schedule: Schedule, **options: Any) -> Tensor:
    """`diffusion(images)` at the schedule's noise levels, which the schedule learns from.

    Args:
        diffusion: an `ElucidatedDiffusion`, or a `GaussianDiffusion` or `GaussianDiffusion1D` of a table of times,
            without offset noise or immiscible pairing: there the noise is not what the schedule assumes.
        images: [B, C, H, W] or sequences [B, C, N], as `diffusion` takes them.
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
    if getattr(diffusion, "offset_noise_strength", 0) or getattr(diffusion, "immiscible", False):
        refuse("diffusion", "one with offset_noise_strength or immiscible", "one whose noise is plain Gaussian")
    times, level = _table(diffusion).snap(sigma)
    losses = diffusion(images, times=times, loss_reduction="none", **options)
    error = losses / diffusion.loss_weight[times]
    schedule.observe(level, clean_error(error, level, _PREDICTIONS[diffusion.objective]))
    return losses.mean()


def use_info_grid(diffusion: Any, source: Source) -> None:
    """Let an `ElucidatedDiffusion` sample on `info_grid` instead of its rho = 7 grid.

    Replaces `sample_schedule` of this one object, for `sample` and `sample_using_dpmpp`; delete the
    attribute to have the old one back.

    Args:
        diffusion: an `ElucidatedDiffusion`.
        source: a schedule, its `profile()`, or a file: what it knows now is what counts.

    Raises:
        ValueError: a `GaussianDiffusion`; nothing is measured yet.
    """
    if _is_table(diffusion):
        refuse("diffusion", type(diffusion).__name__, "an ElucidatedDiffusion: the other samples on times of its own")
    profile = profile_of(source, 0)
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


def _table(diffusion: Any) -> SigmaTable:
    """The levels of a `GaussianDiffusion`, read once, on its device."""
    if diffusion not in _tables:
        _tables[diffusion] = SigmaTable(_levels(diffusion))
    return _tables[diffusion].to(diffusion.device)


def _table_weight(table: SigmaTable, weights: Tensor, sigma: Tensor) -> Tensor:
    index, _ = table.to(sigma.device).snap(sigma)
    return weights.to(sigma)[index]
