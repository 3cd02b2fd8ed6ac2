"""Sampling grids of learned profiles, judged on the exact denoiser; and of profiles that only ring noise disturbs."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

import infonoise_ext as inx
from infonoise_ext.oracle import TwoModes

from .. import mixture, steps
from .judge import shares
from .train import SIGMA_MIN, TOP

GRIDS: dict[str, Callable[[inx.Profile, int], Tensor]] = {
    "mmse": lambda profile, n: inx.info_grid(profile, n, "mmse", blend=0.0),
    "length": lambda profile, n: inx.info_grid(profile, n, "length", blend=0.0),
    "open": inx.open_grid,
}
NODES = 1000


def exact_profile(model: TwoModes, bins: int = 64) -> inx.Profile:
    """On the range that the schedules are given."""
    return model.profile(SIGMA_MIN, TOP * math.sqrt(model.dim), bins)


def grids_of(profile: inx.Profile, model: TwoModes) -> dict[str, dict]:
    """For each grid: shares of its nodes in the windows, and "steps": N_p and N_v, exact denoiser, Euler."""
    reduced = mixture.Mixture(model.dim, model.p, model.std, model.m)
    found: dict = {}
    for name, grid in GRIDS.items():
        schedule = steps.Schedule(lambda _, grid=grid: lambda n: grid(profile, n))
        of_nodes = shares(grid(profile, NODES)[:-1], model)
        found[name] = {window: round(float(value), 4) for window, value in of_nodes.items()}
        found[name]["steps"] = steps.steps_needed(schedule, reduced, "euler")
    return found


def exact_errors(model: TwoModes, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """|x0 - D*(y)|^2 of one sample at each noise level, of sigma's shape: exact along mu, across it a normal sum."""
    total = model.std**2 + sigma.square()
    root = model.m * math.sqrt(model.dim)
    draws = torch.randn(3, *sigma.shape, generator=generator, dtype=torch.float64)
    sign = torch.where(torch.rand(sigma.shape, generator=generator, dtype=torch.float64) < model.p, 1.0, -1.0)
    x0 = sign * root + model.std * draws[0]
    odds = (root * (x0 + sigma * draws[1]) / total + model.field).tanh()
    along = x0 - (model.std**2 * (x0 + sigma * draws[1]) + sigma.square() * root * odds) / total
    freedom = model.dim - 1
    across = freedom + math.sqrt(2 * freedom) * draws[2]  # chi-square's mean and variance
    return along.square() + model.std**2 * sigma.square() / total * across


def ring_profile(model: TwoModes, bins: int, capacity: int, generator: torch.Generator) -> inx.Profile:
    """What rings full of the exact denoiser's errors estimate: no error of a network, the noise of the rings alone."""
    profile = exact_profile(model, bins)
    place = torch.rand(bins, capacity, generator=generator, dtype=torch.float64) - 0.5
    sigma = profile.sigma.unsqueeze(1) * (place * (profile.edges[1] / profile.edges[0]).log()).exp()
    mmse = exact_errors(model, sigma, generator).mean(1)
    return replace(profile, mmse=mmse, mean=mmse, rate=mmse / profile.sigma.square())


def rings(model: TwoModes, capacity: int, repeats: int = 3, bins: int = 64) -> list[dict[str, dict]]:
    """What `grids_of` finds of `repeats` profiles of rings."""
    generator = torch.Generator().manual_seed(capacity)
    return [grids_of(ring_profile(model, bins, capacity, generator), model) for _ in range(repeats)]
