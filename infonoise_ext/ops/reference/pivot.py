"""The gate's midpoint, from the entropy rate."""

from __future__ import annotations

import math

import torch

from ..schemas import PIVOT_RULES, TINY, Params


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


def pivot(p: Params, rho: list[float], sigma: list[float]) -> float:
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
        return onset(p, log_r)
    return power_law(p, log_r, sigma, positive[0])
