"""Every plain option of the schedule, in one frozen dataclass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from typing_extensions import TypedDict

from ..curves.arguments import choice, number, refuse, whole
from ..curves.pivot import Onset, Pivot, PowerLaw, checked_pivot
from ..ops.schemas import SIGNALS

MAX_BINS = 4096
MAX_STEPS = 2**53
SAMPLINGS = ("iid", "stratified")
_NARROWEST = 1e-6
"""Width of a bin in log sigma below which float32 cannot tell its edges apart."""


@dataclass(frozen=True)
class InfoNoiseConfig:
    """Options of `InfoNoise`. docs/defaults.md says where each default comes from.

    Attributes:
        sigma_min: lower end of the grid, as a noise standard deviation in the units of the data.
        sigma_max: upper end of the grid.
        bins: K, bins uniform in log sigma.
        capacity: C, losses kept per bin.
        warmup: steps before the first refresh; until then the prior is sampled.
        refresh_every: steps between refreshes.
        min_count: losses that an estimate is made from; a bin that has fewer takes those of its neighbours, and
            there is no table before all bins together have as many.
        floor: share of log-uniform mixed into every table, which keeps all bins measured.
        signal: what is made equal, per unit s = log sigma: what is "learnable" (docs/how-it-works.md), or the
            loss-weighted density of mmse / sigma^2 ("entropy", the paper's), mmse / sigma ("rescaled"),
            d mmse / ds ("mmse") or its square root ("length").
        reach: of "learnable", how far in log sigma what is learned at one level serves the others.
        pivot: c of the gate, as a number in units of sigma (0 is no gate) or as a rule that is read off the
            entropy rate whatever the signal.
        gate_power: n of the gate (Eq. 17).
        sampling: "iid", or "stratified": the n samples of a group in one call lie one in each n-th of its table,
            in random order, and ranks take different parts of each n-th.

    Raises:
        ValueError: an option of another kind or out of range, named with what is allowed. NumPy scalars and
            tensors of one element are numbers here.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    bins: int = 64
    capacity: int = 256
    warmup: int = 50
    refresh_every: int = 50
    min_count: int = 16
    floor: float = 0.05
    signal: str = "learnable"
    reach: float = 0.5
    pivot: Pivot = 0.0
    gate_power: float = 3.0
    sampling: str = "iid"

    def __post_init__(self) -> None:
        low = number("sigma_min", self.sigma_min, least=1e-30)
        high = number("sigma_max", self.sigma_max, most=1e30)
        if high < 1.01 * low:
            refuse("sigma_max", self.sigma_max, f"above sigma_min = {low:g}")
        bins = whole("bins", self.bins, least=2, most=MAX_BINS)
        capacity = whole("capacity", self.capacity, least=1, most=2**31 - 1)
        checked = {
            "sigma_min": low,
            "sigma_max": high,
            "bins": bins,
            "capacity": capacity,
            "warmup": whole("warmup", self.warmup, least=1, most=MAX_STEPS),
            "refresh_every": whole("refresh_every", self.refresh_every, least=1, most=MAX_STEPS),
            "min_count": whole("min_count", self.min_count, least=1, most=bins * capacity),
            "floor": number("floor", self.floor, least=0, below=1),
            "signal": choice("signal", self.signal, SIGNALS),
            "reach": number("reach", self.reach, least=0, most=100),
            "pivot": checked_pivot(self.pivot),
            "gate_power": number("gate_power", self.gate_power, above=0, below=100),
            "sampling": choice("sampling", self.sampling, SAMPLINGS),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.width <= _NARROWEST:
            refuse("bins", bins, f"so few that each is wider than {_NARROWEST:g} in log sigma, as float32 resolves")

    @classmethod
    def published(cls, *, discrete: bool = False, **options: Any) -> InfoNoiseConfig:
        """The method of arXiv 2602.18647: the entropy rate behind the gate for this kind of data.

        Args:
            discrete: whether the data are discrete (App. B.4); else continuous (Eq. 18), for which the paper's
                pivot expects EDM's range of noise levels.
            **options: further fields, which replace the paper's.
        """
        chosen = {"signal": "entropy", "pivot": PowerLaw() if discrete else Onset()}
        return cls(**{**chosen, **options})

    @property
    def width(self) -> float:
        """D, the width of a bin in log sigma."""
        return math.log(self.sigma_max / self.sigma_min) / self.bins

    def to_dict(self) -> dict[str, float | int | str]:
        """Plain values, for checkpoints and records; the pivot's rule as its repr."""
        return asdict(self) | {"pivot": repr(self.pivot)}

    def with_options(self, options: Mapping[str, Any]) -> InfoNoiseConfig:
        """A copy with some options replaced; an unknown name raises TypeError listing the known ones."""
        known = [f.name for f in fields(self)]
        for name in options:
            if name not in known:
                raise TypeError(f"InfoNoise has no option {name!r}; options are {', '.join(known)}")
        return replace(self, **options)


class Options(TypedDict, total=False):
    """The fields of `InfoNoiseConfig` that `InfoNoise` takes by keyword, for type checkers."""

    bins: int
    capacity: int
    warmup: int
    refresh_every: int
    min_count: int
    floor: float
    signal: str
    reach: float
    pivot: Onset | PowerLaw | float
    gate_power: float
    sampling: str
