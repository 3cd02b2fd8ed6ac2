"""`refresh_`: from the moments of the rings to the table that is sampled."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schemas import COUNTERS, STATS, TINY
from .common import param, row
from .pivot import pivot
from .signal import signal


def fill(mmse: Tensor, sigma: Tensor) -> Tensor:
    """Estimates of every bin: log-linear between measured ones, sigma^2 below, constant above."""
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


def smooth(rho: Tensor, bandwidth: Tensor) -> Tensor:
    """Gaussian average of log rho over neighbouring bins, cut at three standard deviations."""
    index = torch.arange(rho.shape[-1], device=rho.device, dtype=torch.float64)
    distance = index - index.unsqueeze(-1)
    width = torch.where(bandwidth > 0, bandwidth, 1.0)
    weight = (-0.5 * (distance / width).square()).exp() * (distance.abs() <= (3 * width).floor())
    averaged = (rho.clamp(min=TINY).log() @ weight.t() / weight.sum(-1)).exp()
    return torch.where(bandwidth > 0, averaged, rho)


def rate(mmse: Tensor, grid: Tensor, params: Tensor) -> Tensor:
    """Entropy rate per unit log sigma, gaps filled, bounded and smoothed: [G, K]."""  # Eq. 11
    sigma = row(grid, "sigma")
    bounded = torch.minimum(fill(mmse, sigma), row(grid, "bound"))
    return smooth(bounded / sigma.square(), param(params, "smooth"))


def gate(midpoint: Tensor, sigma: Tensor, params: Tensor) -> Tensor:
    """Gate [G, K] of the midpoints [G]."""  # Eq. 17
    return 1 / (1 + (midpoint.unsqueeze(-1) / sigma).pow(param(params, "gate_power")))


def build_table(rho: Tensor, midpoint: Tensor, grid: Tensor, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The cdf [G, K + 1], whether it is a distribution [G], and the share of the signal that the gate keeps [G]."""
    sigma, floor = row(grid, "sigma"), param(params, "floor")
    ungated = signal(rho, sigma, param(params, "width"), param(params, "signal"))
    phi = ungated * gate(midpoint, sigma, params)  # Eq. 13
    density = phi / row(grid, "weight")  # Eq. 16
    norm = density.sum(-1)
    mass = (1 - floor) * (density / norm.unsqueeze(-1)) + floor / len(sigma)
    end = torch.zeros_like(mass[:, :1])
    cdf = torch.cat((end, mass.cumsum(-1).clamp(max=1)[:, :-1], end + 1), -1)
    return cdf, (norm > 0) & norm.isfinite(), phi.sum(-1) / ungated.sum(-1)


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
    midpoint = pivot(rho, row(grid, "sigma"), params)
    table, sound, kept = build_table(rho, midpoint, grid, params)
    information = rho.sum(-1)
    good = accepted & sound & information.isfinite()
    drift = (table - cdf).abs().amax(-1)
    found = torch.stack((midpoint, covered, drift, information * param(params, "width"), kept), -1)
    update = good.unsqueeze(-1).expand_as(stats).clone()
    update[:, STATS.index("coverage")] |= due
    stats.copy_(torch.where(update, found, stats))
    cdf.copy_(torch.where(good.unsqueeze(-1), table, cdf))
    _count(counters, accepted, good, due)


def _count(counters: Tensor, accepted: Tensor, good: Tensor, due: Tensor | bool) -> None:
    outcome = torch.stack((good, ~accepted & due, accepted & ~good), -1)  # refreshes, waits, degenerates
    start = COUNTERS.index("refreshes")
    counters[:, start : start + 3] += outcome.long()
    status = torch.where(accepted, torch.where(good, 2, 3), 1)
    column = counters[:, COUNTERS.index("status")]
    column.copy_(torch.where(outcome.any(-1), status, column))
