"""Meta's flow_matching: times of its affine paths from noise levels, and clean errors from velocity losses.

Its paths are x_t = alpha_t x_1 + sigma_t x_0 with noise x_0 and data x_1, so the noise level of a
schedule is sigma = sigma_t / alpha_t, and time runs from noise at 0 to data at 1. `scheduler` is any of
its `Scheduler`s: a callable t -> alpha_t, sigma_t and their derivatives, with `snr_inverse`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import InfoNoise, Table
from ..distributed import all_ranks
from ..grids.info import info_times
from ..grids.source import Source

_LAST = 1 - 2**-24
"""The last float32 before 1, where some schedulers' velocity is infinite."""


def make_schedule(scheduler: Any, **options: Any) -> InfoNoise:
    """The schedule of a path whose plain velocity loss is trained at uniform times, which are the warm-up; all ranks.

    Args:
        scheduler: of the path.
        **options: for `InfoNoise`, in place of what is read: a range within [0.001, 1000], the weight that the loss
            puts on the clean error, and the prior.
    """
    t = (torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16
    path = scheduler(t)
    levels = path.sigma_t / path.alpha_t
    own: dict[str, Any] = {
        "sigma_min": max(1e-3, float(levels.min())),
        "sigma_max": min(1e3, float(levels[levels.isfinite()].max())),
        "weight": partial(_velocity_weight, scheduler),
        "prior": Table.from_levels(levels),
        "process_group": None if {"rank", "world"} & set(options) else all_ranks(),
    }
    return InfoNoise(**(own | options))


def _velocity_weight(scheduler: Any, sigma: Tensor) -> Tensor:
    return clean_error(scheduler, torch.ones_like(sigma), sigma).reciprocal().to(sigma.dtype)


def time_of(scheduler: Any, sigma: Tensor) -> Tensor:
    """Times at which the path has the noise levels sigma.

    Args:
        scheduler: of the path.
        sigma: noise levels above 0, any shape; above what the path has at its start they give t = 0.

    Returns:
        t float32 in [0, 1), of sigma's shape.
    """
    # float64: schedulers that square the ratio lose half the digits of 1 - t at low noise.
    return scheduler.snr_inverse(1 / sigma.double()).clamp(0, _LAST).float()


def clean_error(scheduler: Any, error: Tensor, sigma: Tensor) -> Tensor:
    """Convert the squared error of the velocity dx_t to that of the clean sample x_1, exactly.

    At a given x_t the velocity is (alpha' - alpha sigma_t' / sigma_t) x_1 plus what x_t fixes.

    Args:
        scheduler: of the path.
        error: [B] unweighted squared error per sample, sum or mean over its elements.
        sigma: [B] noise levels that were used.

    Returns:
        [B] float64, in the reduction of `error`.
    """
    path = scheduler(scheduler.snr_inverse(1 / sigma.double()))
    per_x1 = path.d_alpha_t - path.alpha_t * path.d_sigma_t / path.sigma_t
    return error.double() / per_x1.square()


def time_grid(source: Source, scheduler: Any, n: int) -> Tensor:
    """`info_grid` in the path's time, for `ODESolver.sample(..., step_size=None, time_grid=...)`.

    Args:
        source: a schedule, its `profile()`, or a file; as of `info_grid`.
        scheduler: of the path.
        n: number of steps, at least 1.

    Returns:
        [n + 1] float32 ascending from exactly 0, where the solver starts from noise, to exactly 1.

    Raises:
        ValueError: as `info_grid`.
    """
    return info_times(source, n, lambda sigma: time_of(scheduler, sigma))
