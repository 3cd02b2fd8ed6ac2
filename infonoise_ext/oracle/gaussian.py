"""Isotropic Gaussian data: closed forms."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..curves.arguments import number, whole
from ..curves.bounds import GaussianBound
from .base import Estimate, Oracle, normal, without_error


class Gaussian(Oracle):
    """x0 ~ N(0, std^2 I): mmse = d std^2 sigma^2 / (std^2 + sigma^2), H = (d / 2) log(2 pi e mmse / d).

    Args:
        dim: d.
        std: standard deviation of a coordinate.

    Raises:
        ValueError: dim is not an integer of at least 1, or std not a finite number above 0.

    Source:
        Guo, Shamai and Verdu (arXiv cs/0412108), Gaussian input.
    """

    def __init__(self, dim: int, std: float = 1.0) -> None:
        self.dim = whole("dim", dim, least=1)
        self.std = number("std", std, above=0)
        self._coordinate_mmse = GaussianBound(self.std)

    @property
    def total_variance(self) -> float:
        return self.dim * self.std**2

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.std * normal(n, self.dim, generator)

    def _denoise(self, y: Tensor, sigma: Tensor) -> Tensor:
        return y / (1 + (sigma / self.std).square()).unsqueeze(1)

    def _mmse(self, sigma: Tensor) -> Estimate:
        return without_error(self.dim * self._coordinate_mmse(sigma))

    def _entropy(self, sigma: Tensor) -> Estimate:
        return without_error(0.5 * self.dim * (2 * math.pi * math.e * self._coordinate_mmse(sigma)).log())
