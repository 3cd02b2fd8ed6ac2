"""Gaussian mixtures on the line, by quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..curves.arguments import refuse
from .base import Estimate, Oracle, device_of, normal, positive, without_error
from .quadrature import panels

_CHUNK = 2**20


class _Posterior(NamedTuple):
    log_density: Tensor
    mean: Tensor
    variance: Tensor


class GaussianMixture(Oracle):
    """x0 ~ sum_k weight_k N(mean_k, std_k^2) on the line.

    mmse is the integral of p_sigma Var(x0 | y), and H = h(x0) + log(2 pi e sigma^2) / 2 - h(y), over
    panels that follow every component.

    Args:
        weights: K positive numbers, normalised by their sum.
        means: K finite numbers.
        stds: K positive numbers.

    Raises:
        ValueError: lengths that differ or are 0, or a value out of range.

    Source:
        The I-MMSE identity, InfoNoise (arXiv 2602.18647), Eq. 11, ties mmse to H; tests hold it.
    """

    dim = 1

    def __init__(self, weights: Sequence[float], means: Sequence[float], stds: Sequence[float]) -> None:
        weight, mean, std = (torch.as_tensor(x, dtype=torch.float64).cpu() for x in (weights, means, stds))
        if weight.dim() != 1 or not len(weight) or not weight.shape == mean.shape == std.shape:
            shapes = [list(x.shape) for x in (weight, mean, std)]
            refuse("the shapes of weights, means and stds", shapes, "[K] each, with K of at least 1")
        if not bool(mean.isfinite().all()):
            refuse("means", mean.tolist(), "finite")
        self._weight = positive("weights", weight) / weight.sum()
        self._mean, self._variance = mean, positive("stds", std).square()
        self._data_entropy = float(self._differential_entropy(torch.zeros(1, dtype=torch.float64)))

    @property
    def total_variance(self) -> float:
        centred = self._mean - (self._weight * self._mean).sum()
        return float((self._weight * (self._variance + centred.square())).sum())

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        device = device_of(generator)
        k = torch.multinomial(self._weight.to(device), n, replacement=True, generator=generator)
        mean, std = self._mean.to(device)[k], self._variance.sqrt().to(device)[k]
        return mean.unsqueeze(1) + std.unsqueeze(1) * normal(n, 1, generator)

    def _denoise(self, y: Tensor, sigma: Tensor) -> Tensor:
        return self._posterior(y, sigma.unsqueeze(1)).mean

    def _mmse(self, sigma: Tensor) -> Estimate:
        return without_error(self._integral(sigma, lambda at: at.variance))

    def _entropy(self, sigma: Tensor) -> Estimate:
        noise = 0.5 * math.log(2 * math.pi * math.e) + sigma.log()
        return without_error(self._data_entropy + noise - self._differential_entropy(sigma))

    def _differential_entropy(self, sigma: Tensor) -> Tensor:
        """h(y) in nats."""
        return self._integral(sigma, lambda at: -at.log_density)

    def _integral(self, sigma: Tensor, f: Callable[[_Posterior], Tensor]) -> Tensor:
        """The mean over y of f of the posterior, for sigma [S]."""
        mean, variance = self._mean.to(sigma.device), self._variance.to(sigma.device)
        values = []
        for part in sigma.split(max(1, _CHUNK // (500 * len(mean) ** 2))):
            y, weight = panels(mean, (variance + part.unsqueeze(1).square()).sqrt())
            at = self._posterior(y, part.unsqueeze(1))
            values.append((weight * at.log_density.exp() * f(at)).sum(1))
        return torch.cat(values)

    def _posterior(self, y: Tensor, sigma: Tensor) -> _Posterior:
        """Of y [S, Q] at sigma [S, 1]; sigma may be 0."""
        weight, mean, variance = (x.to(y.device) for x in (self._weight, self._mean, self._variance))
        square = sigma.square().unsqueeze(2)
        total = variance + square
        offset = y.unsqueeze(2) - mean
        log_joint = weight.log() - 0.5 * (offset.square() / total + (2 * math.pi * total).log())
        gain = variance / total
        component = mean + gain * offset
        share = log_joint.softmax(2)
        posterior_mean = (share * component).sum(2)
        spread = gain * square + (component - posterior_mean.unsqueeze(2)).square()
        return _Posterior(log_joint.logsumexp(2), posterior_mean, (share * spread).sum(2))
