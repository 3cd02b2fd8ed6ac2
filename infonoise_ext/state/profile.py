"""What a schedule has learned, as named float64 tensors on the CPU."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..ops import eager
from ..ops.schemas import MOMENTS, PARAMS, STATS
from .atomic import write_whole
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
        mmse: [K] estimates in the units of the recorded error; before the first refresh the ring
            means; NaN where nothing was measured.
        standard_error: [K] of the ring means; NaN below two losses.
        rate: [K] entropy rate per unit log sigma, mmse / sigma^2, gaps filled (Eq. 11).
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
            raise ValueError(f"edges must be 2 or more finite numbers that ascend from above 0, got {edges}")
        for name in _CURVES:
            wanted = len(edges) - (name not in ("edges", "cdf"))
            if getattr(self, name).shape != (wanted,):
                raise ValueError(f"{name} must have shape [{wanted}], got {list(getattr(self, name).shape)}")

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
            raise ValueError(f"mmse must be finite and at least 0, got {float(mmse[~good][0])}")
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
        """Write a JSON file, complete or absent, from which `load` restores every bit; null stands for NaN."""
        values = {name: _without_nan(value) for name, value in self.to_dict().items()}
        saved = {"format": FORMAT, "version": VERSION, "checksum": _checksum(values), **values}
        write_whole(Path(path), json.dumps(saved, allow_nan=False).encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """What `save` wrote.

        Raises:
            OSError: the file cannot be opened.
            ValueError: the file is damaged, of another kind or of another version.
        """
        content = Path(path).read_bytes()
        try:
            return cls._from_json(content)
        except Exception as error:
            raise ValueError(f"{path} is not a file that Profile.save wrote, or it is damaged: {error}") from error

    @classmethod
    def _from_json(cls, content: bytes) -> Profile:
        saved = json.loads(content)
        if not isinstance(saved, dict) or saved.get("format") != FORMAT:
            raise ValueError("the key 'format' is missing or different")
        if saved.get("version") != VERSION:
            raise ValueError(f"it has version {saved.get('version')!r}, but this release reads {VERSION}")
        values: dict[str, Any] = {name: saved.get(name) for name in (*_CURVES, "pivot")}
        if saved.get("checksum") != _checksum(values):
            raise ValueError("its checksum is wrong")
        curves = {name: [math.nan if x is None else x for x in values[name]] for name in _CURVES}
        tensors = {name: torch.tensor(x, dtype=torch.float64, device="cpu") for name, x in curves.items()}
        return cls(**tensors, pivot=values["pivot"])


_CURVES = tuple(f.name for f in fields(Profile) if f.name != "pivot")


def _without_nan(value: list[float] | float) -> list[float | None] | float:
    return [None if math.isnan(x) else x for x in value] if isinstance(value, list) else value


def _checksum(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


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
