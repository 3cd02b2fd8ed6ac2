"""`refresh_`: from the moments of the rings to the table that is sampled, one program a group."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..checks import check_state
from ..schemas import COUNTERS, PARAMS, STATS, STATUSES
from .common import (
    INF,
    N_COUNTERS,
    N_MOMENTS,
    N_STATS,
    ROW_BOUND,
    ROW_SIGMA,
    ROW_WEIGHT,
    WIDTH,
    larger,
    on_device,
    options,
    padded,
    safe_log,
    smaller,
)
from .pivot import pivot
from .signal import signal

MIN_COUNT = tl.constexpr(PARAMS.index("min_count"))
COVERAGE = tl.constexpr(PARAMS.index("coverage"))
EMA = tl.constexpr(PARAMS.index("ema"))
SMOOTH = tl.constexpr(PARAMS.index("smooth"))
FLOOR = tl.constexpr(PARAMS.index("floor"))
GATE_POWER = tl.constexpr(PARAMS.index("gate_power"))
STATUS = tl.constexpr(COUNTERS.index("status"))
OUTCOMES = tl.constexpr(COUNTERS.index("refreshes"))  # refreshes, waits, degenerates
WAITS, ACTIVE, DEGENERATE = tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)
STAT_PIVOT = tl.constexpr(STATS.index("pivot"))
STAT_COVERAGE = tl.constexpr(STATS.index("coverage"))
STAT_DRIFT = tl.constexpr(STATS.index("drift"))
STAT_INFORMATION = tl.constexpr(STATS.index("information"))
STAT_KEPT = tl.constexpr(STATS.index("kept"))
assert COUNTERS[OUTCOMES.value :][:3] == ("refreshes", "waits", "degenerates")
assert STATUSES[1:] == ("waiting for coverage", "active", "degenerate profile kept out")


@triton.jit
def fill(m, k, sigma, K: tl.constexpr):
    """Estimates of every bin: log-linear between measured ones, sigma^2 below, constant above."""
    known = (m >= 0) & (k < K)
    below = tl.associative_scan(tl.where(known, k, -1), 0, larger)
    above = tl.associative_scan(tl.where(known, k, K), 0, smaller, reverse=True)
    next_ = tl.minimum(above, K - 1)
    low = tl.gather(m, tl.maximum(below, 0), 0)
    high = tl.gather(m, next_, 0)
    log_low, log_high = safe_log(low), safe_log(high)
    fraction = (k - below).to(tl.float64) / tl.maximum(above - below, 1).to(tl.float64)
    out = tl.where(tl.maximum(low, high) > 0, tl.exp(log_low + (log_high - log_low) * fraction), 0.0)
    ratio = tl.load(sigma + k, mask=k < K, other=1.0) / tl.load(sigma + next_)
    out = tl.where(above == K, low, out)
    out = tl.where(below < 0, high * (ratio * ratio), out)
    return tl.where(known, m, out)


@triton.jit
def smooth(rho, k, bandwidth, K: tl.constexpr):
    """Gaussian average of log rho over neighbouring bins, cut at three standard deviations."""
    logs = safe_log(rho)
    radius = tl.minimum(tl.floor(3 * bandwidth), K * 1.0).to(tl.int32)
    total, weight = tl.zeros_like(logs), tl.zeros_like(logs)
    for step in range(2 * radius + 1):
        distance = step - radius
        j = k + distance
        scaled = distance / bandwidth
        w = tl.where((j >= 0) & (j < K), tl.exp(-0.5 * (scaled * scaled)), 0.0)
        total += w * tl.gather(logs, tl.minimum(tl.maximum(j, 0), K - 1), 0)
        weight += w
    return tl.exp(total / tl.where(weight > 0, weight, 1.0))


@triton.jit
def rate(mmse, k, params, grid, K: tl.constexpr):
    """Entropy rate per unit log sigma, gaps filled, bounded and smoothed; 0 in the padding."""  # Eq. 11
    live = k < K
    sigma = grid + ROW_SIGMA * (K + 1)
    bound = tl.load(grid + ROW_BOUND * (K + 1) + k, mask=live, other=0.0)
    centre = tl.load(sigma + k, mask=live, other=1.0)
    rho = tl.minimum(fill(mmse, k, sigma, K), bound) / (centre * centre)
    bandwidth = tl.load(params + SMOOTH)
    if bandwidth > 0:
        rho = smooth(rho, k, bandwidth, K)
    return tl.where(live, rho, 0.0)


@triton.jit
def gate(midpoint, sigma, power):
    """1 / (1 + (c / sigma)^n)."""  # Eq. 17
    return 1 / (1 + tl.where(power == 0, 1.0, tl.exp(power * tl.log(midpoint / sigma))))


@triton.jit
def count_outcome(counters, status):
    """Add one to the counter of this outcome, and say so."""
    place = counters + OUTCOMES + tl.where(status == ACTIVE, 0, tl.where(status == WAITS, 1, 2))
    before = tl.load(place)
    tl.debug_barrier()
    tl.store(place, before + 1)
    tl.store(counters + STATUS, tl.where(status == ACTIVE, 2, status).to(tl.int64))


@triton.jit
def build_table(rho, k, old, cdf, stats, params, grid, K: tl.constexpr):
    """Gate, density and cdf; whether they are a distribution, else the old table stays."""
    live = k < K
    sigma = tl.load(grid + ROW_SIGMA * (K + 1) + k, mask=live, other=1.0)
    weight = tl.load(grid + ROW_WEIGHT * (K + 1) + k, mask=live, other=1.0)
    midpoint = pivot(rho, k, params, grid, K)
    ungated = signal(rho, k, sigma, params, K)
    phi = tl.where(live, ungated * gate(midpoint, sigma, tl.load(params + GATE_POWER)), 0.0)  # Eq. 13
    density = phi / weight  # Eq. 16
    norm, information = tl.sum(density), tl.sum(rho)
    good = (norm > 0) & (norm < INF) & (tl.abs(information) < INF)
    if good:
        floor = tl.load(params + FLOOR)
        mass = (1 - floor) * (density / norm) + floor / K
        table = tl.minimum(tl.cumsum(tl.where(live, mass, 0.0), 0), 1.0)
        table = tl.where(k == K - 1, 1.0, table)
        tl.store(stats + STAT_PIVOT, midpoint)
        tl.store(stats + STAT_DRIFT, tl.max(tl.where(live, tl.abs(table - old), 0.0)))
        tl.store(stats + STAT_INFORMATION, information * tl.load(params + WIDTH))
        tl.store(stats + STAT_KEPT, tl.sum(phi) / tl.sum(ungated))
        tl.debug_barrier()
        tl.store(cdf + 1 + k, table, mask=live)
    return good


@triton.jit
def refresh_group(moments, mmse, cdf, stats, counters, grid, params, K: tl.constexpr, KP: tl.constexpr):
    """One group's table; pointers are to that group's rows."""
    k = tl.arange(0, KP)
    live = k < K
    number = tl.load(moments + k * N_MOMENTS, mask=live, other=0.0)
    total = tl.load(moments + k * N_MOMENTS + 1, mask=live, other=0.0)
    low, high = tl.load(cdf + k, mask=live, other=0.0), tl.load(cdf + k + 1, mask=live, other=0.0)
    measured = live & (number >= tl.load(params + MIN_COUNT))
    missing = tl.sum(tl.where(measured, 0.0, high - low))
    any_ = tl.max(measured.to(tl.int32)) > 0
    tl.store(stats + STAT_COVERAGE, tl.where(any_, 1 - missing, 0.0))
    if any_ & (missing <= 1 - tl.load(params + COVERAGE)):
        ema = tl.load(params + EMA)
        old = tl.load(mmse + k, mask=live, other=-1.0)
        mean = total / tl.maximum(number, 1.0)
        new = tl.where(old < 0, mean, (1 - ema) * old + ema * mean)
        new = tl.where(measured, new, old)
        tl.debug_barrier()
        tl.store(mmse + k, new, mask=live)
        rho = rate(new, k, params, grid, K)
        good = build_table(rho, k, high, cdf, stats, params, grid, K)
        count_outcome(counters, tl.where(good, ACTIVE, DEGENERATE))
    else:
        count_outcome(counters, WAITS)


@triton.jit
def refresh_kernel(moments, mmse, cdf, stats, counters, grid, params, K: tl.constexpr, KP: tl.constexpr):
    """A group a program."""
    g = tl.program_id(0).to(tl.int64)
    refresh_group(
        moments + g * K * N_MOMENTS, mmse + g * K, cdf + g * (K + 1), stats + g * N_STATS, counters + g * N_COUNTERS,
        grid, params, K, KP,
    )  # fmt: skip


def refresh_(
    moments: Tensor, mmse: Tensor, cdf: Tensor, stats: Tensor, counters: Tensor, grid: Tensor, params: Tensor
) -> None:
    """Rebuild each group's table from the moments of its rings, or say why not: one launch."""
    check_state(moments=moments, mmse=mmse, cdf=cdf, stats=stats, counters=counters, grid=grid, params=params)
    groups, bins = mmse.shape
    constants = padded(bins)
    with on_device(cdf):
        refresh_kernel[(groups,)](
            moments, mmse, cdf, stats, counters, grid, params, K=bins, KP=constants["KP"], **options(bins)
        )
