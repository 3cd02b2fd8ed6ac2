"""Largest possible mmse at each sigma, for data of which something is known beforehand.

Each is a callable sigma -> mmse per coordinate: the mean over coordinates, to be compared with an
error that is a mean over elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .arguments import number, refuse, whole


@dataclass(frozen=True)
class GaussianBound:
    """Error of the best linear estimator, std^2 sigma^2 / (std^2 + sigma^2).

    No data of that variance have a larger mmse, and Gaussian data attain it. Where coordinates
    differ in variance, the root of the mean variance still gives a bound.

    Args:
        std: standard deviation of a coordinate of the data, in the units of sigma.

    Raises:
        ValueError: std is not a finite number above 0.

    Source:
        Guo, Shamai and Verdu (arXiv cs/0412108), mmse of a Gaussian input.
    """

    std: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", number("std", self.std, above=0))

    def __call__(self, sigma: Tensor) -> Tensor:
        """Return the bound at sigma >= 0 of any shape, as float64 of that shape."""
        return self.std**2 / (1.0 + (self.std / sigma.to(torch.float64)).square())


@dataclass(frozen=True)
class BinaryBound:
    """Exact mmse of a coordinate that takes two values, seen through Gaussian noise by itself.

    The other coordinates can only help, so the mmse of a whole sample lies below.

    With a = (high - low) / (2 sigma), b = logit(p) / 2 and phi the standard normal density,
    mmse = integral p(y) Var(x | y) dy
    = (high - low)^2 sqrt(p (1 - p)) / 2 exp(-a^2 / 2) integral phi(z) sech(a z + b) dz.
    The relative accuracy is better than 1e-8 wherever the result is a normal float64; far below
    that it is 0. Memory is about 600 float64 per element of sigma: meant for tables.

    Args:
        low: one value.
        high: the other, above low.
        p: probability of ``high``, strictly between 0 and 1.

    Raises:
        ValueError: an argument is not finite, high <= low, or p is not inside (0, 1).

    Source:
        Guo, Shamai and Verdu (arXiv cs/0412108), mmse of a binary input.
    """

    low: float = -1.0
    high: float = 1.0
    p: float = 0.5

    def __post_init__(self) -> None:
        for name in ("low", "high", "p"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        if not self.low < self.high:
            refuse("high", self.high, f"above low = {self.low}")
        number("p", self.p, above=0, below=1)

    @classmethod
    def one_hot(cls, classes: int, low: float = -1.0, high: float = 1.0) -> BinaryBound:
        """The bound of one coordinate of a one-hot code of equally likely classes: p = 1 / classes.

        Args:
            classes: number of classes, at least 2.
            low: value of the coordinates that are off.
            high: value of the coordinate that is on, above low.

        Raises:
            ValueError: as the class, or classes is not an integer of at least 2.
        """
        return cls(low, high, 1.0 / whole("classes", classes, least=2))

    def __call__(self, sigma: Tensor) -> Tensor:
        """Return the mmse at sigma >= 0 of any shape, as float64 of that shape."""
        spacing = self.high - self.low
        b = 0.5 * (math.log(self.p) - math.log1p(-self.p))
        # At a = 1e3 the result underflows; sigma = 0 then needs no case of its own.
        a = (0.5 * spacing / sigma.to(torch.float64)).clamp(max=1e3)
        scale = 0.5 * spacing**2 * math.sqrt(self.p * (1.0 - self.p))
        return scale * damped_integral(a, b, _log_sech)


def _log_sech(w: Tensor) -> Tensor:
    return math.log(2.0) - w - (-2.0 * w).exp().log1p()


def damped_integral(a: Tensor, b: float, log_kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """exp(-a^2/2) times the integral of phi(z) exp(log_kernel(|a z + b|)) over z, by the trapezoid rule.

    For kernels like sech(w): with it, the integrand is log-concave with curvature of at least 1 and its
    peak has |z| <= sqrt|b|; where a^2 > 2 |b| it also falls like exp(-|a z + b| / 2) or faster. So
    |z| <= 10 + sqrt|b| and, there, |a z| <= 80 + |b| hold all of it. Its poles are pi / (2 a) off the
    real line, so a step h costs a relative exp(-pi^2 / (a h)).
    """
    widest = 10.0 + math.sqrt(abs(b))
    reach = max(80.0 + abs(b), widest * math.sqrt(2.0 * abs(b)))
    half = math.ceil(reach / 0.3)
    unit = torch.linspace(-1.0, 1.0, 2 * half + 1, dtype=torch.float64, device=a.device)
    window = (reach / a).clamp(max=widest)
    a, z = a.unsqueeze(-1), window.unsqueeze(-1) * unit
    log_value = log_kernel((a * z + b).abs()) - 0.5 * (z.square() + a.square() + math.log(2.0 * math.pi))
    return log_value.exp().sum(-1) * (window / half)
