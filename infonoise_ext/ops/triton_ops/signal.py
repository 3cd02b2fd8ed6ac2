"""What the gated table equalises, from a table's entropy rate, as a vector of one group's bins."""

from __future__ import annotations

import triton
import triton.language as tl

from ..schemas import NARROWEST, PARAMS, SIGNALS
from .common import CLOSE, INF, SMALLEST, WIDTH, larger, safe_log, smaller

SIGNAL = tl.constexpr(PARAMS.index("signal"))
REACH = tl.constexpr(PARAMS.index("reach"))
LEARNABLE = tl.constexpr(SIGNALS.index("learnable"))
RESCALED = tl.constexpr(SIGNALS.index("rescaled"))
LENGTH = tl.constexpr(SIGNALS.index("length"))
LEAST_SPREAD = tl.constexpr(NARROWEST**2)
assert SIGNALS == ("learnable", "entropy", "rescaled", "mmse", "length")


@triton.jit
def rise(mmse, k, width, K: tl.constexpr):
    """By how much mmse rises over each bin: isotonic first, then at the edges between the centres."""
    highest = tl.associative_scan(tl.where(k < K, mmse, 0.0), 0, larger)
    least = tl.associative_scan(tl.where(k < K, mmse, INF), 0, smaller, reverse=True)
    iso = tl.where(k < K, 0.5 * (highest + least), 0.0)
    before = tl.gather(iso, tl.maximum(k - 1, 0), 0)
    before = tl.where(k > 0, before, before * tl.exp(-2 * width))  # proportional to sigma^2 below the grid
    after = tl.gather(iso, tl.minimum(k + 1, K - 1), 0)
    middle = tl.sqrt(iso)
    low, high = tl.sqrt(before) * middle, middle * tl.sqrt(after)
    return tl.where(high > low + low * CLOSE, high - low, 0.0)


@triton.jit
def window(rho, k, sigma, variance, K: tl.constexpr):
    """Where there is something left to learn: r (1 - r) g (1 - g), as a share of its peak.

    r is the rate, and g that of Gaussian data of the variance, which r cannot exceed: an untrained network does.
    """
    gaussian = variance / (variance + sigma * sigma)
    r = tl.minimum(rho, gaussian)
    q = tl.where(k < K, r * (1 - r) * gaussian * (1 - gaussian), 0.0)
    peak = tl.max(q)
    return q / tl.where(peak > 0, peak, 1.0)


@triton.jit
def sharpness(q, k, params):
    """The power of the window: 1/2 if it is wider than what is learned at one level reaches, more if it is narrower."""
    total = tl.sum(q)
    safe = tl.where(total > 0, total, 1.0)
    distance = k - tl.sum(k * q) / safe
    width, reach = tl.load(params + WIDTH), tl.load(params + REACH)
    spread = tl.sum(distance * distance * q) / safe * (width * width)
    ratio = reach * reach / tl.where(spread > SMALLEST, spread, tl.full((), SMALLEST, tl.float64))
    fourth = ratio * ratio * ratio * ratio
    power = tl.minimum(0.5 * (1 + fourth * fourth * fourth * fourth), spread / LEAST_SPREAD)
    return tl.where(total > 0, tl.maximum(power, 0.5), 0.5)


@triton.jit
def learnable(q, power, sigma, weight, variance):
    """The window to a power, times the geometric mean of the loss weight and EDM's."""
    sharp = tl.where(q > 0, tl.exp(power * safe_log(q)), 0.0)
    spread = tl.where(variance > 0, variance, 1.0)  # of no variance there is no window
    return sharp * tl.sqrt(weight * (1 / (sigma * sigma) + 1 / spread))  # Eq. 52


@triton.jit
def signal(rho, k, sigma, weight, variance, params, K: tl.constexpr):
    """The signal of `params`, but for a constant factor, and the window's power, else 1; `sigma` holds the centres."""
    which = tl.load(params + SIGNAL)
    found = rho
    power = tl.full((), 1.0, tl.float64)
    if which == LEARNABLE:
        q = window(rho, k, sigma, variance, K)
        power = sharpness(q, k, params)
        found = learnable(q, power, sigma, weight, variance)
    elif which == RESCALED:
        found = rho * sigma
    elif which > RESCALED:
        found = rise(rho * (sigma * sigma), k, tl.load(params + WIDTH), K)
        if which == LENGTH:
            found = tl.sqrt(found)
    return found, power
