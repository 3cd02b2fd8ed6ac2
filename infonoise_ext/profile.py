"""What a schedule has learned, as named float64 tensors on the CPU."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from . import eager
from ._schemas import MOMENTS, PARAMS, STATS
from .state import State


@dataclass(frozen=True)
class Profile:
    """One group's curves over K bins; densities are per unit log sigma.

    Attributes:
        sigma: [K] bin centres.
        edges: [K + 1] bin edges.
        count: [K] losses in each ring; with a process group, of this rank.
        seen: [K] losses ever recorded, those that left the ring included.
        mean: [K] ring means; NaN where the ring is empty.
        mmse: [K] estimates in the units of the recorded error; before the first refresh the ring
            means; NaN where nothing was measured.
        standard_error: [K] of the ring means; NaN below two losses.
        rate: [K] entropy rate per unit log sigma, mmse / sigma^2, gaps filled (Eq. 11).
        gate: [K] g(sigma) in [0, 1] (Eq. 17).
        allocation: [K] normalised gated signal, phi (Eq. 13); the signal "entropy" is the rate.
        density: [K] of the table that is sampled from (Eq. 16, with its floor).
        cdf: [K + 1] at the edges.
        pivot: c of the gate; 0 is no gate.
    """

    sigma: Tensor
    edges: Tensor
    count: Tensor
    seen: Tensor
    mean: Tensor
    mmse: Tensor
    standard_error: Tensor
    rate: Tensor
    gate: Tensor
    allocation: Tensor
    density: Tensor
    cdf: Tensor
    pivot: float

    def to_dict(self) -> dict[str, list[float] | float]:
        """Lists and numbers, for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value if isinstance(value, float) else value.tolist() for name, value in values.items()}


def profile_of(state: State, group: int = 0) -> Profile:
    """The profile of one group.

    Raises:
        ValueError: group is not in [0, G).
    """
    if not 0 <= group < len(state.cdf):
        raise ValueError(f"group is {group}, but must be in [0, {len(state.cdf)})")
    grid, params = state.grid.cpu(), state.params.cpu()
    sigma, cdf = grid[1, :-1], state.cdf[group].cpu()
    moments = eager.bin_stats(state.ring[group : group + 1].cpu(), state.count[group : group + 1].cpu())[0]
    count, mean, error = mean_and_error(moments)
    learned = state.mmse[group].cpu()
    mmse = torch.where(learned >= 0, learned, mean)
    pivot = state.stats[group, STATS.index("pivot")].cpu()
    known = torch.where(mmse.isnan(), -1.0, mmse).unsqueeze(0)
    rate = eager.rate(known, grid, params)[0] if bool((known >= 0).any()) else torch.full_like(sigma, torch.nan)
    gate = eager.gate(pivot, sigma, params)
    width = params[PARAMS.index("width")]
    phi = eager.signal(rate, sigma, width, params[PARAMS.index("signal")]) * gate
    return Profile(
        sigma=sigma.clone(),
        edges=grid[0].clone(),
        count=count,
        seen=state.count[group].cpu().double(),
        mean=mean,
        mmse=mmse,
        standard_error=error,
        rate=rate,
        gate=gate,
        allocation=phi / (phi.sum() * width),
        density=cdf.diff() / width,
        cdf=cdf.clone(),
        pivot=float(pivot),
    )


def mean_and_error(moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and standard error of the mean [K] of the moments [K, 3]; NaN where undefined."""
    count, total, squares = moments.unbind(-1)[: len(MOMENTS)]
    mean = total / count
    variance = (squares - count * mean.square()).clamp(min=0) / (count - 1)
    error = torch.where(count > 1, (variance / count).sqrt(), torch.nan)
    return count, torch.where(count > 0, mean, torch.nan), error
