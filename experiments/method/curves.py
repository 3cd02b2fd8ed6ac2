"""What a profile holds: the mass of the four signals in its bins, its nats, and the window where they lie."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from infonoise_ext.ops import eager
from infonoise_ext.ops.schemas import CURVES
from infonoise_ext.state.profile import Profile

WINDOW = (0.1, 0.5, 0.9)
"""Shares of the nats at the ends and in the middle of the window that decides."""


def levels(low: float, high: float, n: int) -> Tensor:
    """n + 1 noise levels, evenly spaced in log sigma."""
    return torch.linspace(math.log(low), math.log(high), n + 1, dtype=torch.float64).exp()


def width_of(profile: Profile) -> Tensor:
    """Of a bin, in log sigma."""
    return (profile.edges[-1] / profile.edges[0]).log() / len(profile.sigma)


def shares(profile: Profile) -> dict[str, Tensor]:
    """Share [K] of each signal in each bin, as `info_grid` and `InfoNoise` have it."""
    width = width_of(profile)
    masses = {name: eager.curve(name, profile.rate, profile.sigma, width) for name in CURVES}
    return {name: mass / mass.sum() for name, mass in masses.items()}


def densities(profile: Profile) -> dict[str, Tensor]:
    """Density [K] of each signal per unit log sigma, of integral 1."""
    return {name: share / width_of(profile) for name, share in shares(profile).items()}


def above(profile: Profile, sigma: float) -> dict[str, float]:
    """Share of each signal above a noise level; a bin counts by its centre."""
    return {name: float(share[profile.sigma > sigma].sum()) for name, share in shares(profile).items()}


def nats(profile: Profile) -> float:
    """Integral of the rate over the grid (Eq. 11)."""
    return float(profile.rate.sum() * width_of(profile))


def nats_error(profile: Profile) -> float:
    """Largest standard error that `nats` can have: where all levels share their draws, errors go together."""
    return float((profile.standard_error / profile.sigma.square()).sum() * width_of(profile))


def told(profile: Profile) -> Tensor:
    """Nats [K + 1] that y at each edge tells of x0 beyond what it tells at the top edge."""
    masses = profile.rate * width_of(profile)
    return torch.cat((masses.flip(0).cumsum(0).flip(0), masses.new_zeros(1)))


def below(profile: Profile, sigma: Tensor) -> Tensor:
    """Share of the nats below each noise level inside the grid, log-linear inside a bin."""
    cdf = 1 - told(profile) / nats(profile)
    place = (sigma.double() / profile.edges[0]).log() / width_of(profile)
    k = place.long().clamp(0, len(profile.sigma) - 1)
    return cdf[k] + (place - k) * (cdf[k + 1] - cdf[k])


def window(profile: Profile) -> list[float]:
    """Noise levels below which the shares `WINDOW` of the nats lie."""
    low, high = profile.edges[0].item(), profile.edges[-1].item()
    return [crossing(lambda sigma: below(profile, sigma), share, low, high) for share in WINDOW]


def crossing(rising: Callable[[Tensor], Tensor], value: float, low: float, high: float) -> float:
    """Noise level at which a function that rises with sigma reaches a value, by bisection in log sigma."""
    bottom, top = math.log(low), math.log(high)
    for _ in range(50):
        middle = (bottom + top) / 2
        if float(rising(torch.tensor(math.exp(middle), dtype=torch.float64))) < value:
            bottom = middle
        else:
            top = middle
    return math.exp((bottom + top) / 2)
