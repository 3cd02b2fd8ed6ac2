"""`refresh_`, one equation a line."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..schemas import COUNTERS, GRID_ROWS, STATS, TINY, Params
from .pivot import pivot
from .signal import signal


def fill(mmse: list[float], sigma: list[float]) -> list[float]:
    """Estimates of every bin: log-linear between measured ones, sigma^2 below, constant above."""
    known = [k for k, m in enumerate(mmse) if m >= 0]
    out = []
    for k in range(len(mmse)):
        below = [j for j in known if j <= k]
        above = [j for j in known if j >= k]
        if k in known:
            out.append(mmse[k])
        elif not below:
            out.append(mmse[above[0]] * (sigma[k] / sigma[above[0]]) ** 2)
        elif not above:
            out.append(mmse[below[-1]])
        else:
            a, b = below[-1], above[0]
            low, high = math.log(max(mmse[a], TINY)), math.log(max(mmse[b], TINY))
            between = math.exp(low + (high - low) * (k - a) / (b - a))
            out.append(between if max(mmse[a], mmse[b]) > 0 else 0.0)
    return out


def smooth(rho: list[float], bandwidth: float) -> list[float]:
    """Gaussian average of log rho over neighbouring bins, cut at three standard deviations."""
    if bandwidth <= 0:
        return rho
    out = []
    for k in range(len(rho)):
        near = [j for j in range(len(rho)) if abs(j - k) <= int(3 * bandwidth)]
        weights = [math.exp(-0.5 * ((j - k) / bandwidth) ** 2) for j in near]
        logs = [math.log(max(rho[j], TINY)) for j in near]
        out.append(math.exp(math.fsum(w * x for w, x in zip(weights, logs, strict=True)) / math.fsum(weights)))
    return out


def rate(p: Params, rows: dict[str, list[float]], mmse: list[float]) -> list[float]:
    """Entropy rate per unit log sigma, gaps filled, bounded and smoothed."""  # Eq. 11
    sigma = rows["sigma"]
    bounded = [min(m, b) for m, b in zip(fill(mmse, sigma), rows["bound"], strict=True)]
    return smooth([m / s**2 for m, s in zip(bounded, sigma, strict=True)], p.smooth)


def gate(midpoint: float, sigma: float, power: float) -> float:
    """Half at the midpoint, 1 far above it."""  # Eq. 17
    return sigma**power / (sigma**power + midpoint**power)


def build_table(
    p: Params, rows: dict[str, list[float]], rho: list[float], midpoint: float
) -> tuple[list[float] | None, float]:
    """The cdf mixed with the floor, and the share of the signal that the gate keeps; None if it is no distribution."""
    sigma = rows["sigma"]
    ungated = signal(p, rho, sigma)
    phi = [x * gate(midpoint, s, p.gate_power) for x, s in zip(ungated, sigma, strict=True)]  # Eq. 13
    density = [f / w for f, w in zip(phi, rows["weight"], strict=True)]  # Eq. 16
    total = sum(density)
    if not (math.isfinite(total) and total > 0):
        return None, 0.0
    cdf = [0.0]
    for d in density:
        cdf.append(cdf[-1] + (1 - p.floor) * d / total + p.floor / len(density))
    return [min(f, 1.0) for f in cdf[:-1]] + [1.0], sum(phi) / sum(ungated)


def refresh_(
    moments: Tensor, mmse: Tensor, cdf: Tensor, stats: Tensor, counters: Tensor, grid: Tensor, params: Tensor
) -> None:
    """Rebuild each group's table from the moments of its rings, or say why not."""
    p = Params(*params.tolist())
    rows = dict(zip(GRID_ROWS, grid[:, :-1].tolist(), strict=True))
    for g in range(len(mmse)):
        _refresh_group(p, rows, moments[g].tolist(), mmse[g], cdf[g], stats[g], counters[g])


def _refresh_group(
    p: Params,
    rows: dict[str, list[float]],
    moments: list[list[float]],
    mmse: Tensor,
    cdf: Tensor,
    stats: Tensor,
    counters: Tensor,
) -> None:
    measured = [m[0] >= p.min_count for m in moments]
    missing = sum(f for f, ok in zip(cdf.diff().tolist(), measured, strict=True) if not ok)
    stats[STATS.index("coverage")] = 1 - missing if any(measured) else 0.0
    if not any(measured) or missing > 1 - p.coverage:
        return _count(counters, "waits", 1)
    for k, (n, total, _) in enumerate(moments):
        if measured[k]:
            old, mean = float(mmse[k]), total / n
            mmse[k] = mean if old < 0 else (1 - p.ema) * old + p.ema * mean
    rho = rate(p, rows, mmse.tolist())
    midpoint = pivot(p, rho, rows["sigma"])
    table, kept = build_table(p, rows, rho, midpoint)
    if table is None or not math.isfinite(sum(rho)):
        return _count(counters, "degenerates", 3)
    new = torch.tensor(table, dtype=torch.float64)
    for name, value in (
        ("pivot", midpoint),
        ("drift", float((new - cdf).abs().max())),
        ("information", sum(rho) * p.width),
        ("kept", kept),
    ):
        stats[STATS.index(name)] = value
    cdf.copy_(new)
    return _count(counters, "refreshes", 2)


def _count(counters: Tensor, name: str, status: int) -> None:
    counters[COUNTERS.index(name)] += 1
    counters[COUNTERS.index("status")] = status
