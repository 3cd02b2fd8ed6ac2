"""What both exact models share: one number of the noise decides the mode, and by a monotone map."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from infonoise_ext.interpolant import Interpolant, sample_ode

LARGE = 1e12  # a noise level that is as good as infinite
_REACH, _POINTS, _ROUNDS = 9.0, 9, 7  # the border between the modes is found to 18 / 8^7 = 9e-6


class Model(ABC):
    """Data in d dimensions whose sampler is known on states [B, S] far smaller than d.

    Attributes:
        d: dimension.
        p: weight of the upper mode.
        spread: scale of the lower window of sigma.
        mean: mean of the data, as a state.
        typical: noises [T] over which what happens within a mode is averaged.
        most_steps: where a search gives up.
    """

    d: int
    p: float
    spread: float
    mean: Tensor
    typical: Tensor
    most_steps: int

    @abstractmethod
    def noise(self, z: Tensor) -> Tensor:
        """States [B, S] of standard normal noise whose projection on the modes' axis is z [B]."""

    @abstractmethod
    def denoise(self, y: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | y] for states y [B, S] and sigma [B]."""

    @abstractmethod
    def side(self, y: Tensor) -> Tensor:
        """[B], above 0 in the upper mode."""

    @abstractmethod
    def ratios(self, y: Tensor) -> Tensor:
        """[B, R]: what a sampler should get right within a mode, over its exact value."""

    @abstractmethod
    def mmse(self, sigma: Tensor) -> Tensor:
        """Summed over the dimensions [n], for sigma [n] in (0, inf]."""

    def end_points(
        self, z: Tensor, grid: Tensor, method: str, interpolant: Interpolant | None = None, centred: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Where the noises z [B] end: the side [B] and the ratios [B, R]."""
        mean = self.mean if centred else torch.zeros_like(self.mean)
        y = sample_ode(self.denoise, self.noise(z), grid, method, interpolant, mean)
        return self.side(y), self.ratios(y)

    def sampled(
        self, grid: Tensor, method: str = "euler", interpolant: Interpolant | None = None, centred: bool = True
    ) -> tuple[float, ...]:
        """The sampler's weight of the upper mode, by the noise that ends between the modes, and its mean ratios."""
        low, high = -_REACH, _REACH
        for _ in range(_ROUNDS):
            z = torch.linspace(low, high, _POINTS, dtype=torch.float64)
            ends, _ = self.end_points(z, grid, method, interpolant, centred)
            k = int((ends <= 0).sum().clamp(1, _POINTS - 1))
            low, high = z[k - 1].item(), z[k].item()
        _, ratios = self.end_points(self.typical, grid, method, interpolant, centred)
        return 0.5 * math.erfc(low / math.sqrt(2)), *ratios.mean(0).tolist()
