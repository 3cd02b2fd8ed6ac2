"""From the moments of the rings to the mmse of every bin, as vectors of one group's bins.

`k` is 0 .. KP - 1 and lanes from K on are padding. A pool is the number of its losses, the sum of all but the largest,
and the largest; that of a bin is read from memory when it is needed, which takes fewer registers than to keep it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ..schemas import CERTAIN, INFLUENCE, PARAMS
from .common import INF, N_MOMENTS, ROW_BOUND, ROW_SIGMA, SMALLEST, smaller

MIN_COUNT = tl.constexpr(PARAMS.index("min_count"))
MOST_NOISE = tl.constexpr(CERTAIN)
ADDED = tl.constexpr(INFLUENCE)


@triton.jit
def merged(count, rest, largest, other_count, other_rest, other_largest):
    """The pool of two."""
    rest = rest + other_rest + tl.minimum(largest, other_largest)
    return count + other_count, rest, tl.maximum(largest, other_largest)


@triton.jit
def mean(count, rest, largest):
    """The mean, to which the largest loss adds no more than about a sixteenth."""
    most = rest / tl.maximum(count - 1, 1.0) * (1 + ADDED * count)
    return (rest + tl.where(count < 2, largest, tl.minimum(largest, most))) / tl.maximum(count, 1.0)


@triton.jit
def pools(moments, j, wanted):
    """Those of the bins j; empty ones where they are not wanted."""
    place = moments + j * N_MOMENTS
    count = tl.load(place, mask=wanted, other=0.0)
    rest = tl.load(place + 1, mask=wanted, other=0.0)
    return count, rest, tl.load(place + 2, mask=wanted, other=0.0)


@triton.jit
def variance(moments, k, params, grid, K: tl.constexpr):
    """Of an element of the data: that of Gaussian data with the mean error of the highest `min_count` losses."""
    count, rest, largest = pools(moments, k, k < K)
    above = tl.cumsum(count, 0, reverse=True) - count
    within = (k < K) & (above < tl.load(params + MIN_COUNT))
    count, rest, largest = pools(moments, k, within)
    centre = tl.load(grid + ROW_SIGMA * (K + 1) + k, mask=within, other=1.0)
    inverse = tl.sum(count / (centre * centre))
    count, rest, largest = tl.reduce((count, rest, largest), 0, merged)
    error = tl.minimum(mean(count, rest, largest), tl.load(grid + ROW_BOUND * (K + 1) + K - 1))
    share = error * inverse / count
    return error / (1 - tl.where(share < MOST_NOISE, share, tl.full((), MOST_NOISE, tl.float64)))


@triton.jit
def gaussian_mmse(variance, sigma):
    """Of a Gaussian of that variance."""
    return variance / (1 + variance / (sigma * sigma))


@triton.jit
def relative(moments, j, wanted, sigma, variance):
    """The pools of the bins j in units of the mmse of Gaussian data."""
    count, rest, largest = pools(moments, j, wanted)
    gaussian = gaussian_mmse(variance, tl.load(sigma + j, mask=wanted, other=1.0))
    unit = tl.where(gaussian > SMALLEST, gaussian, 1.0)
    return count, rest / unit, largest / unit


@triton.jit
def pooled(moments, k, sigma, variance, min_count, K: tl.constexpr):
    """The pool of each bin and of as many neighbours, the same to both sides, as `min_count` losses take."""
    count, rest, largest = relative(moments, k, k < K, sigma, variance)
    reach = 1
    short = (k < K) & (count < min_count)
    while (reach < K) & (tl.max(short.to(tl.int32)) > 0):
        c, r, most = relative(moments, k - reach, short & (k >= reach), sigma, variance)
        count, rest, largest = merged(count, rest, largest, c, r, most)
        c, r, most = relative(moments, k + reach, short & (k < K - reach), sigma, variance)
        count, rest, largest = merged(count, rest, largest, c, r, most)
        short = short & (count < min_count)
        reach += 1
    return count, rest, largest


@triton.jit
def estimate(moments, k, params, grid, K: tl.constexpr):
    """The mmse of every bin, infinite in the padding, and the variance of the data.

    Bins are pooled by their error relative to Gaussian data, which hardly changes from one bin to the next. The mmse
    does not fall as sigma rises, so that a bin has no more than any above it.
    """
    found = variance(moments, k, params, grid, K)
    sigma = grid + ROW_SIGMA * (K + 1)
    count, rest, largest = pooled(moments, k, sigma, found, tl.load(params + MIN_COUNT), K)
    mmse = mean(count, rest, largest) * gaussian_mmse(found, tl.load(sigma + k, mask=k < K, other=1.0))
    mmse = tl.minimum(mmse, tl.load(grid + ROW_BOUND * (K + 1) + k, mask=k < K, other=0.0))
    return tl.associative_scan(tl.where(k < K, mmse, INF), 0, smaller, reverse=True), found
