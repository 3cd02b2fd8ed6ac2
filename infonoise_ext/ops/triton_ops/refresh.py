"""`refresh_`: from the moments of the rings to the table that is sampled, one program a group."""

from __future__ import annotations

import torch
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
    ROW_SIGMA,
    ROW_WEIGHT,
    WIDTH,
    on_device,
    options,
    padded,
)
from .estimate import MIN_COUNT, estimate, merged, pools
from .pivot import pivot
from .signal import signal

FLOOR = tl.constexpr(PARAMS.index("floor"))
GATE_POWER = tl.constexpr(PARAMS.index("gate_power"))
STATUS = tl.constexpr(COUNTERS.index("status"))
OUTCOMES = tl.constexpr(COUNTERS.index("refreshes"))  # refreshes, waits, degenerates
WAITS, ACTIVE, DEGENERATE = tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)
STAT_PIVOT = tl.constexpr(STATS.index("pivot"))
STAT_KEPT = tl.constexpr(STATS.index("kept"))
STAT_VARIANCE = tl.constexpr(STATS.index("variance"))
STAT_SHARPNESS = tl.constexpr(STATS.index("sharpness"))
STAT_INFORMATION = tl.constexpr(STATS.index("information"))
STAT_DRIFT = tl.constexpr(STATS.index("drift"))
assert COUNTERS[OUTCOMES.value :][:3] == ("refreshes", "waits", "degenerates")
assert STATUSES[1:] == ("waiting for losses", "active", "degenerate profile kept out")


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
def build_table(rho, k, variance, cdf, stats, params, grid, K: tl.constexpr):
    """Pivot, signal, gate, density and cdf; whether they are a distribution, else the old table stays."""
    live = k < K
    sigma = tl.load(grid + ROW_SIGMA * (K + 1) + k, mask=live, other=1.0)
    weight = tl.load(grid + ROW_WEIGHT * (K + 1) + k, mask=live, other=1.0)
    midpoint = pivot(rho, k, params, grid, K)
    ungated, power = signal(rho, k, sigma, weight, variance, params, K)
    phi = tl.where(live, ungated * gate(midpoint, sigma, tl.load(params + GATE_POWER)), 0.0)  # Eq. 13
    density = phi / weight  # Eq. 16
    norm = tl.sum(density)
    good = (norm > 0) & (norm < INF)
    if good:
        floor = tl.load(params + FLOOR)
        mass = (1 - floor) * (density / norm) + floor / K
        table = tl.minimum(tl.cumsum(tl.where(live, mass, 0.0), 0), 1.0)
        table = tl.where(k == K - 1, 1.0, table)
        old = tl.load(cdf + 1 + k, mask=live, other=0.0)
        tl.store(stats + STAT_PIVOT, midpoint)
        tl.store(stats + STAT_KEPT, tl.sum(phi) / tl.sum(ungated))
        tl.store(stats + STAT_VARIANCE, variance)
        tl.store(stats + STAT_SHARPNESS, power)
        tl.store(stats + STAT_INFORMATION, tl.sum(rho) * tl.load(params + WIDTH))
        tl.store(stats + STAT_DRIFT, tl.max(tl.where(live, tl.abs(table - old), 0.0)))
        tl.debug_barrier()
        tl.store(cdf + 1 + k, table, mask=live)
    return good


@triton.jit
def remember(k, count, previous_count, previous_cdf, cdf, K: tl.constexpr):
    """What the two last refreshes began with: how many losses, and the table that later ones were drawn from."""
    live = k < K
    before, now = tl.load(previous_count + K + k, mask=live), tl.load(count + k, mask=live)
    tl.debug_barrier()
    tl.store(previous_count + k, before, mask=live)
    tl.store(previous_count + K + k, now, mask=live)
    tl.store(previous_cdf + 1 + k, tl.load(cdf + 1 + k, mask=live), mask=live)


@triton.jit
def together(moments, out, k, G, K: tl.constexpr):
    """The moments of all groups as of one, into `out`; their counts."""
    live = k < K
    count, rest, largest = pools(moments, k, live)
    for g in range(1, G):
        c, r, most = pools(moments + g * K * N_MOMENTS, k, live)
        count, rest, largest = merged(count, rest, largest, c, r, most)
    tl.store(out + k * N_MOMENTS, count, mask=live)
    tl.store(out + k * N_MOMENTS + 1, rest, mask=live)
    tl.store(out + k * N_MOMENTS + 2, largest, mask=live)
    tl.debug_barrier()
    return count


@triton.jit
def refresh_group(
    moments, everyone, count, previous_count, previous_cdf, mmse, cdf, stats, counters, grid, params, g, G,
    K: tl.constexpr, KP: tl.constexpr,
):  # fmt: skip
    """The table of group g, from the losses of all G groups while it has too few; `everyone` [G, K, 3] is scratch."""
    k = tl.arange(0, KP)
    live = k < K
    own, cdf, counters = moments + g * K * N_MOMENTS, cdf + g * (K + 1), counters + g * N_COUNTERS
    remember(k, count + g * K, previous_count + g * 2 * K, previous_cdf + g * (K + 1), cdf, K)
    total, wanted = tl.sum(tl.load(own + k * N_MOMENTS, mask=live, other=0.0)), tl.load(params + MIN_COUNT)
    short = ~((total >= wanted) & (total > 0))
    if G > 1:  # noqa: SIM102 (a constant of a single group: nothing below is compiled)
        if short:
            own = everyone + g * K * N_MOMENTS
            total = tl.sum(together(moments, own, k, G, K))
    if (total >= wanted) & (total > 0):
        found, variance = estimate(own, k, params, grid, K)
        tl.store(mmse + g * K + k, found, mask=live)
        centre = tl.load(grid + ROW_SIGMA * (K + 1) + k, mask=live, other=1.0)
        rho = tl.where(live, found / (centre * centre), 0.0)  # Eq. 11
        good = build_table(rho, k, variance, cdf, stats + g * N_STATS, params, grid, K)
        if not short:
            count_outcome(counters, tl.where(good, ACTIVE, DEGENERATE))
    if short:
        count_outcome(counters, WAITS)


@triton.jit(do_not_specialize=["G"])
def refresh_kernel(
    moments, everyone, count, previous_count, previous_cdf, mmse, cdf, stats, counters, grid, params, G,
    K: tl.constexpr, KP: tl.constexpr,
):  # fmt: skip
    """A group a program."""
    g = tl.program_id(0).to(tl.int64)
    refresh_group(
        moments, everyone, count, previous_count, previous_cdf, mmse, cdf, stats, counters, grid, params, g, G, K, KP
    )  # fmt: skip


def refresh_(
    moments: Tensor, count: Tensor, previous_count: Tensor, previous_cdf: Tensor, mmse: Tensor, cdf: Tensor,
    stats: Tensor, counters: Tensor, grid: Tensor, params: Tensor,
) -> None:  # fmt: skip
    """Rebuild each group's table from the moments of its rings, or say why not: one launch."""
    check_state(
        moments=moments, count=count, previous_count=previous_count, previous_cdf=previous_cdf, mmse=mmse, cdf=cdf,
        stats=stats, counters=counters, grid=grid, params=params,
    )  # fmt: skip
    groups, bins = mmse.shape
    with on_device(cdf):
        refresh_kernel[(groups,)](
            moments, torch.empty_like(moments), count, previous_count, previous_cdf, mmse, cdf, stats, counters, grid,
            params, groups, K=bins, KP=padded(bins)["KP"], **options(bins),
        )  # fmt: skip
