"""Rules for the pivot c of the gate g = sigma^n / (sigma^n + c^n) (arXiv 2602.18647, Eqs. 17-18, App. B.4).

Each rule is three numbers that the refresh kernels read; the search itself runs on the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .arguments import number, refuse


@dataclass(frozen=True)
class Onset:
    """The paper's rule for continuous data (Eq. 18): beyond c, r = mmse / sigma^3 stays below p max r.

    c depends on sigma_min, because r peaks at the low-noise end. One clause is ours: where the rate per
    log sigma, mmse / sigma^2, falls to less than half of its peak at lower noise, c is at most the
    centre of least rate below the peak. On discrete data the paper's rule alone gates away the peak.

    Args:
        p: share of the peak, in (0, 1); the paper uses 0.002.

    Raises:
        ValueError: p is no number in (0, 1).
    """

    p: float = 0.002

    def __post_init__(self) -> None:
        object.__setattr__(self, "p", number("p", self.p, above=0, below=1))


@dataclass(frozen=True)
class PowerLaw:
    """The paper's rule for discrete data (App. B.4): upper end of the low-noise power law of r.

    The power law is the longest run of bins from the lowest noise up that one straight line fits in
    (log sigma, log r). With no such run, c is the knee: the centre where that curve bends most, its
    derivatives taken over half an e-fold to each side. A line over the whole grid means no gate.

    Args:
        tolerance: root-mean-square distance of log r from the line that still counts as straight.
        span: shortest run, in e-folds of sigma.

    Raises:
        ValueError: an argument is no number above 0.
    """

    tolerance: float = 0.1
    span: float = 1.0

    def __post_init__(self) -> None:
        for name in ("tolerance", "span"):
            object.__setattr__(self, name, number(name, getattr(self, name), above=0))


Pivot: TypeAlias = "Onset | PowerLaw | float"
"""A rule, or c itself in units of sigma; 0 is no gate."""


def checked_pivot(pivot: Pivot) -> Pivot:
    """`pivot`, a number as a float; ValueError unless it is a rule or a number of at least 0."""
    if isinstance(pivot, Onset | PowerLaw):
        return pivot
    try:
        return number("pivot", pivot, least=0)
    except ValueError:
        refuse("pivot", pivot, "Onset(), PowerLaw(), or a finite number of at least 0 in units of sigma")


def pivot_numbers(pivot: Pivot) -> tuple[str, float, float]:
    """What the kernels read of a pivot: its rule, one of `schemas.PIVOT_RULES`, a value and a span."""
    if isinstance(pivot, Onset):
        return "onset", pivot.p, 0.0
    if isinstance(pivot, PowerLaw):
        return "power_law", pivot.tolerance, pivot.span
    return "fixed", pivot, 0.0
