"""Oracles whose x0 takes finitely many values: averages over y by quadrature or Monte Carlo."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from ..curves.arguments import whole
from .base import Estimate, Oracle, normal, without_error
from .quadrature import lattice_size, normal_lattice

_EXACT_COST = 2**28


class Discrete(Oracle):
    """mmse and entropy as averages over y of the exact posterior's variance and entropy.

    In one and two dimensions, while there are few enough values of x0, the average is a quadrature;
    otherwise it is a mean over `samples` draws of (x0, eps), with its standard error. Draws are the
    same in every call and at every sigma, so a curve over sigma is smooth, and its errors go together.

    Args:
        samples: draws of a Monte Carlo average, at least 2.
        seed: of these draws, at least 0.

    Attributes:
        exact: whether averages are quadratures.
    """

    def __init__(self, samples: int, seed: int) -> None:
        self.samples, self.seed = whole("samples", samples, least=2), whole("seed", seed, least=0)

    @property
    @abstractmethod
    def _values(self) -> int:
        """Number of values of x0."""

    @abstractmethod
    def _support(self) -> tuple[Tensor, Tensor]:
        """All values of x0 [n, d] and their probabilities [n]; asked for only where `exact`."""

    @abstractmethod
    def _posterior_variance(self, y: Tensor, sigma: Tensor) -> Tensor:
        """E|x0 - denoise(y)|^2 given y [N, d] and sigma [N]: [N]."""

    @abstractmethod
    def _posterior_entropy(self, y: Tensor, sigma: Tensor) -> Tensor:
        """H(x0) given this y [N, d] and sigma [N]: [N], nats."""

    @property
    def exact(self) -> bool:
        """Whether mmse and entropy are quadratures."""
        return self.dim <= 2 and self._values**2 * lattice_size(self.dim) <= _EXACT_COST

    def _mmse(self, sigma: Tensor) -> Estimate:
        return self._average(self._posterior_variance, sigma)

    def _entropy(self, sigma: Tensor) -> Estimate:
        return self._average(self._posterior_entropy, sigma)

    def _average(self, f: Callable[[Tensor, Tensor], Tensor], sigma: Tensor) -> Estimate:
        x0, eps, weight = (x.to(sigma.device) for x in (self._lattice() if self.exact else self._draws()))
        moments = []
        for s in sigma:
            value = f(x0 + s * eps, s.expand(len(x0)))
            moments.append(torch.stack((weight @ value, value.std())))
        mean, std = torch.stack(moments, 1)
        return without_error(mean) if self.exact else Estimate(mean, std / self.samples**0.5)

    def _lattice(self) -> tuple[Tensor, Tensor, Tensor]:
        x0, probability = self._support()
        eps, weight = normal_lattice(self.dim)
        x0 = x0.cpu().repeat_interleave(len(eps), 0)
        return x0, eps.repeat(len(probability), 1), torch.outer(probability.cpu(), weight).flatten()

    def _draws(self) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        x0 = self.sample(self.samples, generator)
        share = torch.full((self.samples,), 1 / self.samples, dtype=torch.float64)
        return x0, normal(self.samples, self.dim, generator), share
