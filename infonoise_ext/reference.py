"""Float64 reference of every op: plain Python loops over numbers, one equation a line. The contract.

Slow and readable on purpose; tests compare every backend with it, and nothing else imports it.
Equation numbers are those of arXiv 2602.18647. Functions mutate the tensors whose names their
schema marks (`infonoise_ext._schemas`), as the ops do.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ._schemas import COUNTERS, EDGE_TOLERANCE, GRID_ROWS, PARAMS, PIVOT_RULES, STATS, TINY


class Params(NamedTuple):
    """The `params` tensor by name."""

    log_min: float
    width: float
    warmup: float
    refresh_every: float
    min_count: float
    coverage: float
    ema: float
    smooth: float
    floor: float
    gate_power: float
    pivot_rule: float
    pivot_value: float
    pivot_span: float
    stratified: float
    rank: float
    world: float

    @classmethod
    def of(cls, params: Tensor) -> Params:
        """Read a float64 [16] tensor."""
        return cls(**dict(zip(PARAMS, params.tolist(), strict=True)))


def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Four random 32-bit words: Philox4x32-10 of Salmon et al., SC 2011."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & 0xFFFFFFFF, (a >> 32) ^ c3 ^ k1, a & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniforms(seed: int, offset: int, rank: int, n: int) -> list[float]:
    """The u in (0, 1) of draw `offset` on `rank`."""
    seed, offset = seed % 2**64, offset % 2**64
    words: list[int] = []
    for block in range((n + 3) // 4):
        counter = (block, rank, offset & 0xFFFFFFFF, offset >> 32)
        words.extend(philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32)))
    return [(word + 0.5) * 2.0**-32 for word in words[:n]]


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
            out.append(math.exp(low + (high - low) * (k - a) / (b - a)))
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
    return onset(p, log_r) if rule == "onset" else power_law(p, log_r, sigma, positive[0])


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
    phi = [x * s**p.gate_power / (s**p.gate_power + c**p.gate_power) for x, s in zip(rho, sigma, strict=True)]
    table = table_of(p, phi, rows["weight"])  # Eqs. 13, 17
    if table is None:
        return _count(counters, "degenerates", 3)
    new = torch.tensor(table, dtype=torch.float64)
    for name, value in (
        ("pivot", c),
        ("drift", float((new - cdf).abs().max())),
        ("information", sum(rho) * width),
        ("kept", sum(phi) / sum(rho)),
    ):
        stats[STATS.index(name)] = value
    cdf.copy_(new)
    return _count(counters, "refreshes", 2)


def _count(counters: Tensor, name: str, status: int) -> None:
    counters[COUNTERS.index(name)] += 1
    counters[COUNTERS.index("status")] = status


def quantile(u: float, cdf: list[float], log_min: float, width: float) -> float:
    """Exact inverse of the piecewise-constant density in log sigma."""
    u = min(max(u, 0.0), 1.0)
    inside = [k for k in range(len(cdf) - 1) if cdf[k] <= u]
    k = inside[-1]
    mass = cdf[k + 1] - cdf[k]
    return math.exp(log_min + width * (k + ((u - cdf[k]) / mass if mass > 0 else 1.0)))


def icdf(cdf: Tensor, grid: Tensor, params: Tensor, u: Tensor, group: Tensor | None) -> Tensor:
    """Sigma [n] float32 of the uniforms u [n]."""
    p, edges = Params.of(params), grid[0].tolist()
    out = torch.empty(u.numel(), dtype=torch.float32)
    for i, value in enumerate(u.double().tolist()):
        row = cdf[0 if group is None else int(group[i])].tolist()
        sigma = quantile(value, row, p.log_min, p.width)
        out[i] = min(max(sigma, edges[0]), edges[-1])
    return out


def sample_(cdf: Tensor, rng: Tensor, grid: Tensor, params: Tensor, n: int, group: Tensor | None) -> Tensor:
    """Draw n sigmas; the offset rises by one unless n is 0."""
    p = Params.of(params)
    u = uniforms(int(rng[0]), int(rng[1]), int(p.rank), n)
    if p.stratified:
        u = [(p.rank * n + i + x) / (p.world * n) for i, x in enumerate(u)]
    if n:
        rng[1] += 1
    return icdf(cdf, grid, params, torch.tensor(u, dtype=torch.float64), group)


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
