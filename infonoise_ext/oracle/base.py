"""What every oracle answers to."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..curves.arguments import refuse
from ..state.config import InfoNoiseConfig
from ..state.profile import Profile
from ..state.tensors import edges_and_centres

_HIDDEN = 0.99
"""Share of the data's variance that the highest level of a range hides."""

_HIGHEST = 1e20
"""Noise levels that no range needs to exceed."""


class Estimate(NamedTuple):
    """A value and its standard error, which is 0 where the value is a closed form or a quadrature."""

    value: Tensor
    standard_error: Tensor


class Oracle(ABC):
    """A distribution of x0 in d dimensions, of which the posterior given y = x0 + sigma eps is known.

    Results are float64, on the device of the argument. mmse and entropy are totals over the d
    dimensions, entropies in nats: to compare an oracle with a schedule, or to give `oracle.mmse` as its
    `bound=`, record squared errors that are summed over the sample.

    An oracle has a `profile()`, so it can be the source of `info_grid`.

    Attributes:
        dim: d.
    """

    dim: int

    @property
    @abstractmethod
    def total_variance(self) -> float:
        """E|x0 - E x0|^2, the limit of mmse at large sigma."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw x0 [n, d], on the generator's device or else the CPU."""

    @abstractmethod
    def _denoise(self, y: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | y] for y [N, d] and sigma [N]."""

    @abstractmethod
    def _mmse(self, sigma: Tensor) -> Estimate:
        """For sigma [S]."""

    @abstractmethod
    def _entropy(self, sigma: Tensor) -> Estimate:
        """For sigma [S]."""

    def denoise(self, y: Tensor, sigma: Tensor | float) -> Tensor:
        """The exact denoiser E[x0 | y].

        Args:
            y: [..., d] noisy samples.
            sigma: noise levels, a number or a tensor that broadcasts to y's shape without d.

        Returns:
            Of y's shape.

        Raises:
            ValueError: shapes that do not fit, or a sigma that is not positive and finite.
        """
        if y.dim() == 0 or y.shape[-1] != self.dim:
            refuse("the shape of y", list(y.shape), f"[..., {self.dim}]")
        sigma = positive("sigma", sigma).to(y.device)
        try:
            sigma = sigma.expand(y.shape[:-1])
        except RuntimeError:
            refuse("the shape of sigma", list(sigma.shape), f"one that broadcasts to {list(y.shape[:-1])}")
        return self._denoise(y.double().reshape(-1, self.dim), sigma.reshape(-1)).view(y.shape)

    def score(self, y: Tensor, sigma: Tensor | float) -> Tensor:
        """Gradient of log p_sigma(y), (denoise - y) / sigma^2 (Tweedie); arguments as `denoise`."""
        square = positive("sigma", sigma).to(y.device).square()
        return (self.denoise(y, sigma) - y.double()) / square.unsqueeze(-1)

    def mmse(self, sigma: Tensor | float) -> Tensor:
        """E|x0 - denoise(y)|^2, summed over the dimensions.

        Args:
            sigma: positive and finite, any shape.

        Returns:
            Of sigma's shape.

        Raises:
            ValueError: sigma is not positive and finite.
        """
        return self.mmse_estimate(sigma).value

    def mmse_estimate(self, sigma: Tensor | float) -> Estimate:
        """`mmse` with its standard error: the class says where it is not 0."""
        value, error = _of_any_shape(self._mmse, sigma)
        return Estimate(value.clamp(min=0), error)  # rounding may have left a little less

    def entropy(self, sigma: Tensor | float) -> Tensor:
        """H(x0 | y) in nats, differential where x0 has a density; arguments as `mmse`."""
        return self.entropy_estimate(sigma).value

    def entropy_estimate(self, sigma: Tensor | float) -> Estimate:
        """`entropy` with its standard error: the class says where it is not 0."""
        return _of_any_shape(self._entropy, sigma)

    def entropy_rate(self, sigma: Tensor | float) -> Tensor:
        """dH / dsigma = mmse / sigma^3 (I-MMSE, arXiv 2602.18647, Eq. 11); arguments as `mmse`."""
        return self.mmse(sigma) / positive("sigma", sigma) ** 3

    def profile(
        self,
        sigma_min: float = InfoNoiseConfig.sigma_min,
        sigma_max: float | None = None,
        bins: int = 512,
    ) -> Profile:
        """What a schedule with as many bins, no gate, no floor and unit weight would learn from endless data.

        mmse is taken at the centres of the bins, and nothing is counted.

        Args:
            sigma_min: lower end of the range.
            sigma_max: upper end; None is a schedule's own, or higher, by factors of 4, until it hides all but a
                hundredth of the variance: in many dimensions whole modes stand out far above.
            bins: K.

        Raises:
            ValueError: a range or number of bins that `InfoNoise` would refuse.
        """
        top = InfoNoiseConfig.sigma_max if sigma_max is None else sigma_max
        while sigma_max is None and top < _HIGHEST and float(self.mmse(top)) < _HIDDEN * self.total_variance:
            top *= 4
        edges, sigma = edges_and_centres(InfoNoiseConfig(sigma_min=sigma_min, sigma_max=top, bins=bins))
        mmse, error = self.mmse_estimate(sigma)
        return Profile.from_mmse(edges, sigma, mmse, error, torch.zeros_like(sigma))


def _of_any_shape(estimate: Callable[[Tensor], Estimate], sigma: Tensor | float) -> Estimate:
    sigma = positive("sigma", sigma)
    value, error = estimate(sigma.reshape(-1)) if sigma.numel() else (sigma, sigma)
    return Estimate(value.view(sigma.shape), error.view(sigma.shape))


def without_error(value: Tensor) -> Estimate:
    """An estimate without an error."""
    return Estimate(value, torch.zeros_like(value))


def positive(name: str, value: Tensor | float) -> Tensor:
    """As a float64 tensor; ValueError unless every element is positive and finite."""
    value = torch.as_tensor(value, dtype=torch.float64)
    bad = ~((value > 0) & (value < math.inf))
    if bool(bad.any()):
        refuse(name, float(value[bad][0]), "positive and finite")
    return value


def device_of(generator: torch.Generator | None) -> torch.device:
    """Where a sample is drawn."""
    return torch.device("cpu") if generator is None else generator.device


def normal(n: int, dim: int, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers [n, d]."""
    return torch.randn(n, dim, generator=generator, dtype=torch.float64, device=device_of(generator))
