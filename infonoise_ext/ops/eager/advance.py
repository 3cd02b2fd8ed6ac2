"""`advance_`: a whole step from the other ops."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backward import refuse_in_backward
from ..checks import check_draw
from ..schemas import COUNTERS
from .common import param
from .draw import sample_
from .record import bin_stats, observe_
from .refresh import refresh_


def advance_(
    ring: Tensor, count: Tensor, previous_count: Tensor, previous_cdf: Tensor, mmse: Tensor, cdf: Tensor,
    stats: Tensor, counters: Tensor, rng: Tensor, grid: Tensor, params: Tensor, sigma: Tensor, error: Tensor,
    mask: Tensor | None, group: Tensor | None, n: int, next_group: Tensor | None,
) -> Tensor:  # fmt: skip
    """Observe, sample, count the step, then refresh if due."""
    check_draw(cdf, n, next_group, "next_group")
    refuse_in_backward("advance", sigma.numel() + n)
    observe_(ring, count, counters, grid, sigma, error, mask, group)
    out = sample_(cdf, rng, grid, params, n, next_group)
    steps = counters[:, COUNTERS.index("steps")]
    steps += 1
    past = steps - param(params, "warmup").long()
    due = (past >= 0) & (past % param(params, "refresh_every").long() == 0)  # [G]
    if ring.device.type == "cpu" and not torch.compiler.is_compiling() and not bool(due[0]):
        return out
    moments = bin_stats(ring, count)
    refresh_(moments, count, previous_count, previous_cdf, mmse, cdf, stats, counters, grid, params, due)
    return out
