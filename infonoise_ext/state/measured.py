"""What a schedule draws of data whose mmse is known from elsewhere: a frozen denoiser, a file, another schedule."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from ..curves.arguments import refuse
from ..curves.densities import LogNormal
from ..curves.density import Density
from ..curves.weights import EDMWeight, Weight
from ..ops import eager
from ..ops.schemas import CERTAIN, COUNTERS, LAYOUT, TINY
from .checkpoint import read_profile
from .config import InfoNoiseConfig
from .profile import Profile
from .table import Table
from .tensors import fresh_state, make_params


class HasProfile(Protocol):
    """Anything with a `profile()`, such as `InfoNoise` or an oracle."""

    def profile(self) -> Profile:
        """What is known of the data."""
        ...


Prior: TypeAlias = "Density | Profile | HasProfile | str | os.PathLike[str]"
"""Of a warm-up: a density, or what a density is made from."""


def edm_density(weight: Weight | None) -> LogNormal:
    """EDM's density (arXiv 2206.00364, Table 1), in units of sigma_data where the weight is EDM's and tells it."""
    sigma_data = weight.sigma_data if isinstance(weight, EDMWeight) else 0.5
    return LogNormal(-1.2 + math.log(2 * sigma_data), 1.2)


def prior_density(prior: Prior, config: InfoNoiseConfig, grid: Tensor) -> Density:
    """A density as it is; of a measured profile the one that a schedule of these options and this grid would learn.

    Raises:
        OSError: a path that cannot be opened.
        ValueError: nothing that has a profile, one of nothing measured, or a file that is damaged.
    """
    if isinstance(prior, Density):
        return prior
    profile = _profile_of(prior)
    if not bool((profile.mmse.isfinite() & (profile.mmse >= 0)).all() & (profile.mmse > 0).any()):
        refuse("prior", prior, "of data that were measured: it has no mmse yet")
    params = make_params(replace(config, floor=0.0), rank=0, world=1)
    uniform = Table.from_mass(grid[0], torch.ones_like(grid[0, :-1]))
    state = fresh_state(config, grid, params, uniform, groups=1, seed=0)
    mmse = mmse_at(profile, state.row("sigma"))
    count = torch.full_like(mmse, config.min_count)
    moments = torch.stack((count, (count - 1) * mmse, mmse), -1).unsqueeze(0)  # of so many losses, all equal
    eager.refresh_(moments, *(getattr(state, name) for name in _REFRESHED))
    if not bool(state.counters[0, COUNTERS.index("refreshes")]):
        refuse("prior", prior, "of an mmse that makes a distribution")
    return Table.from_mass(grid[0], state.cdf[0].diff())


_REFRESHED = tuple(name for name in LAYOUT if name not in ("ring", "rng"))


def mmse_at(profile: Profile, sigma: Tensor) -> Tensor:
    """The mmse of a profile at other levels [N]: its ratio to Gaussian data's, in logarithms linear in log sigma.

    Beyond the profile's ends the ratio is that of the end.
    """
    own, mmse = profile.sigma.cpu().double(), profile.mmse.cpu().double()
    variance = mmse[-1] / (1 - (mmse[-1] / own[-1].square()).clamp(max=CERTAIN))
    ratio = (mmse.clamp(min=TINY) / eager.gaussian_mmse(variance, own).clamp(min=TINY)).log()
    x, at = own.log(), sigma.log()
    right = torch.bucketize(at, x).clamp(1, len(x) - 1) if len(x) > 1 else torch.zeros_like(at, dtype=torch.int64)
    left = (right - 1).clamp(min=0)
    share = ((at - x[left]) / (x[right] - x[left]).clamp(min=TINY)).clamp(0, 1)
    return torch.lerp(ratio[left], ratio[right], share).exp() * eager.gaussian_mmse(variance, sigma)


def _profile_of(prior: Profile | HasProfile | str | os.PathLike[str]) -> Profile:
    if isinstance(prior, Profile):
        return prior
    if isinstance(prior, str | os.PathLike):
        return read_profile(prior)
    if isinstance(prior, type) or not callable(getattr(prior, "profile", None)):
        refuse("prior", prior, "a density, a measured profile, a schedule, or the path of a saved one")
    return prior.profile()
