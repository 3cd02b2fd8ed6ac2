"""The five training noise schedules that the demo compares, behind one protocol."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

import infonoise_ext as inx

from ..curves.density import Schedule
from ..curves.weights import Weight

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
SIGMA_DATA = 0.866  # of one-hot codes of 4 letters, sqrt(3) / 2


def likelihood_weight(sigma: Tensor) -> Tensor:
    """min(1 / sigma^2, 1000), [n]."""
    return sigma.square().reciprocal().clamp(max=1e3)


class SecondMoment(Schedule):
    """Importance sampling by the second moment of the recent losses, after Nichol and Dhariwal (2021).

    The base objective is w(sigma) * error under a log-uniform sigma. A bin of log sigma is drawn with probability p
    proportional to the root mean square of its last losses and weighted by 1 / p, so that the expected gradient is
    that of the base objective.
    Log-uniform until every bin has filled its history.

    Args:
        bins: equal bins of log sigma.
        history: losses kept per bin.
        uniform: share of the probability that stays uniform.
        sigma_min: lowest noise level.
        sigma_max: highest noise level.
        base: w, a callable sigma -> w; None is min(1 / sigma^2, 1000), the likelihood weight, clipped.
    """

    def __init__(
        self,
        bins: int = 100,
        history: int = 100,
        uniform: float = 0.001,
        sigma_min: float = SIGMA_MIN,
        sigma_max: float = SIGMA_MAX,
        base: Weight | None = None,
    ) -> None:
        self.weight = self.corrected_weight
        self.base_weight = likelihood_weight if base is None else base
        self.sigma_min, self.width = sigma_min, math.log(sigma_max / sigma_min) / bins
        self.losses = torch.zeros(bins, history, dtype=torch.float64)
        self.count = torch.zeros(bins, dtype=torch.long)
        self.uniform = uniform
        self.probability = torch.full((bins,), 1 / bins, dtype=torch.float64)

    def bins(self, sigma: Tensor) -> Tensor:
        """Index of the bin of each sigma, [n]."""
        position = (sigma.double() / self.sigma_min).log() / self.width
        return position.long().clamp(0, len(self.count) - 1)

    def corrected_weight(self, sigma: Tensor) -> Tensor:
        """The base weight times base probability over sampling probability, [n]."""
        ratio = self.probability * len(self.probability)
        return self.base_weight(sigma) / ratio[self.bins(sigma)].float()

    def observe(
        self,
        sigma: Tensor,
        error: Tensor,
        mask: Tensor | None = None,
        group: Tensor | None = None,
        *,
        shift: Tensor | float | None = None,
    ) -> None:
        """Append each loss to its bin's ring, in the order of the batch."""
        losses = (self.base_weight(sigma) * error.detach()).tolist()
        for index, loss in zip(self.bins(sigma).tolist(), losses, strict=True):
            self.losses[index, self.count[index] % self.losses.shape[1]] = loss
            self.count[index] += 1

    def step(self) -> None:
        """Renew the probability."""
        if self.count.min() < self.losses.shape[1]:
            return
        root = self.losses.square().mean(1).sqrt()
        share = root / root.sum()
        self.probability = (1 - self.uniform) * share + self.uniform / len(share)

    def table(self, group: int = 0) -> inx.Density:
        """The current probability of the bins."""
        edges = self.sigma_min * (self.width * torch.arange(len(self.count) + 1, dtype=torch.float64)).exp()
        return inx.Table.from_mass(edges, self.probability)


class Arm(NamedTuple):
    """One row of the table: its label, and its schedule from a seed."""

    label: str
    build: Callable[[int], Schedule]


def infonoise(seed: int) -> Schedule:
    """InfoNoise with the library's defaults, on the plain squared error."""
    return inx.InfoNoise(SIGMA_MIN, SIGMA_MAX, seed=seed)


def edm(seed: int) -> Schedule:
    """EDM's training recipe: ln sigma from a normal(-1.2, 1.2), EDM's weight for the data's standard deviation.

    The codes are not rescaled to the standard deviation of 0.5 for which -1.2 was chosen. With the mean shifted as
    if they were, the recipe ends 4000 steps at a gap of 1.65 instead of 1.90 nats (mean of 3 seeds).
    """
    return inx.LogNormal(-1.2, 1.2, weight=inx.EDMWeight(SIGMA_DATA))


def oracle(seed: int) -> Schedule:
    """The log-normal whose mean and standard deviation of ln sigma are those of the exact entropy rate.

    Nobody knows them beforehand: an optimistic stand-in for a log-normal fitted by hand.
    """
    return inx.LogNormal(0.39, 0.66)


ARMS: dict[str, Arm] = {
    "infonoise": Arm("InfoNoise", infonoise),
    "edm": Arm("EDM recipe", edm),
    "loguniform": Arm("log-uniform", lambda seed: inx.LogUniform(SIGMA_MIN, SIGMA_MAX)),
    "oracle": Arm("log-normal, oracle fit", oracle),
    "moment": Arm("loss second moment", lambda seed: SecondMoment()),
}
FIXED = ("edm", "loguniform", "oracle")
