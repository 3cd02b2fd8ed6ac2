"""An mmse over noise levels, and the four signals that schedules make of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from infonoise_ext.oracle import Oracle

WINDOW = (0.1, 0.5, 0.9)
"""Shares of the information at the ends and in the middle of the window that decides."""


def levels(low: float, high: float, n: int) -> Tensor:
    """n + 1 noise levels, evenly spaced in log sigma."""
    return torch.linspace(math.log(low), math.log(high), n + 1, dtype=torch.float64).exp()


@dataclass(frozen=True)
class Curve:
    """mmse [K + 1] and its standard errors at ascending noise levels [K + 1], evenly spaced in s = log sigma.

    Between neighbouring levels lie K bins. A signal's mass is the integral over a bin of its density per unit s.
    """

    sigma: Tensor
    mmse: Tensor
    error: Tensor

    @classmethod
    def of(cls, source: Oracle, sigma: Tensor) -> "Curve":
        return cls(sigma, *source.mmse_estimate(sigma))

    @property
    def step(self) -> float:
        return float((self.sigma[-1] / self.sigma[0]).log()) / (len(self.sigma) - 1)

    @property
    def centre(self) -> Tensor:
        return (self.sigma[1:] * self.sigma[:-1]).sqrt()

    def masses(self) -> dict[str, Tensor]:
        """Mass [K] of each signal; entropy's is in nats (Eq. 11). No estimated mmse falls with sigma."""
        mmse = self.mmse.cummax(0).values
        return {
            "entropy": self._integrals(mmse / self.sigma.square()),
            "rescaled": self._integrals(mmse / self.sigma),
            "mmse": mmse.diff(),
            "length": (mmse.diff() * self.step).sqrt(),  # its density is sqrt(d mmse / ds)
        }

    @property
    def nats(self) -> float:
        """Integral of the rate over all levels."""
        return float(self.masses()["entropy"].sum())

    @property
    def nats_error(self) -> float:
        """Largest standard error that `nats` can have: where all levels share their draws, errors go together."""
        return float(self._integrals(self.error / self.sigma.square()).sum())

    def shares(self) -> dict[str, Tensor]:
        """The masses, each of total 1."""
        return {name: mass / mass.sum() for name, mass in self.masses().items()}

    def densities(self) -> dict[str, Tensor]:
        """Density [K] of each signal per unit s, of integral 1."""
        return {name: share / self.step for name, share in self.shares().items()}

    def above(self, sigma: float) -> dict[str, float]:
        """Share of each signal above a noise level; a bin counts by its centre."""
        return {name: float(share[self.centre > sigma].sum()) for name, share in self.shares().items()}

    def window(self) -> list[float]:
        """Noise levels below which the shares `WINDOW` of the nats lie, log-linear inside a bin."""
        cdf = torch.cat((self.mmse.new_zeros(1), self.shares()["entropy"].cumsum(0)))
        logs = self.sigma.log()
        k = (torch.searchsorted(cdf, cdf.new_tensor(WINDOW)) - 1).clamp(0, len(cdf) - 2)
        inside = (cdf.new_tensor(WINDOW) - cdf[k]) / (cdf[k + 1] - cdf[k])
        return (logs[k] + inside * self.step).exp().tolist()

    def _integrals(self, density: Tensor) -> Tensor:
        return (density[1:] + density[:-1]) / 2 * self.step


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
