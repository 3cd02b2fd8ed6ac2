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
        min_count: losses a bin needs to count as measured.
        coverage: mass of the current table that measured bins must carry for a refresh; 1 is the
            literal rule (every bin that has mass).
        ema: weight of the NEW ring mean in the moving average.
        smooth: standard deviation, in bins, of the Gaussian that smooths log rate; 0 is off.
        floor: share of log-uniform mixed into every learned table, which keeps all bins measured.
        prior_floor: the same for the table of the warm-up.
        gate_power: n of the gate (Eq. 17).
        pivot: c of the gate, as a number in units of sigma (0 is no gate) or as a rule that is read off the
            entropy rate whatever the signal. None is `Onset()` for the signal "entropy" and 0 for the others,
            which vanish at low noise where mmse falls as sigma^2.
        sampling: "iid", or "stratified": the n samples of a group in one call lie one in each n-th of its table,
            in random order, and ranks take different parts of each n-th.
        signal: what the loss-weighted density equalises, per unit s = log sigma: mmse / sigma^2
            ("entropy"), mmse / sigma ("rescaled"), d mmse / ds ("mmse") or its square root ("length").

    Raises:
        ValueError: an option of another kind or out of range, named with what is allowed. NumPy scalars and
            tensors of one element are numbers here.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    bins: int = 64
    capacity: int = 256
    warmup: int = 100
    refresh_every: int = 100
    min_count: int = 16
    coverage: float = 0.95
    ema: float = 0.9
    smooth: float = 0.0
    floor: float = 0.05
    prior_floor: float = 0.1
    gate_power: float = 3.0
    pivot: Pivot | None = None
    sampling: str = "iid"
    signal: str = "entropy"

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
            "min_count": whole("min_count", self.min_count, least=1, most=capacity),
            "coverage": number("coverage", self.coverage, above=0, most=1),
            "ema": number("ema", self.ema, above=0, most=1),
            "smooth": number("smooth", self.smooth, least=0, below=bins),
            "floor": number("floor", self.floor, least=0, below=1),
            "prior_floor": number("prior_floor", self.prior_floor, least=0, most=1),
            "gate_power": number("gate_power", self.gate_power, above=0, below=100),
            "pivot": None if self.pivot is None else checked_pivot(self.pivot),
            "sampling": choice("sampling", self.sampling, SAMPLINGS),
            "signal": choice("signal", self.signal, SIGNALS),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.width <= _NARROWEST:
            refuse("bins", bins, f"so few that each is wider than {_NARROWEST:g} in log sigma, as float32 resolves")

    @property
    def width(self) -> float:
        """D, the width of a bin in log sigma."""
        return math.log(self.sigma_max / self.sigma_min) / self.bins

    @property
    def gate_pivot(self) -> Pivot:
        """The pivot that holds: the one given, or the signal's own."""
        if self.pivot is not None:
            return self.pivot
        return Onset() if self.signal == "entropy" else 0.0

    def to_dict(self) -> dict[str, float | int | str]:
        """Plain values, for checkpoints and records; the pivot's rule as its repr."""
        return asdict(self) | {"pivot": repr(self.gate_pivot)}

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
    coverage: float
    ema: float
    smooth: float
    floor: float
    prior_floor: float
    gate_power: float
    pivot: Onset | PowerLaw | float | None
    sampling: str
    signal: str
