"""`refresh_`: from the moments of the rings to the table that is sampled."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schemas import COUNTERS
from .common import param, row
from .estimate import estimate, merged
from .pivot import pivot
from .signal import signal


def gate(midpoint: Tensor, sigma: Tensor, params: Tensor) -> Tensor:
    """Gate [G, K] of the midpoints [G]."""  # Eq. 17
    return 1 / (1 + (midpoint.unsqueeze(-1) / sigma).pow(param(params, "gate_power")))


def build_table(ungated: Tensor, midpoint: Tensor, grid: Tensor, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The cdf [G, K + 1], whether it is a distribution [G], and the share of the signal that the gate keeps [G]."""
    sigma, floor = row(grid, "sigma"), param(params, "floor")
    phi = ungated * gate(midpoint, sigma, params)  # Eq. 13
    density = phi / row(grid, "weight")  # Eq. 16
    norm = density.sum(-1)
    mass = (1 - floor) * (density / norm.unsqueeze(-1)) + floor / len(sigma)
    end = torch.zeros_like(mass[:, :1])
    cdf = torch.cat((end, mass.cumsum(-1).clamp(max=1)[:, :-1], end + 1), -1)
    return cdf, (norm > 0) & norm.isfinite(), phi.sum(-1) / ungated.sum(-1)


def refresh_(
    moments: Tensor,
    count: Tensor,
    previous_count: Tensor,
    previous_cdf: Tensor,
    mmse: Tensor,
    cdf: Tensor,
    stats: Tensor,
    counters: Tensor,
    grid: Tensor,
    params: Tensor,
    due: Tensor | bool = True,
) -> None:
    """Rebuild each group's table, where `due`, from the moments of its rings, or of all while it has too few losses."""
    due = torch.as_tensor(due, device=cdf.device).expand(len(cdf))
    previous_count.copy_(torch.where(due.view(-1, 1, 1), torch.stack((previous_count[:, 1], count), 1), previous_count))
    previous_cdf.copy_(torch.where(due.unsqueeze(-1), cdf, previous_cdf))
    own = moments[..., 0].sum(-1) >= param(params, "min_count")
    if len(moments) > 1:
        everyone = moments.transpose(0, 1)  # [K, G, 3]
        everyone = merged(torch.ones_like(everyone[..., 0], dtype=torch.bool), everyone)
        moments = torch.where(own.view(-1, 1, 1), moments, everyone)
    enough = (moments[..., 0].sum(-1) >= param(params, "min_count")) & due
    found, variance = estimate(moments, grid, params)
    mmse.copy_(torch.where(enough.unsqueeze(-1), found, mmse))
    rho = found / row(grid, "sigma").square()  # Eq. 11
    midpoint = pivot(rho, row(grid, "sigma"), params)
    ungated, power = signal(rho, variance, grid, params)
    table, sound, kept = build_table(ungated, midpoint, grid, params)
    good = enough & sound
    information = rho.sum(-1) * param(params, "width")
    drift = (table - cdf).abs().amax(-1)
    results = torch.stack((midpoint, kept, variance, power, information, drift), -1)
    stats.copy_(torch.where(good.unsqueeze(-1), results, stats))
    cdf.copy_(torch.where(good.unsqueeze(-1), table, cdf))
    _count(counters, own, good, due)


def _count(counters: Tensor, own: Tensor, good: Tensor, due: Tensor) -> None:
    outcome = torch.stack((own & good, ~own & due, own & ~good & due), -1)  # refreshes, waits, degenerates
    start = COUNTERS.index("refreshes")
    counters[:, start : start + 3] += outcome.long()
    status = torch.where(own, torch.where(good, 2, 3), 1)
    column = counters[:, COUNTERS.index("status")]
    column.copy_(torch.where(due, status, column))
