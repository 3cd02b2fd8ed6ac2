"""`observe_` and `bin_stats`, one loss at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..schemas import COUNTERS, EDGE_TOLERANCE, GRID_ROWS


def bin_of(sigma: float, edges: list[float]) -> int:
    """The bin with edges[k] <= sigma < edges[k + 1], clamped to the end bins."""
    return max((k for k in range(len(edges) - 1) if edges[k] <= sigma), default=0)


def skip_cause(sigma: float, error: float, masked: bool, known: bool, edges: list[float]) -> str | None:
    """Why a sample is not recorded, or None."""
    if masked:
        return "masked"
    if not known:
        return "bad_group"
    if not math.isfinite(sigma):
        return "nonfinite_sigma"
    if not edges[0] * (1 - EDGE_TOLERANCE) <= sigma <= edges[-1] * (1 + EDGE_TOLERANCE):
        return "out_of_range"
    if not math.isfinite(error):
        return "nonfinite_error"
    return "negative_error" if error < 0 else None


def record(ring: Tensor, count: Tensor, error: float) -> None:
    """Append a loss to a FIFO ring [C] that has taken `count` [] losses."""
    ring[int(count) % len(ring)] = error
    count += 1


def observe_(
    ring: Tensor, count: Tensor, counters: Tensor, grid: Tensor, sigma: Tensor, error: Tensor,
    mask: Tensor | None, group: Tensor | None,
) -> None:  # fmt: skip
    """Record each loss in the ring of its bin, in batch order, or count why not."""
    edges = grid[GRID_ROWS.index("edges")].tolist()
    for i, (s, e) in enumerate(zip(sigma.float().tolist(), error.float().tolist(), strict=True)):
        g = 0 if group is None else int(group[i])
        known = 0 <= g < len(ring)
        cause = skip_cause(s, e, mask is not None and not bool(mask[i]), known, edges)
        if cause is None:
            k = bin_of(s, edges)
            record(ring[g, k], count[g, k], e)
        else:
            counters[g if known else 0, COUNTERS.index(cause)] += 1


def bin_stats(ring: Tensor, count: Tensor) -> Tensor:
    """Number of losses in each ring, the sum of all but the largest, and the largest: float64 [G, K, 3]."""
    groups, bins, capacity = ring.shape
    out = torch.zeros(groups, bins, 3, dtype=torch.float64)
    for g in range(groups):
        for k in range(bins):
            losses = sorted(ring[g, k, : min(int(count[g, k]), capacity)].tolist())
            moments = [len(losses), math.fsum(losses[:-1]), max(losses, default=0.0)]
            out[g, k] = torch.tensor(moments, dtype=torch.float64)
    return out
