"""What a schedule has learned, as named float64 tensors on the CPU."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ..curves.arguments import refuse
from ..ops import eager
from ..ops.schemas import PARAMS, STATS
from . import files
from .tensors import State

FORMAT, VERSION = "infonoise_ext.profile", 1


@dataclass(frozen=True)
class Profile:
    """One group's curves over K bins; densities are per unit log sigma.

    Attributes:
        sigma: [K] bin centres.
        edges: [K + 1] bin edges.
        count: [K] losses in each ring; with a process group, of this rank.
        seen: [K] losses ever recorded, those that left the ring included.
        mean: [K] ring means; NaN where the ring is empty.
        mmse: [K] estimates in the units of the recorded error; before the first refresh those that one would make
            now; NaN where nothing is recorded.
        standard_error: [K] of the ring means; NaN below two losses.
        rate: [K] entropy rate per unit log sigma, mmse / sigma^2 (Eq. 11).
        gate: [K] g(sigma) in [0, 1] (Eq. 17).
        allocation: [K] normalised gated signal, phi (Eq. 13); the signal "entropy" is the rate.
        density: [K] of the table that is sampled from (Eq. 16, with its floor).
        cdf: [K + 1] at the edges.
        pivot: c of the gate; 0 is no gate.

    Raises:
        ValueError: curves of other lengths, or edges that do not ascend from above 0.
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

    def __post_init__(self) -> None:
        edges = self.edges
        several = edges.dim() == 1 and len(edges) > 1
        if not (several and bool((edges[0] > 0) & (edges.diff() > 0).all() & (edges[-1] < math.inf))):
            refuse("edges", edges.tolist(), "2 or more finite numbers that ascend from above 0")
        for name in _CURVES:
            wanted = len(edges) - (name not in ("edges", "cdf"))
            if getattr(self, name).shape != (wanted,):
                refuse(f"the shape of {name}", list(getattr(self, name).shape), f"[{wanted}]")

    @classmethod
    def from_mmse(cls, edges: Tensor, sigma: Tensor, mmse: Tensor, standard_error: Tensor, count: Tensor) -> Profile:
        """Of a measured or known mmse: what a schedule without gate, floor and loss weight would make of it.

        Args:
            edges: [K + 1] float64 bin edges, uniform in log sigma.
            sigma: [K] centres, where the mmse was taken.
            mmse: [K] finite and at least 0, in any units.
            standard_error: [K] of the mmse.
            count: [K] of samples that it is the mean of.

        Raises:
            ValueError: a value out of range, or shapes that do not fit.
        """
        good = mmse.isfinite() & (mmse >= 0)
        if not bool(good.all()):
            refuse("mmse", float(mmse[~good][0]), "finite and at least 0")
        rate = mmse / sigma.square()  # Eq. 11
        mass = rate / rate.sum()
        density = mass * len(sigma) / (edges[-1] / edges[0]).log()
        return cls(
            sigma=sigma,
            edges=edges,
            count=count,
            seen=count,
            mean=mmse,
            mmse=mmse,
            standard_error=standard_error,
            rate=rate,
            gate=torch.ones_like(sigma),
            allocation=density,
            density=density,
            cdf=torch.cat((mass.new_zeros(1), mass.cumsum(0))),
            pivot=0.0,
        )

    def to_dict(self) -> dict[str, list[float] | float]:
        """Lists and numbers, for JSON."""
        return {name: getattr(self, name).tolist() for name in _CURVES} | {"pivot": self.pivot}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file, complete or absent, from which `load` restores every bit.

        A path that ends in ".safetensors" gets that format (needs the safetensors package).
        """
        curves = {name: getattr(self, name) for name in _CURVES}
        files.write({"format": FORMAT, "version": VERSION, **curves, "pivot": self.pivot}, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """What `save` wrote.

        Raises:
            OSError: the file cannot be opened.
            ValueError: the file is damaged, of another kind or of another version.
        """
        try:
            return cls.from_saved(files.read(path))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def from_saved(cls, saved: dict[str, Any]) -> Profile:
        """The profile in a dictionary that `save` wrote; ValueError where it is another one."""
        if saved.get("format") != FORMAT:
            raise ValueError(f"its format is {saved.get('format')!r}, but must be {FORMAT!r}")
        if saved.get("version") != VERSION:
            raise ValueError(f"its version is {saved.get('version')!r}, but this release reads {VERSION}")
        lacking = [name for name in _CURVES if not isinstance(saved.get(name), Tensor)]
        if lacking:
            raise ValueError(f"it lacks the curves {', '.join(lacking)}")
        return cls(**{name: saved[name] for name in _CURVES}, pivot=float(saved["pivot"]))


_CURVES = tuple(f.name for f in fields(Profile) if f.name != "pivot")


def profile_of(state: State, group: int = 0) -> Profile:
    """The profile of one group.

    Raises:
        ValueError: group is not in [0, G).
    """
    if not 0 <= group < len(state.cdf):
        refuse("group", group, f"an integer in [0, {len(state.cdf) - 1}]")
    grid, params = state.grid.cpu(), state.params.cpu()
    sigma, cdf = grid[1, :-1], state.cdf[group].cpu()
    ring, written = state.ring[group].cpu(), state.count[group].cpu()
    count, mean, error = mean_and_error(moments_of(ring, written))
    mmse, variance = _estimates(state, group, ring, written, grid, params)
    rate = mmse / sigma.square()  # Eq. 11
    pivot = state.stats[group, STATS.index("pivot")].cpu()
    gate = eager.gate(pivot, sigma, params)
    phi = eager.signal(rate.unsqueeze(0), variance, grid, params)[0][0] * gate
    width = params[PARAMS.index("width")]
    return Profile(
        sigma=sigma.clone(),
        edges=grid[0].clone(),
        count=count,
        seen=written.double(),
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


def _estimates(
    state: State, group: int, ring: Tensor, count: Tensor, grid: Tensor, params: Tensor
) -> tuple[Tensor, Tensor]:
    """The mmse [K] and the variance [1] that the last refresh found, or that the first one would find now."""
    learned = state.mmse[group].cpu()
    if bool(learned[0] >= 0):
        return learned, state.stats[group : group + 1, STATS.index("variance")].cpu()
    if not bool(count.any()):
        return torch.full_like(learned, torch.nan), torch.full_like(learned[:1], torch.nan)
    moments = eager.bin_stats(ring.unsqueeze(0), count.unsqueeze(0))
    mmse, variance = eager.estimate(moments, grid, params)
    return mmse[0], variance


def moments_of(ring: Tensor, count: Tensor) -> Tensor:
    """Number, sum and sum of squares [K, 3] of the losses in rings [K, C]."""
    held = torch.arange(ring.shape[-1], device="cpu") < count.unsqueeze(-1)
    losses = torch.where(held, ring, 0.0).double()
    return torch.stack((held.sum(-1).double(), losses.sum(-1), losses.square().sum(-1)), -1)


def mean_and_error(moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and standard error of the mean [K] of the moments [K, 3]; NaN where undefined."""
    count, total, squares = moments.unbind(-1)
    mean = total / count
    variance = (squares - count * mean.square()).clamp(min=0) / (count - 1)
    error = torch.where(count > 1, (variance / count).sqrt(), torch.nan)
    return count, torch.where(count > 0, mean, torch.nan), error
