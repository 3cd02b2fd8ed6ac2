"""Every plain option of the scheduler, in one frozen dataclass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..curves.pivot import FixedPivot, Onset, Pivot, PowerLaw
from ..ops.schemas import SIGNALS

MAX_BINS = 4096
MAX_STEPS = 2**53
SAMPLINGS = ("iid", "stratified")


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
        pivot: rule for c of the gate, read off the entropy rate whatever the signal; None becomes
            `Onset()` for "entropy" and no gate, `FixedPivot(0.0)`, for the other signals, which vanish at
            low noise where mmse falls as sigma^2.
        sampling: "iid", or "stratified" over all samples of all ranks.
        signal: what the loss-weighted density equalises, per unit s = log sigma: mmse / sigma^2
            ("entropy"), mmse / sigma ("rescaled"), d mmse / ds ("mmse") or its square root ("length").
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
    pivot: Pivot = None  # type: ignore[assignment]  # never None once made
    sampling: str = "iid"
    signal: str = "entropy"

    def __post_init__(self) -> None:
        self._need(self.sigma_min >= 1e-30, "sigma_min", "at least 1e-30")
        self._need(self.sigma_max <= 1e30, "sigma_max", "at most 1e30")
        self._need(self.sigma_max >= 1.01 * self.sigma_min, "sigma_max", f"above sigma_min = {self.sigma_min}")
        for name, low, high in (
            ("bins", 2, MAX_BINS),
            ("capacity", 1, 2**31 - 1),
            ("warmup", 1, MAX_STEPS),
            ("refresh_every", 1, MAX_STEPS),
            ("min_count", 1, self.capacity),
        ):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            self._need(whole and low <= value <= high, name, f"an integer in [{low}, {high}]")
        per_bin = math.log(self.sigma_max / self.sigma_min) / self.bins
        self._need(per_bin > 1e-6, "bins", "few enough that bins are wider than float32 resolves (1e-6 in log sigma)")
        self._need(0 < self.coverage <= 1, "coverage", "in (0, 1]")
        self._need(0 < self.ema <= 1, "ema", "in (0, 1]")
        self._need(0 <= self.smooth < self.bins, "smooth", "in [0, bins)")
        self._need(0 <= self.floor < 1, "floor", "in [0, 1)")
        self._need(0 <= self.prior_floor <= 1, "prior_floor", "in [0, 1]")
        self._need(0 < self.gate_power < 100, "gate_power", "in (0, 100)")
        self._need(self.signal in SIGNALS, "signal", f"one of {SIGNALS}")
        if self.pivot is None:
            object.__setattr__(self, "pivot", _default_pivot(self.signal))
        self._need(isinstance(self.pivot, FixedPivot | Onset | PowerLaw), "pivot", "FixedPivot, Onset or PowerLaw")
        self._need(self.sampling in SAMPLINGS, "sampling", f"one of {SAMPLINGS}")

    def _need(self, ok: bool, name: str, allowed: str) -> None:
        if not ok:
            raise ValueError(f"{name} is {getattr(self, name)!r}, but must be {allowed}")

    @property
    def width(self) -> float:
        """D, the width of a bin in log sigma."""
        return math.log(self.sigma_max / self.sigma_min) / self.bins

    def to_dict(self) -> dict[str, float | int | str]:
        """Plain values, for checkpoints and records; the pivot's rule as its repr."""
        return asdict(self) | {"pivot": repr(self.pivot)}

    def with_options(self, options: Mapping[str, Any]) -> InfoNoiseConfig:
        """A copy with some options replaced; an unknown name raises TypeError listing the known ones.

        Of a config with its signal's default pivot, a copy with another signal gets the other's default.
        """
        known = [f.name for f in fields(self)]
        for name in options:
            if name not in known:
                raise TypeError(f"InfoNoise has no option {name!r}; options are {', '.join(known)}")
        changes = dict(options)
        if "signal" in options and self.pivot == _default_pivot(self.signal):
            changes.setdefault("pivot", None)
        return replace(self, **changes)


def _default_pivot(signal: str) -> Pivot:
    return Onset() if signal == "entropy" else FixedPivot(0.0)
