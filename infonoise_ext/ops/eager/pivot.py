"""The gate's midpoint, from the entropy rate of every group."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schemas import TINY
from .common import param


def onset(log_r: Tensor, params: Tensor) -> Tensor:
    """Beyond the last centre where r reaches p * max r, log-log interpolated."""  # Eq. 18
    bins = log_r.shape[-1]
    threshold = log_r.amax(-1, keepdim=True) + param(params, "pivot_value").log()
    index = torch.arange(bins, device=log_r.device)
    k = torch.where(log_r >= threshold, index, -1).amax(-1, keepdim=True).clamp(min=0)
    at, after = log_r.gather(-1, k), log_r.gather(-1, (k + 1).clamp(max=bins - 1))
    fraction = torch.where(k == bins - 1, 0.0, (at - threshold) / (at - after))
    return (param(params, "log_min") + param(params, "width") * (k + 0.5 + fraction)).exp().squeeze(-1)


def knee(log_r: Tensor, sigma: Tensor, params: Tensor, first: Tensor) -> Tensor:
    """The centre of largest curvature of log r against log sigma."""  # App. B.4
    bins, width = log_r.shape[-1], param(params, "width")
    half = (0.5 / width + 0.5).floor().clamp(min=1).long()
    index = torch.arange(bins, device=log_r.device)
    right = log_r[:, (index + half).clamp(max=bins - 1)]
    left = log_r[:, (index - half).clamp(min=0)]
    step = half * width
    slope, second = (right - left) / (2 * step), (right - 2 * log_r + left) / step.square()
    curvature = second.abs() / (1 + slope.square()).pow(1.5)
    valid = (index >= first + half) & (index < bins - half)
    best = torch.where(valid, curvature, -1.0).argmax(-1)
    return torch.where(valid.any(-1), sigma[best], 0.0)


def power_law(log_r: Tensor, sigma: Tensor, params: Tensor, first: Tensor) -> Tensor:
    """Upper end of the low-noise run of bins that one straight line fits, else the knee."""  # App. B.4
    bins = log_r.shape[-1]
    index = torch.arange(bins, device=log_r.device)
    x = (index - first).double().clamp(min=0)  # [G, K]
    inside = index >= first
    y = torch.where(inside, log_r - log_r.gather(-1, first), 0.0)
    n = x + 1
    sx, sy, sxx, sxy, syy = torch.stack((x, y, x * x, x * y, y * y)).cumsum(-1)
    vxx = (sxx - sx * sx / n).clamp(min=TINY)
    vxy, vyy = sxy - sx * sy / n, syy - sy * sy / n
    shortest = 2 + (param(params, "pivot_span") / param(params, "width")).floor()
    enough = inside & (n >= shortest)
    straight = ~(vyy - vxy * vxy / vxx > param(params, "pivot_value").square() * n)
    unbroken = (~straight & enough).long().cumsum(-1) == 0
    last = torch.where(enough & unbroken, index, -1).amax(-1)
    found = torch.where(last == bins - 1, 0.0, sigma[last.clamp(min=0)])
    return torch.where(last < 0, knee(log_r, sigma, params, first), found)


def pivot(rho: Tensor, sigma: Tensor, params: Tensor) -> Tensor:
    """The midpoint [G] under the rule of `params`; every rule is computed, since choosing would wait."""
    r = rho / sigma
    log_r = r.clamp(min=TINY).log()
    positive = r > TINY
    first = positive.long().argmax(-1, keepdim=True)  # [G, 1]
    rule = param(params, "pivot_rule")
    found = torch.where(rule == 1, onset(log_r, params), power_law(log_r, sigma, params, first))
    found = torch.where(positive.any(-1), found, 0.0)
    return torch.where(rule == 0, param(params, "pivot_value"), found)
