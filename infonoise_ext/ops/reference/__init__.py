"""Float64 reference of every op: plain Python loops over numbers, one equation a line. The contract.

Slow and readable on purpose; tests compare every backend with it, and nothing else imports it.
Equation numbers are those of arXiv 2602.18647. Functions mutate the tensors whose names their
schema marks (`infonoise_ext._schemas`), as the ops do.
"""

from __future__ import annotations

from torch import Tensor

from ..schemas import COUNTERS
from .draw import icdf, philox4x32, sample_
from .loss import denoising_error, denoising_error_backward
from .params import Params
from .record import bin_stats, observe_
from .refresh import refresh_

__all__ = [
    "Params",
    "advance_",
    "bin_stats",
    "denoising_error",
    "denoising_error_backward",
    "icdf",
    "observe_",
    "philox4x32",
    "refresh_",
    "sample_",
]


def advance_(
    ring: Tensor,
    count: Tensor,
    mmse: Tensor,
    cdf: Tensor,
    stats: Tensor,
    counters: Tensor,
    rng: Tensor,
    grid: Tensor,
    params: Tensor,
    sigma: Tensor,
    error: Tensor,
    mask: Tensor | None,
    group: Tensor | None,
    n: int,
    next_group: Tensor | None,
) -> Tensor:
    """Observe, sample, count the step, then refresh if due."""
    p = Params.of(params)
    observe_(ring, count, counters, grid, sigma, error, mask, group)
    out = sample_(cdf, rng, grid, params, n, next_group)
    counters[:, COUNTERS.index("steps")] += 1
    past = int(counters[0, COUNTERS.index("steps")]) - int(p.warmup)
    if past >= 0 and past % int(p.refresh_every) == 0:
        refresh_(bin_stats(ring, count), mmse, cdf, stats, counters, grid, params)
    return out
