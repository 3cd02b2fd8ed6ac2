"""What a schedule equalises, from the entropy rate."""

from __future__ import annotations

import math
from itertools import pairwise

from ..schemas import NARROWEST, SAME_RATE, SIGNALS, TINY, Params


def rise(mmse: list[float], width: float) -> list[float]:
    """By how much mmse rises over each bin: isotonic first, then at the edges between the centres."""
    iso = [(max(mmse[: k + 1]) + min(mmse[k:])) / 2 for k in range(len(mmse))]
    iso = [iso[0] * math.exp(-2 * width), *iso, iso[-1]]  # proportional to sigma^2 below, constant above
    edges = [math.sqrt(a) * math.sqrt(b) for a, b in pairwise(iso)]
    return [b - a if b > a * (1 + SAME_RATE) else 0.0 for a, b in pairwise(edges)]


def window(rho: list[float], sigma: list[float], variance: float) -> list[float]:
    """Where there is something left to learn: r (1 - r) g (1 - g), as a share of its peak.

    r is the rate, and g that of Gaussian data of the variance, which r cannot exceed: an untrained network does.
    """
    gaussian = [variance / (variance + s**2) for s in sigma]
    rates = [min(r, g) for r, g in zip(rho, gaussian, strict=True)]
    q = [r * (1 - r) * g * (1 - g) for r, g in zip(rates, gaussian, strict=True)]
    peak = max(q)
    return [x / peak for x in q] if peak > 0 else q


def sharpness(p: Params, q: list[float]) -> float:
    """The power of the window: 1/2 if it is wider than what is learned at one level reaches, more if it is narrower."""
    total = math.fsum(q)
    if not total > 0:
        return 0.5
    mean = math.fsum(k * x for k, x in enumerate(q)) / total
    spread = p.width**2 * math.fsum((k - mean) ** 2 * x for k, x in enumerate(q)) / total
    ratio = p.reach**2 / max(spread, TINY)
    fourth = ratio * ratio * ratio * ratio  # where ** would raise OverflowError
    power = (1 + fourth * fourth * fourth * fourth) / 2
    return max(0.5, min(power, spread / NARROWEST**2))


def learnable(q: list[float], power: float, rows: dict[str, list[float]], variance: float) -> list[float]:
    """The window to a power, times the geometric mean of the loss weight and EDM's."""
    sigma, weight = rows["sigma"], rows["weight"]
    edm = [1 / s**2 + 1 / max(variance, TINY) for s in sigma]  # Eq. 52
    return [x**power * math.sqrt(w * e) for x, w, e in zip(q, weight, edm, strict=True)]


def signal(p: Params, rho: list[float], rows: dict[str, list[float]], variance: float) -> tuple[list[float], float]:
    """What the gated table equalises, of every bin, but for a constant factor; and the window's power, else 1."""
    name, sigma = SIGNALS[int(p.signal)], rows["sigma"]
    if name == "learnable":
        q = window(rho, sigma, variance)
        power = sharpness(p, q)
        return learnable(q, power, rows, variance), power
    if name == "entropy":
        return rho, 1.0
    if name == "rescaled":
        return [x * s for x, s in zip(rho, sigma, strict=True)], 1.0
    risen = rise([x * s**2 for x, s in zip(rho, sigma, strict=True)], p.width)
    return (risen if name == "mmse" else [math.sqrt(x) for x in risen]), 1.0
