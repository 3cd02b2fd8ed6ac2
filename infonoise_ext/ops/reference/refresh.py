"""`refresh_`, one equation a line."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from ..schemas import COUNTERS, GRID_ROWS, PIVOT_RULES, SAME_RATE, SIGNALS, STATS, TINY
from .params import Params


def filled(mmse: list[float], sigma: list[float]) -> list[float]:
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


def smoothed(rho: list[float], bandwidth: float) -> list[float]:
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


def onset(p: Params, log_r: list[float]) -> float:
    """c = inf{sigma : r(sigma') < p max r for all sigma' >= sigma}."""  # Eq. 18
    threshold = max(log_r) + math.log(p.pivot_value)
    k = max(j for j, y in enumerate(log_r) if y >= threshold)
    centre = p.log_min + p.width * (k + 0.5)
    if k == len(log_r) - 1:
        return math.exp(centre)
    return math.exp(centre + p.width * (log_r[k] - threshold) / (log_r[k] - log_r[k + 1]))


def valley(rho: list[float], sigma: list[float]) -> float:
    """The last centre of least rate below the peak of the rate; infinity if it is half the peak or more."""
    below = rho[: rho.index(max(rho)) + 1]
    least = [s for s, x in zip(sigma, below, strict=False) if x <= min(below) * (1 + SAME_RATE)]
    return least[-1] if 2 * min(below) < max(rho) else math.inf


def knee(p: Params, log_r: list[float], sigma: list[float], first: int) -> float:
    """The centre of largest curvature of log r against log sigma."""  # App. B.4
    half = max(1, math.floor(0.5 / p.width + 0.5))
    step = half * p.width
    curvature = {}
    for k in range(first + half, len(log_r) - half):
        slope = (log_r[k + half] - log_r[k - half]) / (2 * step)
        second = (log_r[k + half] - 2 * log_r[k] + log_r[k - half]) / step**2
        curvature[k] = abs(second) / (1 + slope**2) ** 1.5
    return sigma[max(curvature, key=lambda k: curvature[k])] if curvature else 0.0


def power_law(p: Params, log_r: list[float], sigma: list[float], first: int) -> float:
    """Upper end of the low-noise run of bins that one straight line fits, else the knee."""  # App. B.4
    shortest = 2 + int(p.pivot_span / p.width)
    last = None
    for end in range(first + shortest, len(log_r) + 1):
        y = torch.tensor(log_r[first:end], dtype=torch.float64)
        x = torch.arange(len(y), dtype=torch.float64)
        x, y = x - x.mean(), y - y.mean()
        residual = y - x * (x @ y) / (x @ x)
        if float(residual @ residual) > p.pivot_value**2 * len(y):
            break
        last = end - 1
    if last is None:
        return knee(p, log_r, sigma, first)
    return 0.0 if last == len(log_r) - 1 else sigma[last]


def pivot_of(p: Params, rho: list[float], sigma: list[float]) -> float:
    """The gate's midpoint under the rule of `params`."""
    rule = PIVOT_RULES[int(p.pivot_rule)]
    if rule == "fixed":
        return p.pivot_value
    r = [x / s for x, s in zip(rho, sigma, strict=True)]
    positive = [k for k, x in enumerate(r) if x > TINY]
    if not positive:
        return 0.0
    log_r = [math.log(max(x, TINY)) for x in r]
    if rule == "onset":
        return min(onset(p, log_r), valley(rho, sigma))
    return power_law(p, log_r, sigma, positive[0])


def rise_of(mmse: list[float], width: float) -> list[float]:
    """By how much mmse rises over each bin: isotonic first, then at the edges between the centres."""
    iso = [(max(mmse[: k + 1]) + min(mmse[k:])) / 2 for k in range(len(mmse))]
    iso = [iso[0] * math.exp(-2 * width), *iso, iso[-1]]  # proportional to sigma^2 below, constant above
    edges = [math.sqrt(a) * math.sqrt(b) for a, b in pairwise(iso)]
    return [b - a if b > a * (1 + SAME_RATE) else 0.0 for a, b in pairwise(edges)]


def signal_of(p: Params, rho: list[float], sigma: list[float]) -> list[float]:
    """What the gated table equalises, of every bin, but for a constant factor."""
    signal = SIGNALS[int(p.signal)]
    if signal == "entropy":
        return rho
    if signal == "rescaled":
        return [x * s for x, s in zip(rho, sigma, strict=True)]
    rise = rise_of([x * s**2 for x, s in zip(rho, sigma, strict=True)], p.width)
    return rise if signal == "mmse" else [math.sqrt(x) for x in rise]


def table_of(p: Params, phi: list[float], weight: list[float]) -> list[float] | None:
    """The cdf of pi = phi / w mixed with the floor; None when it is not a distribution."""
    density = [f / w for f, w in zip(phi, weight, strict=True)]  # Eq. 16
    total = sum(density)
    if not (math.isfinite(total) and total > 0):
        return None
    cdf = [0.0]
    for d in density:
        cdf.append(cdf[-1] + (1 - p.floor) * d / total + p.floor / len(density))
    return [min(f, 1.0) for f in cdf[:-1]] + [1.0]


def refresh_(
    moments: Tensor, mmse: Tensor, cdf: Tensor, stats: Tensor, counters: Tensor, grid: Tensor, params: Tensor
) -> None:
    """Rebuild each group's table from the moments of its rings, or say why not."""
    p = Params.of(params)
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
    sigma, width = rows["sigma"], p.width
    measured = [m[0] >= p.min_count for m in moments]
    mass = (cdf[1:] - cdf[:-1]).tolist()
    missing = sum(f for f, ok in zip(mass, measured, strict=True) if not ok)
    stats[STATS.index("coverage")] = 1 - missing if any(measured) else 0.0
    if not any(measured) or missing > 1 - p.coverage:
        return _count(counters, "waits", 1)
    for k, (n, total, _) in enumerate(moments):
        if measured[k]:
            old, mean = float(mmse[k]), total / n
            mmse[k] = mean if old < 0 else (1 - p.ema) * old + p.ema * mean
    m = [min(x, b) for x, b in zip(filled(mmse.tolist(), sigma), rows["bound"], strict=True)]
    rho = smoothed([x / s**2 for x, s in zip(m, sigma, strict=True)], p.smooth)  # Eq. 11
    c = pivot_of(p, rho, sigma)
    signal, n = signal_of(p, rho, sigma), p.gate_power
    phi = [x * s**n / (s**n + c**n) for x, s in zip(signal, sigma, strict=True)]  # Eqs. 13, 17
    table = table_of(p, phi, rows["weight"])
    if table is None or not math.isfinite(sum(rho)):
        return _count(counters, "degenerates", 3)
    new = torch.tensor(table, dtype=torch.float64)
    for name, value in (
        ("pivot", c),
        ("drift", float((new - cdf).abs().max())),
        ("information", sum(rho) * width),
        ("kept", sum(phi) / sum(signal)),
    ):
        stats[STATS.index(name)] = value
    cdf.copy_(new)
    return _count(counters, "refreshes", 2)


def _count(counters: Tensor, name: str, status: int) -> None:
    counters[COUNTERS.index(name)] += 1
    counters[COUNTERS.index("status")] = status
