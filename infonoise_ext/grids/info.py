"""Noise levels for samplers (inference), spaced by information (arXiv 2602.18647, Eq. 19)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from ..ops import eager
from ..ops.schemas import SIGNALS
from ..state.checkpoint import read_profile
from ..state.profile import Profile

EDM_RHO = 7.0


class HasProfile(Protocol):
    """Anything with a `profile()`, such as `InfoNoise`."""

    def profile(self) -> Profile:
        """What has been learned."""
        ...


Source: TypeAlias = "HasProfile | Profile | str | os.PathLike[str]"


def info_grid(
    source: Source | Sequence[Source], n: int, measure: str = "rescaled", blend: float = 0.5, group: int = 0
) -> Tensor:
    """Noise levels of an n-step sampler, equally spaced in a cumulative information coordinate.

    The coordinate has density, per unit s = log sigma: mmse / sigma^2 ("entropy"), mmse / sigma
    ("rescaled"), d mmse / ds ("mmse") or its square root ("length"), blended with that of EDM's
    rho = 7 grid, sigma^(1/7) (arXiv 2206.00364, Eq. 5). Nothing is gated.

    Args:
        source: a schedule or an oracle, a profile, or the path of a file that `Profile.save` or
            `InfoNoise.save` wrote (which holds no `bound`). Of several, such as the features that
            `offline_profile` tells apart, each gets the same total of its measure; where ranges differ
            the grid spans them all.
        n: number of steps, at least 1.
        measure: which information; docs/how-it-works.md says what each equalises.
        blend: share of EDM's density, in [0, 1].
        group: which of a schedule in a file; of one in memory take `schedule.profile(group)`.

    Returns:
        [n + 1] float32 descending from the top of the grid to its bottom, then 0.

    Raises:
        OSError: a file cannot be opened.
        ValueError: an argument out of range, a file that holds neither, or a profile that has measured nothing.
    """
    if n < 1:
        raise ValueError(f"n is {n}, but must be at least 1")
    if measure not in SIGNALS:
        raise ValueError(f"measure is {measure!r}, but must be one of {SIGNALS}")
    if not 0 <= blend <= 1:
        raise ValueError(f"blend is {blend}, but must be in [0, 1]")
    edges, information = _coordinate(source, group, lambda profile: _signal(profile, measure))
    cdf = (1 - blend) * information + blend * _edm(edges)
    u = torch.linspace(1, 0, n, dtype=torch.float64, device=cdf.device) * cdf[-1] if n > 1 else cdf[-1:]
    return _closed(_inverse(cdf, edges, u), float(edges[-1]))


def open_grid(source: Source | Sequence[Source], n: int, order: float = 2, group: int = 0) -> Tensor:
    """Noise levels that divide the whole way from pure noise to the data into n + 1 steps, as long as each other.

    The length is the integral of (d mmse / ds)^(1 / (order + 1)) over s = log sigma: the error of a
    method of that order, summed over the steps, is about least for such steps. Order 0 is the measure
    "mmse" of `info_grid`, order 1 is "length". The ends are limits and no levels: the first step, from
    pure noise, takes no evaluation, since the denoised sample is the mean of the data there. So begin at
    mean + grid[0] noise, as `interpolant.sample_ode(..., mean=mean)` does, or centre the data.

    Args:
        source: as of `info_grid`; its range should hold all noise levels at which mmse moves, for what
            lies beyond counts as nothing.
        n: number of steps, at least 1.
        order: of the sampler, at least 0: 1 for Euler and DDIM, 2 for Heun and DPM-Solver++ (2M).
        group: as of `info_grid`.

    Returns:
        [n + 1] float32 descending, inside the source's range, then 0.

    Raises:
        OSError: a file cannot be opened.
        ValueError: an argument out of range, or a source as in `info_grid`.

    Source:
        docs/inference-grids.md derives and measures it.
    """
    if n < 1:
        raise ValueError(f"n is {n}, but must be at least 1")
    if not 0 <= order < math.inf:
        raise ValueError(f"order is {order}, but must be a finite number of at least 0")
    edges, cdf = _coordinate(source, group, lambda profile: _signal(profile, "mmse") ** (1 / (order + 1)))
    u = torch.linspace(1, 0, n + 2, dtype=torch.float64, device=cdf.device)[1:-1] * cdf[-1]
    return torch.cat((_inverse(cdf, edges, u), cdf.new_zeros(1))).float()


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


def _profile(source: Source, group: int) -> Profile:
    if isinstance(source, str | os.PathLike):
        return read_profile(source, group)
    if group != 0:
        raise ValueError(f"group is {group}, but chooses from a file alone: give schedule.profile({group})")
    return source if isinstance(source, Profile) else source.profile()


def _coordinate(
    source: Source | Sequence[Source], group: int, measure: Callable[[Profile], Tensor]
) -> tuple[Tensor, Tensor]:
    """Edges, and the share of the measure below each: the mean over the profiles of a source."""
    profiles = [_profile(one, group) for one in (source if isinstance(source, list | tuple) else (source,))]
    if not profiles:
        raise ValueError("source is empty, but must hold a profile or more")
    edges = torch.cat([profile.edges for profile in profiles]).unique()
    return edges, torch.stack([_cumulative(profile.edges, measure(profile), edges) for profile in profiles]).mean(0)


def _cumulative(own: Tensor, measure: Tensor, at: Tensor) -> Tensor:
    """Share of a measure of bins below noise levels that the bins' edges are among."""
    mass = _normalised(measure)
    cdf = torch.cat((mass.new_zeros(1), mass.cumsum(0)))
    k = (torch.searchsorted(own, at, right=True) - 1).clamp(0, len(mass) - 1)
    fraction = ((at / own[k]).log() / (own[k + 1] / own[k]).log()).clamp(0, 1)
    return cdf[k] + mass[k] * fraction


def _edm(edges: Tensor) -> Tensor:
    """Share of the density sigma^(1 / 7) below the edges."""
    mass = edges ** (1 / EDM_RHO)
    return (mass - mass[0]) / (mass[-1] - mass[0])


def _signal(profile: Profile, measure: str) -> Tensor:
    width = (profile.edges[-1] / profile.edges[0]).log() / len(profile.sigma)
    return eager.signal(profile.rate, profile.sigma, width, width.new_tensor(SIGNALS.index(measure)))


def _inverse(cdf: Tensor, edges: Tensor, u: Tensor) -> Tensor:
    k = (torch.searchsorted(cdf, u) - 1).clamp(0, len(cdf) - 2)
    mass = cdf[k + 1] - cdf[k]
    fraction = torch.where(mass > 0, (u - cdf[k]) / mass, 0.0).clamp(0, 1)
    logs = edges.log()
    return (logs[k] + (logs[k + 1] - logs[k]) * fraction).exp()
