"""`refresh_`: from the moments of the rings to the table that is sampled."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schemas import COUNTERS, SAME_RATE, STATS, TINY
from .common import param, row


def _fill(mmse: Tensor, sigma: Tensor) -> Tensor:
    bins = mmse.shape[-1]
    index = torch.arange(bins, device=mmse.device).expand_as(mmse)
    known = mmse >= 0
    below = torch.where(known, index, -1).cummax(-1).values
    above = torch.where(known, index, bins).flip(-1).cummin(-1).values.flip(-1)
    low = mmse.gather(-1, below.clamp(min=0))
    high = mmse.gather(-1, above.clamp(max=bins - 1))
    log_low, log_high = low.clamp(min=TINY).log(), high.clamp(min=TINY).log()
    fraction = (index - below).double() / (above - below).clamp(min=1)
    between = torch.where(torch.maximum(low, high) > 0, (log_low + (log_high - log_low) * fraction).exp(), 0.0)
    under = high * (sigma / sigma[above.clamp(max=bins - 1)]).square()
    out = torch.where(below < 0, under, torch.where(above == bins, low, between))
    return torch.where(known, mmse, out)


def _smooth(rho: Tensor, bandwidth: Tensor) -> Tensor:
    index = torch.arange(rho.shape[-1], device=rho.device, dtype=torch.float64)
    distance = index - index.unsqueeze(-1)
    width = torch.where(bandwidth > 0, bandwidth, 1.0)
    weight = (-0.5 * (distance / width).square()).exp() * (distance.abs() <= (3 * width).floor())
    smooth = (rho.clamp(min=TINY).log() @ weight.t() / weight.sum(-1)).exp()
    return torch.where(bandwidth > 0, smooth, rho)


def rate(mmse: Tensor, grid: Tensor, params: Tensor) -> Tensor:
    """Entropy rate per unit log sigma, gaps filled, bounded and smoothed: [G, K]."""  # Eq. 11
    sigma = row(grid, "sigma")
    bounded = torch.minimum(_fill(mmse, sigma), row(grid, "bound"))
    return _smooth(bounded / sigma.square(), param(params, "smooth"))


def _rise(mmse: Tensor, width: Tensor) -> Tensor:
    iso = (mmse.cummax(-1).values + mmse.flip(-1).cummin(-1).values.flip(-1)) / 2
    below, above = iso[..., :1] * (-2 * width).exp(), iso[..., -1:]
    roots = torch.cat((below, iso, above), -1).sqrt()
    edges = roots[..., :-1] * roots[..., 1:]
    low, high = edges[..., :-1], edges[..., 1:]
    return torch.where(high > low * (1 + SAME_RATE), high - low, 0.0)


def signal(rho: Tensor, sigma: Tensor, width: Tensor, which: Tensor) -> Tensor:
    """What a schedule or a grid equalises, of every bin, but for a constant factor.

    Args:
        rho: [..., K] entropy rate per unit log sigma, gaps filled.
        sigma: [K] bin centres.
        width: of a bin in log sigma, 0-dimensional float64.
        which: index in `SIGNALS`, 0-dimensional.

    Returns:
        [..., K]: rho, rho sigma, the rise of mmse over the bin, or the square root of that rise.
    """
    rise = _rise(rho * sigma.square(), width)
    signals = torch.stack((rho, rho * sigma, rise, rise.sqrt()))
    return signals.index_select(0, which.long().view(1)).squeeze(0)


def gate(pivot: Tensor, sigma: Tensor, params: Tensor) -> Tensor:
    """Gate [G, K] of the pivots [G]."""  # Eq. 17
    return 1 / (1 + (pivot.unsqueeze(-1) / sigma).pow(param(params, "gate_power")))


def _onset(log_r: Tensor, params: Tensor) -> Tensor:
    bins = log_r.shape[-1]
    threshold = log_r.amax(-1, keepdim=True) + param(params, "pivot_value").log()
    index = torch.arange(bins, device=log_r.device)
    k = torch.where(log_r >= threshold, index, -1).amax(-1, keepdim=True).clamp(min=0)
    at, after = log_r.gather(-1, k), log_r.gather(-1, (k + 1).clamp(max=bins - 1))
    fraction = torch.where(k == bins - 1, 0.0, (at - threshold) / (at - after))
    return (param(params, "log_min") + param(params, "width") * (k + 0.5 + fraction)).exp().squeeze(-1)


def _valley(rho: Tensor, sigma: Tensor) -> Tensor:
    index = torch.arange(rho.shape[-1], device=rho.device)
    highest = rho.amax(-1, keepdim=True)
    peak = torch.where(rho == highest, index, rho.shape[-1]).amin(-1, keepdim=True)
    below = torch.where(index <= peak, rho, torch.inf)
    least = below.amin(-1, keepdim=True)
    last = torch.where(below <= least * (1 + SAME_RATE), index, 0).amax(-1)
    return torch.where((least < 0.5 * highest).squeeze(-1), sigma[last], torch.inf)


def _knee(log_r: Tensor, sigma: Tensor, params: Tensor, first: Tensor) -> Tensor:
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


def _power_law(log_r: Tensor, sigma: Tensor, params: Tensor, first: Tensor) -> Tensor:
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
    return torch.where(last < 0, _knee(log_r, sigma, params, first), found)


def _pivot(rho: Tensor, sigma: Tensor, params: Tensor) -> Tensor:
    r = rho / sigma
    log_r = r.clamp(min=TINY).log()
    positive = r > TINY
    first = positive.long().argmax(-1, keepdim=True)  # [G, 1]
    rule = param(params, "pivot_rule")
    onset = torch.minimum(_onset(log_r, params), _valley(rho, sigma))
    found = torch.where(rule == 1, onset, _power_law(log_r, sigma, params, first))
    found = torch.where(positive.any(-1), found, 0.0)
    return torch.where(rule == 0, param(params, "pivot_value"), found)


def refresh_(
    moments: Tensor,
    mmse: Tensor,
    cdf: Tensor,
    stats: Tensor,
    counters: Tensor,
    grid: Tensor,
    params: Tensor,
    due: Tensor | bool = True,
) -> None:
    """Rebuild each group's table from the moments of its rings, where `due`."""
    sigma, weight = row(grid, "sigma"), row(grid, "weight")
    bins = len(sigma)
    number, total, _ = moments.unbind(-1)
    measured = number >= param(params, "min_count")
    missing = torch.where(measured, 0.0, cdf.diff(dim=-1)).sum(-1)
    covered = torch.where(measured.any(-1), 1 - missing, 0.0)
    accepted = measured.any(-1) & (missing <= 1 - param(params, "coverage")) & due
    mean = total / number.clamp(min=1)
    ema = param(params, "ema")
    blended = torch.where(mmse < 0, mean, (1 - ema) * mmse + ema * mean)
    mmse.copy_(torch.where(accepted.unsqueeze(-1) & measured, blended, mmse))
    rho = rate(mmse, grid, params)
    pivot = _pivot(rho, sigma, params)
    equalised = signal(rho, sigma, param(params, "width"), param(params, "signal"))
    phi = equalised * gate(pivot, sigma, params)  # Eq. 13
    density = phi / weight  # Eq. 16
    norm, information = density.sum(-1), rho.sum(-1)
    good = accepted & (norm > 0) & norm.isfinite() & information.isfinite()
    floor = param(params, "floor")
    mass = (1 - floor) * (density / norm.unsqueeze(-1)) + floor / bins
    table = torch.cat(
        (torch.zeros_like(cdf[:, :1]), mass.cumsum(-1).clamp(max=1)[:, :-1], torch.ones_like(cdf[:, :1])), -1
    )
    drift = (table - cdf).abs().amax(-1)
    kept = phi.sum(-1) / equalised.sum(-1)
    found = torch.stack((pivot, covered, drift, information * param(params, "width"), kept), -1)
    update = good.unsqueeze(-1).expand_as(stats).clone()
    update[:, STATS.index("coverage")] |= due
    stats.copy_(torch.where(update, found, stats))
    cdf.copy_(torch.where(good.unsqueeze(-1), table, cdf))
    _count_refresh(counters, accepted, good, due)


def _count_refresh(counters: Tensor, accepted: Tensor, good: Tensor, due: Tensor | bool) -> None:
    outcome = torch.stack((good, ~accepted & due, accepted & ~good), -1)  # refreshes, waits, degenerates
    start = COUNTERS.index("refreshes")
    counters[:, start : start + 3] += outcome.long()
    status = torch.where(accepted, torch.where(good, 2, 3), 1)
    column = counters[:, COUNTERS.index("status")]
    column.copy_(torch.where(outcome.any(-1), status, column))
