"""What the gated table equalises, from a table's entropy rate, as a vector of one group's bins."""

from __future__ import annotations

import triton
import triton.language as tl

from ..schemas import PARAMS, SIGNALS
from .common import CLOSE, INF, WIDTH, larger, smaller

SIGNAL = tl.constexpr(PARAMS.index("signal"))
RESCALED = tl.constexpr(SIGNALS.index("rescaled"))
LENGTH = tl.constexpr(SIGNALS.index("length"))
assert SIGNALS == ("entropy", "rescaled", "mmse", "length")


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
def signal(rho, k, sigma, params, K: tl.constexpr):
    """The signal of `params`, float64, but for a constant factor; `sigma` holds the centres."""
    which = tl.load(params + SIGNAL)
    found = rho
    if which == RESCALED:
        found = rho * sigma
    elif which > RESCALED:
        found = rise(rho * (sigma * sigma), k, tl.load(params + WIDTH), K)
        if which == LENGTH:
            found = tl.sqrt(found)
    return found
