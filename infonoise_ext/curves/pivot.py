"""Rules for the pivot c of the gate g = sigma^n / (sigma^n + c^n) (arXiv 2602.18647, Eqs. 17-18, App. B.4).

Each rule is three numbers that the refresh kernels read; the search itself runs on the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


def _require(ok: bool, name: str, value: float, allowed: str) -> None:
    if not ok:
        raise ValueError(f"{name} is {value!r}, but must be {allowed}")


@dataclass(frozen=True)
class FixedPivot:
    """c given in units of sigma; 0 turns the gate off.

    Args:
        c: sigma at which the gate is one half, finite and >= 0.
    """

    c: float

    rule = "fixed"

    def __post_init__(self) -> None:
        _require(math.isfinite(self.c) and self.c >= 0, "c", self.c, "finite and at least 0")

    def numbers(self) -> tuple[float, float]:
        """(value, span) of the parameter tensor."""
        return self.c, 0.0


@dataclass(frozen=True)
class Onset:
    """The paper's rule for continuous data (Eq. 18): beyond c, r = mmse / sigma^3 stays below p max r.

    c depends on sigma_min, because r peaks at the low-noise end. One clause is ours: where the rate per
    log sigma, mmse / sigma^2, falls to less than half of its peak at lower noise, c is at most the
    centre of least rate below the peak. On discrete data the paper's rule alone gates away the peak.

    Args:
        p: share of the peak, in (0, 1); the paper uses 0.002.
    """

    p: float = 0.002

    rule = "onset"

    def __post_init__(self) -> None:
        _require(0 < self.p < 1, "p", self.p, "in (0, 1)")

    def numbers(self) -> tuple[float, float]:
        """(value, span) of the parameter tensor."""
        return self.p, 0.0


@dataclass(frozen=True)
class PowerLaw:
    """The paper's rule for discrete data (App. B.4): upper end of the low-noise power law of r.

    The power law is the longest run of bins from the lowest noise up that one straight line fits in
    (log sigma, log r). With no such run, c is the knee: the centre where that curve bends most, its
    derivatives taken over half an e-fold to each side. A line over the whole grid means no gate.

    Args:
        tolerance: root-mean-square distance of log r from the line that still counts as straight.
        span: shortest run, in e-folds of sigma.
    """

    tolerance: float = 0.1
    span: float = 1.0

    rule = "power_law"

    def __post_init__(self) -> None:
        _require(self.tolerance > 0, "tolerance", self.tolerance, "greater than 0")
        _require(self.span > 0, "span", self.span, "greater than 0")

    def numbers(self) -> tuple[float, float]:
        """(value, span) of the parameter tensor."""
        return self.tolerance, self.span


Pivot = FixedPivot | Onset | PowerLaw
