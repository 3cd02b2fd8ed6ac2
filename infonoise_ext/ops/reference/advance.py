"""`advance_`: a whole step from the other ops."""

from __future__ import annotations

from torch import Tensor

from ..schemas import COUNTERS, Params
from .draw import sample_
from .record import bin_stats, observe_
from .refresh import refresh_


def advance_(
    ring: Tensor, count: Tensor, previous_count: Tensor, previous_cdf: Tensor, mmse: Tensor, cdf: Tensor,
    stats: Tensor, counters: Tensor, rng: Tensor, grid: Tensor, params: Tensor, sigma: Tensor, error: Tensor,
    mask: Tensor | None, group: Tensor | None, n: int, next_group: Tensor | None,
) -> Tensor:  # fmt: skip
    """Observe, sample, count the step, then refresh if due."""
    p = Params(*params.tolist())
    observe_(ring, count, counters, grid, sigma, error, mask, group)
    out = sample_(cdf, rng, grid, params, n, next_group)
    counters[:, COUNTERS.index("steps")] += 1
    past = int(counters[0, COUNTERS.index("steps")]) - int(p.warmup)
    if past >= 0 and past % int(p.refresh_every) == 0:
        refresh_(bin_stats(ring, count), count, previous_count, previous_cdf, mmse, cdf, stats, counters, grid, params)
    return out
