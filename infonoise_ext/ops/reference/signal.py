"""What a schedule equalises, from the entropy rate."""

from __future__ import annotations

import math
from itertools import pairwise

from ..schemas import SAME_RATE, SIGNALS, Params


def rise(mmse: list[float], width: float) -> list[float]:
    """By how much mmse rises over each bin: isotonic first, then at the edges between the centres."""
    iso = [(max(mmse[: k + 1]) + min(mmse[k:])) / 2 for k in range(len(mmse))]
    iso = [iso[0] * math.exp(-2 * width), *iso, iso[-1]]  # proportional to sigma^2 below, constant above
    edges = [math.sqrt(a) * math.sqrt(b) for a, b in pairwise(iso)]
    return [b - a if b > a * (1 + SAME_RATE) else 0.0 for a, b in pairwise(edges)]


def signal(p: Params, rho: list[float], sigma: list[float]) -> list[float]:
    """What the gated table equalises, of every bin, but for a constant factor."""
    name = SIGNALS[int(p.signal)]
    if name == "entropy":
        return rho
    if name == "rescaled":
        return [x * s for x, s in zip(rho, sigma, strict=True)]
    risen = rise([x * s**2 for x, s in zip(rho, sigma, strict=True)], p.width)
    return risen if name == "mmse" else [math.sqrt(x) for x in risen]
