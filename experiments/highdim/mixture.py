"""Two Gaussian modes in d dimensions, reduced to the two numbers that its exact sampler moves.

x0 = e mu + s xi with P(e = 1) = p and |mu|^2 = m^2 d (arXiv 2501.00988). The ODE moves the coordinate
along mu by a monotone one-dimensional map, and all others by one gain: a state [B, 2] holds both, so
that `sample_ode` runs on it as on the d-dimensional samples, without Monte Carlo.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from infonoise_ext import oracle

from .model import LARGE, Model


@dataclass(frozen=True)
class Mixture(Model):
    d: int
    p: float = 0.8
    s: float = 0.5
    m: float = 1.0

    typical = torch.zeros(1, dtype=torch.float64)

    @cached_property
    def oracle(self) -> oracle.TwoModes:
        return oracle.TwoModes(self.d, self.p, self.s, self.m)

    @property
    def spread(self) -> float:
        return self.s

    @property
    def most_steps(self) -> int:
        return max(1024, 32 * math.isqrt(self.d))

    @property
    def mean(self) -> Tensor:
        return torch.tensor([(2 * self.p - 1) * self.m * math.sqrt(self.d), 0.0], dtype=torch.float64)

    def noise(self, z: Tensor) -> Tensor:
        return torch.stack((z, torch.ones_like(z)), 1)

    def denoise(self, y: Tensor, sigma: Tensor) -> Tensor:
        variance = sigma.square() + self.s**2
        own = self.s**2 / variance
        mu = self.m * math.sqrt(self.d)
        mode = (1 - own) * mu * torch.tanh(y[:, 0] * mu / variance + self.oracle.field)
        return torch.stack((own * y[:, 0] + mode, own * y[:, 1]), 1)

    def side(self, y: Tensor) -> Tensor:
        return y[:, 0]

    def ratios(self, y: Tensor) -> Tensor:
        """Variance of a coordinate within a mode."""
        return (y[:, 1:] / self.s).square()

    def mmse_parts(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """mmse [n] of the place within a mode, and of the mode, for sigma [n] in (0, inf]."""
        return self.oracle.mmse_parts(sigma.clamp(max=LARGE))

    def mmse(self, sigma: Tensor) -> Tensor:
        return self.oracle.mmse(sigma.clamp(max=LARGE))
