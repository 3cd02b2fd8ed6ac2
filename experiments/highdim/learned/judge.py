"""How far denoisers of two modes are from the exact one: in each window of noise, and in what they sample."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from infonoise_ext.interpolant import sample_ode
from infonoise_ext.oracle import TwoModes

from .train import SIGMA_MIN, TOP

Denoise = Callable[[Tensor, Tensor], Tensor]  # (y [arms, n, d], sigma [arms]) -> [arms, n, d]


def exact(model: TwoModes) -> Denoise:
    """The exact denoiser, in the place of one that was trained."""
    return lambda y, sigma: model.denoise(y, sigma.unsqueeze(1)).to(y)


def windows(model: TwoModes) -> dict[str, tuple[float, float]]:
    """Lowest and highest noise level of where the mode is decided, and of where the place within it is."""
    root = model.m * math.sqrt(model.dim)
    return {"mode": (root / 3, 3 * root), "place": (model.std / 5, 5 * model.std)}


def shares(sigma: Tensor, model: TwoModes, mass: Tensor | None = None) -> dict[str, Tensor]:
    """Share of the noise levels [..., n], or of their mass, that lies in each window: [...]."""
    mass = torch.ones_like(sigma) if mass is None else mass
    mass = mass.double() / mass.double().sum(-1, keepdim=True)
    ends = windows(model).items()
    return {name: torch.where((sigma >= low) & (sigma <= high), mass, 0.0).sum(-1) for name, (low, high) in ends}


def masses(density: Any, model: TwoModes) -> dict[str, float]:
    """Probability of each window under a schedule."""
    table = density.table()
    ends = {name: table.below(torch.tensor(pair, dtype=torch.float64)) for name, pair in windows(model).items()}
    return {name: float(high - low) for name, (low, high) in ends.items()}


@torch.no_grad()
def excess(
    denoise: Denoise, arms: int, model: TwoModes, levels: int = 16, samples: int = 512, seed: int = 7
) -> dict[str, Tensor]:
    """E|D - D*|^2 over a window in log sigma, over the mmse there: [arms]; "odds" is the part of "mode" along mu.

    D* is the exact denoiser, so that the excess needs no clean sample to compare with.
    """
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, (low, high) in windows(model).items():
        sigma = torch.logspace(math.log10(low), math.log10(high), levels, dtype=torch.float64)
        squares = []
        for level in sigma:
            x0 = model.sample(samples, generator)
            y = (x0 + level * torch.randn(x0.shape, generator=generator, dtype=x0.dtype)).float()
            off = denoise(y.expand(arms, -1, -1), level.float().expand(arms)) - model.denoise(y, level)
            along = off.sum(2) / math.sqrt(model.dim)
            squares.append(torch.stack((off.square().sum(2), along.square())).mean(2))  # [2, arms]
        total, along = torch.stack(squares).sum(0) / model.mmse(sigma).sum()
        found |= {name: total, "odds": along} if name == "mode" else {name: total}
    return found


def fine_grid(model: TwoModes, steps: int = 48) -> Tensor:
    """[steps + 1] levels from TOP sqrt(d) over SIGMA_MIN to 0, uniform in the mean of VP's and VE's flow times."""
    root = math.sqrt(model.dim)
    sigma = torch.logspace(math.log10(TOP * root), math.log10(SIGMA_MIN), 20_001, dtype=torch.float64)
    time = 0.5 / (1 + sigma) + 0.5 / (1 + sigma / root)  # ascends
    wanted = torch.linspace(float(time[0]), float(time[-1]), steps, dtype=torch.float64)
    index = torch.searchsorted(time, wanted).clamp(max=len(time) - 1)
    return torch.cat((sigma[index], sigma.new_zeros(1)))


def noises(model: TwoModes, n: int, generator: torch.Generator) -> Tensor:
    """Standard normal noise [n, d] whose coordinate along mu is stratified, row i in the i-th of n quantiles."""
    noise = torch.randn(n, model.dim, generator=generator)
    u = (torch.arange(n) + torch.rand(n, generator=generator, dtype=torch.float64)) / n
    root = math.sqrt(model.dim)
    return noise + ((torch.special.ndtri(u).float() - noise.sum(1) / root) / root).unsqueeze(1)


@torch.no_grad()
def sampled(denoise: Denoise, arms: int, model: TwoModes, n: int = 4096, seed: int = 11) -> dict[str, Tensor]:
    """Errors of n samples by 48 Heun steps from the data's mean, with the same noise for every arm: [arms].

    "weight" is the share of samples in the mode at +m, less p, and "weight_error" its standard error, from the
    differences between neighbouring strata; "variance" is that of the d - 1 coordinates across mu over std^2, less 1.
    """
    mean = (2 * model.p - 1) * model.m
    grid = fine_grid(model)
    above, squares = [], torch.zeros(arms, dtype=torch.float64)
    for noise in noises(model, n, torch.Generator().manual_seed(seed)).split(256):
        x = sample_ode(denoise, noise.expand(arms, -1, -1), grid, "heun", mean=mean)
        centre = x.mean(2, keepdim=True)
        above.append((centre.squeeze(2) > 0).double())
        squares += (x - centre).double().square().sum((1, 2))
    signs = torch.cat(above, 1)
    return {
        "weight": signs.mean(1) - model.p,
        "weight_error": (signs.diff().square().mean(1) / (2 * n)).sqrt(),
        "variance": squares / (n * (model.dim - 1) * model.std**2) - 1,
    }
