"""`observe_` and `bin_stats`, one loss at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..schemas import COUNTERS, EDGE_TOLERANCE, GRID_ROWS


def bin_of(sigma: float, edges: list[float]) -> int | None:
    """Index of the bin with edges[k] <= sigma < edges[k + 1]; None outside the grid."""
    if not edges[0] * (1 - EDGE_TOLERANCE) <= sigma <= edges[-1] * (1 + EDGE_TOLERANCE):
        return None
    inside = [k for k in range(len(edges) - 1) if edges[k] <= sigma]
    return inside[-1] if inside else 0


def skip_cause(sigma: float, error: float, keep: bool, group: int, groups: int, edges: list[float]) -> str | None:
    """Why a sample is not recorded, or None."""
    if not keep:
        return "masked"
    if not 0 <= group < groups:
        return "bad_group"
    if not math.isfinite(sigma):
        return "nonfinite_sigma"
    if bin_of(sigma, edges) is None:
        return "out_of_range"
    if not math.isfinite(error):
        return "nonfinite_error"
    return "negative_error" if error < 0 else None


def observe_(
    ring: Tensor,
    count: Tensor,
    counters: Tensor,
    grid: Tensor,
    sigma: Tensor,
    error: Tensor,
    mask: Tensor | None,
    group: Tensor | None,
) -> None:
    """Append each loss to the FIFO ring of its bin, in batch order."""
    edges = grid[GRID_ROWS.index("edges")].tolist()
    groups, _, capacity = ring.shape
    for i in range(sigma.numel()):
        s, e = float(sigma[i].float()), float(error[i].float())
        keep = mask is None or bool(mask[i])
        g = 0 if group is None else int(group[i])
        cause = skip_cause(s, e, keep, g, groups, edges)
        if cause is not None:
            counters[g if 0 <= g < groups else 0, COUNTERS.index(cause)] += 1
            continue
        k = bin_of(s, edges)
        ring[g, k, int(count[g, k]) % capacity] = e
        count[g, k] += 1


def bin_stats(ring: Tensor, count: Tensor) -> Tensor:
    """Number, sum and sum of squares of the losses in each ring: float64 [G, K, 3]."""
    groups, bins, capacity = ring.shape
    out = torch.zeros(groups, bins, 3, dtype=torch.float64)
    for g in range(groups):
        for k in range(bins):
            losses = ring[g, k, : min(int(count[g, k]), capacity)].tolist()
            out[g, k] = torch.tensor(
                [len(losses), math.fsum(losses), math.fsum(x * x for x in losses)], dtype=torch.float64
            )
    return out
