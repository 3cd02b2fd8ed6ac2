"""The gate's midpoint from a table's rate: fixed, onset or power law, as vectors of one group's bins.

`k` is 0 .. KP - 1 and lanes from K on are padding; `log_r` and `rho` are 0 there.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ..schemas import PARAMS
from .common import INF, LOG_MIN, ROW_SIGMA, SMALLEST, WIDTH, safe_log

PIVOT_RULE = tl.constexpr(PARAMS.index("pivot_rule"))
PIVOT_VALUE = tl.constexpr(PARAMS.index("pivot_value"))
PIVOT_SPAN = tl.constexpr(PARAMS.index("pivot_span"))


@triton.jit
def at(x, k, index):
    """Element `index` of the vector x."""
    return tl.sum(tl.where(k == index, x, 0.0))


@triton.jit
def onset(log_r, k, params, K: tl.constexpr):
    """Beyond the last centre where r reaches p * max r, log-log interpolated."""  # Eq. 18
    peak = tl.max(tl.where(k < K, log_r, -INF))
    threshold = peak + tl.log(tl.load(params + PIVOT_VALUE))
    last = tl.maximum(tl.max(tl.where((k < K) & (log_r >= threshold), k, -1)), 0)
    here, after = at(log_r, k, last), at(log_r, k, last + 1)
    between = last < K - 1
    fraction = tl.where(between, (here - threshold) / tl.where(between, here - after, 1.0), 0.0)
    return tl.exp(tl.load(params + LOG_MIN) + tl.load(params + WIDTH) * (last + 0.5 + fraction))


@triton.jit
def knee(log_r, k, params, sigma, first, K: tl.constexpr):
    """The centre of largest curvature of log r against log sigma."""  # App. B.4
    width = tl.load(params + WIDTH)
    half = tl.minimum(tl.maximum(tl.floor(0.5 / width + 0.5), 1.0), K * 1.0).to(tl.int32)
    step = half * width
    right = tl.gather(log_r, tl.minimum(k + half, K - 1), 0)
    left = tl.gather(log_r, tl.maximum(k - half, 0), 0)
    slope = (right - left) / (2 * step)
    second = (right - 2 * log_r + left) / (step * step)
    bend = 1 + slope * slope
    valid = (k >= first + half) & (k < K - half)
    curvature = tl.where(valid, tl.abs(second) / (bend * tl.sqrt(bend)), -1.0)
    sharpest = tl.max(curvature)
    best = tl.min(tl.where(valid & (curvature == sharpest), k, K - 1))
    return tl.where(sharpest >= 0, tl.load(sigma + best), 0.0)


@triton.jit
def power_law(log_r, k, params, sigma, first, K: tl.constexpr):
    """Upper end of the low-noise run of bins that one straight line fits, else the knee."""  # App. B.4
    inside = (k >= first) & (k < K)
    x = tl.where(inside, k - first, 0).to(tl.float64)
    y = tl.where(inside, log_r - at(log_r, k, first), 0.0)
    n = x + 1
    sx, sy = tl.cumsum(x, 0), tl.cumsum(y, 0)
    sxx, sxy, syy = tl.cumsum(x * x, 0), tl.cumsum(x * y, 0), tl.cumsum(y * y, 0)
    vxx, vxy, vyy = sxx - sx * sx / n, sxy - sx * sy / n, syy - sy * sy / n
    value = tl.load(params + PIVOT_VALUE)
    shortest = 2 + tl.floor(tl.load(params + PIVOT_SPAN) / tl.load(params + WIDTH))
    enough = inside & (n >= shortest)
    bent = enough & (vyy - vxy * vxy / tl.where(vxx > 0, vxx, 1.0) > value * value * n)
    broken = tl.min(tl.where(bent, k, K))
    last = tl.max(tl.where(enough & (k < broken), k, -1))
    found = tl.where(last == K - 1, 0.0, tl.load(sigma + tl.maximum(last, 0)))
    if last < 0:
        found = knee(log_r, k, params, sigma, first, K)
    return found


@triton.jit
def pivot(rho, k, params, grid, K: tl.constexpr):
    """The midpoint under the rule of `params`, float64."""
    rule = tl.load(params + PIVOT_RULE)
    midpoint = tl.load(params + PIVOT_VALUE)
    if rule > 0:
        sigma = grid + ROW_SIGMA * (K + 1)
        r = rho / tl.load(sigma + k, mask=k < K, other=1.0)
        log_r = tl.where(k < K, safe_log(r), 0.0)
        first = tl.min(tl.where((r > SMALLEST) & (k < K), k, K))
        if first >= K:
            midpoint = midpoint * 0.0
        elif rule == 1:
            midpoint = onset(log_r, k, params, K)
        else:
            midpoint = power_law(log_r, k, params, sigma, first, K)
    return midpoint
