"""Noise levels for samplers (inference), spaced by information (arXiv 2602.18647, Eq. 19)."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from . import eager
from ._schemas import SIGNALS
from .profile import Profile

EDM_RHO = 7.0


class HasProfile(Protocol):
    """Anything with a `profile()`, such as `InfoNoise`."""

    def profile(self) -> Profile:
        """What has been learned."""
        ...


def info_grid(source: HasProfile | Profile, n: int, measure: str = "rescaled", blend: float = 0.5) -> Tensor:
    """Noise levels of an n-step sampler, equally spaced in a cumulative information coordinate.

    The coordinate has density, per unit s = log sigma: mmse / sigma^2 ("entropy"), mmse / sigma
    ("rescaled"), d mmse / ds ("mmse") or its square root ("length"), blended with that of EDM's
    rho = 7 grid, sigma^(1/7) (arXiv 2206.00364, Eq. 5). Nothing is gated.

    Args:
        source: a schedule, or its `profile()`.
        n: number of steps, at least 1.
        measure: which information; docs/how-it-works.md says what each equalises.
        blend: share of EDM's density, in [0, 1].

    Returns:
        [n + 1] float32 descending from the top of the grid to its bottom, then 0.

    Raises:
        ValueError: an argument out of range, or a profile that has measured nothing.
    """
    if n < 1:
        raise ValueError(f"n is {n}, but must be at least 1")
    if measure not in SIGNALS:
        raise ValueError(f"measure is {measure!r}, but must be one of {SIGNALS}")
    if not 0 <= blend <= 1:
        raise ValueError(f"blend is {blend}, but must be in [0, 1]")
    profile = source if isinstance(source, Profile) else source.profile()
    mass = (1 - blend) * _information(profile, measure) + blend * _edm(profile.sigma)
    cdf = torch.cat((mass.new_zeros(1), mass.cumsum(0)))
    u = torch.linspace(1, 0, n, dtype=torch.float64, device=cdf.device) * cdf[-1] if n > 1 else cdf[-1:]
    return torch.cat((_inverse(cdf, profile.edges, u), cdf.new_zeros(1))).float()


def edm_grid(n: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = EDM_RHO) -> Tensor:
    """Noise levels equally spaced in sigma^(1 / rho).

    Args:
        n: number of steps, at least 1.
        sigma_min: lowest noise level above 0; left out where n is 1.
        sigma_max: highest.
        rho: EDM samples with 7.

    Returns:
        [n + 1] float32 descending from sigma_max to sigma_min, then 0.

    Raises:
        ValueError: n is below 1, rho is not above 0, or not 0 < sigma_min < sigma_max < inf.

    Source:
        EDM (arXiv 2206.00364) Eq. 5.
    """
    if not rho > 0:
        raise ValueError(f"rho is {rho}, but must be above 0")
    top, bottom = _range(sigma_min, sigma_max)
    return _closed(_levels(n, top ** (1 / rho), bottom ** (1 / rho)) ** rho, top)


def log_uniform_grid(n: int, sigma_min: float = 0.002, sigma_max: float = 80.0) -> Tensor:
    """Noise levels equally spaced in log sigma: `edm_grid` as rho grows without bound.

    Args:
        n: number of steps, at least 1.
        sigma_min: lowest noise level above 0; left out where n is 1.
        sigma_max: highest.

    Returns:
        [n + 1] float32 descending from sigma_max to sigma_min, then 0.

    Raises:
        ValueError: n is below 1, or not 0 < sigma_min < sigma_max < inf.
    """
    top, bottom = _range(sigma_min, sigma_max)
    return _closed(_levels(n, math.log(top), math.log(bottom)).exp(), top)


def _range(sigma_min: float, sigma_max: float) -> tuple[float, float]:
    if not 0 < sigma_min < sigma_max < math.inf:
        raise ValueError(f"sigma_min, sigma_max are {sigma_min}, {sigma_max}, but must be 0 < sigma_min < sigma_max")
    return sigma_max, sigma_min


def _levels(n: int, first: float, last: float) -> Tensor:
    if n < 1:
        raise ValueError(f"n is {n}, but must be at least 1")
    return torch.linspace(first, last, n, dtype=torch.float64)


def _closed(sigma: Tensor, top: float) -> Tensor:
    sigma[0] = top
    return torch.cat((sigma, sigma.new_zeros(1))).float()


def _normalised(mass: Tensor) -> Tensor:
    total = mass.sum()
    if not bool(torch.isfinite(total) & (total > 0)):
        raise ValueError("source has no information to space by: nothing is measured yet, or every error is 0")
    return mass / total


def _edm(sigma: Tensor) -> Tensor:
    return _normalised(sigma ** (1 / EDM_RHO))


def _information(profile: Profile, measure: str) -> Tensor:
    width = (profile.edges[-1] / profile.edges[0]).log() / len(profile.sigma)
    return _normalised(eager.signal(profile.rate, profile.sigma, width, width.new_tensor(SIGNALS.index(measure))))


def _inverse(cdf: Tensor, edges: Tensor, u: Tensor) -> Tensor:
    k = (torch.searchsorted(cdf, u) - 1).clamp(0, len(cdf) - 2)
    mass = cdf[k + 1] - cdf[k]
    fraction = torch.where(mass > 0, (u - cdf[k]) / mass, 0.0).clamp(0, 1)
    logs = edges.log()
    sigma = (logs[k] + (logs[k + 1] - logs[k]) * fraction).exp()
    sigma[0] = edges[-1]
    return sigma
