"""`refresh_`, one equation a line."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from ..schemas import COUNTERS, GRID_ROWS, STATS, Params
from .estimate import Pool, estimate
from .pivot import pivot
from .signal import signal

STATUS_AFTER = {"waits": 1, "refreshes": 2, "degenerates": 3}


def gate(midpoint: float, sigma: float, power: float) -> float:
    """Half at the midpoint, 1 far above it."""  # Eq. 17
    return sigma**power / (sigma**power + midpoint**power)


def build_table(
    p: Params, rows: dict[str, list[float]], ungated: list[float], midpoint: float
) -> tuple[list[float] | None, float]:
    """The cdf mixed with the floor, and the share of the signal that the gate keeps; None if it is no distribution."""
    phi = [x * gate(midpoint, s, p.gate_power) for x, s in zip(ungated, rows["sigma"], strict=True)]  # Eq. 13
    density = [f / w for f, w in zip(phi, rows["weight"], strict=True)]  # Eq. 16
    total = sum(density)
    if not (math.isfinite(total) and total > 0):
        return None, 0.0
    cdf = [0.0]
    for d in density:
        cdf.append(cdf[-1] + (1 - p.floor) * d / total + p.floor / len(density))
    return [min(f, 1.0) for f in cdf[:-1]] + [1.0], sum(phi) / sum(ungated)


def refresh_(
    moments: Tensor, count: Tensor, previous_count: Tensor, previous_cdf: Tensor, mmse: Tensor, cdf: Tensor,
    stats: Tensor, counters: Tensor, grid: Tensor, params: Tensor,
) -> None:  # fmt: skip
    """Rebuild each group's table from the moments of its rings, or of all rings while it has too few losses."""
    p = Params(*params.tolist())
    rows = dict(zip(GRID_ROWS, grid[:, :-1].tolist(), strict=True))
    previous_count[:, 0], previous_count[:, 1] = previous_count[:, 1].clone(), count
    previous_cdf.copy_(cdf)
    groups = [[Pool(*m) for m in bins] for bins in moments.tolist()]
    everyone = [functools.reduce(Pool.merged, pools) for pools in zip(*groups, strict=True)]
    for g, own in enumerate(groups):
        if _enough(p, own):
            outcome = _refresh_group(p, rows, own, mmse[g], cdf[g], stats[g])
        else:
            outcome = "waits"
            if _enough(p, everyone):
                _refresh_group(p, rows, everyone, mmse[g], cdf[g], stats[g])
        counters[g, COUNTERS.index(outcome)] += 1
        counters[g, COUNTERS.index("status")] = STATUS_AFTER[outcome]


def _enough(p: Params, pools: list[Pool]) -> bool:
    return sum(pool.count for pool in pools) >= p.min_count


def _refresh_group(
    p: Params, rows: dict[str, list[float]], pools: list[Pool], mmse: Tensor, cdf: Tensor, stats: Tensor
) -> str:  # fmt: skip
    """The counter of what became of it."""
    sigma = rows["sigma"]
    estimated, variance = estimate(p, pools, sigma, rows["bound"])
    mmse.copy_(torch.tensor(estimated, dtype=torch.float64))
    rho = [m / s**2 for m, s in zip(estimated, sigma, strict=True)]  # Eq. 11
    midpoint = pivot(p, rho, sigma)
    ungated, power = signal(p, rho, rows, variance)
    table, kept = build_table(p, rows, ungated, midpoint)
    if table is None:
        return "degenerates"
    new = torch.tensor(table, dtype=torch.float64)
    for name, value in (
        ("pivot", midpoint),
        ("kept", kept),
        ("variance", variance),
        ("sharpness", power),
        ("information", sum(rho) * p.width),
        ("drift", float((new - cdf).abs().max())),
    ):
        stats[STATS.index(name)] = value
    cdf.copy_(new)
    return "refreshes"
