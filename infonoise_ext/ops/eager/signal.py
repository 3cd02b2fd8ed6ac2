"""What a schedule equalises, from the entropy rate."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schemas import CURVES, NARROWEST, SAME_RATE, TINY
from .common import param, row


def rise(mmse: Tensor, width: Tensor) -> Tensor:
    """By how much mmse rises over each bin: isotonic first, then at the edges between the centres."""
    iso = (mmse.cummax(-1).values + mmse.flip(-1).cummin(-1).values.flip(-1)) / 2
    below, above = iso[..., :1] * (-2 * width).exp(), iso[..., -1:]
    roots = torch.cat((below, iso, above), -1).sqrt()
    edges = roots[..., :-1] * roots[..., 1:]
    low, high = edges[..., :-1], edges[..., 1:]
    return torch.where(high > low * (1 + SAME_RATE), high - low, 0.0)


def window(rho: Tensor, sigma: Tensor, variance: Tensor) -> Tensor:
    """Where there is something left to learn: r (1 - r) g (1 - g), as a share of its peak.

    r is the rate, and g that of Gaussian data of the variance [...], which r cannot exceed: an untrained network does.
    """
    gaussian = variance.unsqueeze(-1) / (variance.unsqueeze(-1) + sigma.square())
    r = torch.minimum(rho, gaussian)
    q = r * (1 - r) * gaussian * (1 - gaussian)
    peak = q.amax(-1, keepdim=True)
    return torch.where(peak > 0, q / peak, q)


def sharpness(q: Tensor, width: Tensor, reach: Tensor) -> Tensor:
    """The power of the window: 1/2 if it is wider than what is learned at one level reaches, more if it is narrower."""
    index = torch.arange(q.shape[-1], device=q.device, dtype=torch.float64)
    share = q / q.sum(-1, keepdim=True)
    mean = (share * index).sum(-1, keepdim=True)
    spread = width.square() * (share * (index - mean).square()).sum(-1)
    power = (1 + (reach.square() / spread.clamp(min=TINY)).pow(16)) / 2
    return torch.where(q.sum(-1) > 0, torch.minimum(power, spread / NARROWEST**2).clamp(min=0.5), 0.5)


def learnable(q: Tensor, power: Tensor, sigma: Tensor, weight: Tensor, variance: Tensor) -> Tensor:
    """The window to a power, times the geometric mean of the loss weight and EDM's."""
    edm = sigma.square().reciprocal() + variance.clamp(min=TINY).reciprocal().unsqueeze(-1)  # Eq. 52
    return q.pow(power.unsqueeze(-1)) * (weight * edm).sqrt()


def curve(name: str, rho: Tensor, sigma: Tensor, width: Tensor) -> Tensor:
    """A signal of `CURVES`, of entropy rates [..., K]: rho, rho sigma, the rise of mmse, or its root."""
    if name == "entropy":
        return rho
    if name == "rescaled":
        return rho * sigma
    risen = rise(rho * sigma.square(), width)
    return risen if name == "mmse" else risen.sqrt()


def signal(rho: Tensor, variance: Tensor, grid: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """What the gated table equalises [G, K], but for a constant factor, and the window's power, else 1 [G].

    All signals are computed, since choosing would wait for the device.
    """
    sigma, width = row(grid, "sigma"), param(params, "width")
    q = window(rho, sigma, variance)
    power = sharpness(q, width, param(params, "reach"))
    first = learnable(q, power, sigma, row(grid, "weight"), variance)
    others = [curve(name, rho, sigma, width) for name in CURVES]
    which = param(params, "signal").long().view(1)
    chosen = torch.stack((first, *others)).index_select(0, which).squeeze(0)
    return chosen, torch.where(which == 0, power, 1.0)
