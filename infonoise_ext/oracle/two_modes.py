"""Two points on the line, and two Gaussian modes in many dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..curves.arguments import number
from .base import Estimate, Oracle, device_of, positive, without_error
from .gaussian import Gaussian
from .quadrature import sign_entropy, sign_mmse

_BISECTIONS = 80


def _half_logit(p: float) -> float:
    return 0.5 * (math.log(p) - math.log1p(-p))


def _signs(n: int, p: float, generator: torch.Generator | None) -> Tensor:
    u = torch.rand(n, 1, generator=generator, dtype=torch.float64, device=device_of(generator))
    return torch.where(u < p, 1.0, -1.0).double()


class TwoPoint(Oracle):
    """x0 = 1 with probability p, else -1; the denoiser is tanh(y / sigma^2 + h), h = logit(p) / 2.

    mmse and entropy are one-dimensional quadratures.

    Args:
        p: probability of 1.

    Raises:
        ValueError: p is not inside (0, 1).

    Source:
        InfoNoise (arXiv 2602.18647), App. A.3.
    """

    dim = 1

    def __init__(self, p: float = 0.5) -> None:
        self.p = number("p", p, above=0, below=1)
        self.field = _half_logit(self.p)

    @property
    def total_variance(self) -> float:
        return 4 * self.p * (1 - self.p)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return _signs(n, self.p, generator)

    def _denoise(self, y: Tensor, sigma: Tensor) -> Tensor:
        return (y / sigma.square().unsqueeze(1) + self.field).tanh()

    def _mmse(self, sigma: Tensor) -> Estimate:
        return without_error(sign_mmse(sigma**-2, self.p))

    def _entropy(self, sigma: Tensor) -> Estimate:
        return without_error(sign_entropy(sigma**-2, self.p))

    def fixed_points(self, sigma: Tensor | float) -> Tensor:
        """Solutions of y = denoise(y, sigma): where the probability flow stands still.

        For p = 1/2 a pitchfork: y = 0 alone for sigma >= 1, two stable branches around it below. For
        another p the branch on the likelier side is always there, the other two below some sigma < 1.

        Args:
            sigma: positive and finite, any shape.

        Returns:
            [*sigma.shape, 3], ascending: stable, unstable, stable; NaN where there is none. At p = 1/2
            and sigma >= 1 the only one is in the middle.
        """
        sigma = positive("sigma", sigma).unsqueeze(-1)
        square = sigma.square()
        # tanh(y / sigma^2 + h) - y turns where its slope is 0: y = sigma^2 (+-arcosh(1 / sigma) - h).
        turn = sigma.reciprocal().clamp(min=1).acosh()
        turns = (square * (torch.cat((-turn, turn), -1) - self.field)).clamp(-1, 1)
        left, right = self._excess(turns, square).unbind(-1)
        exists = torch.stack((left < 0, (left <= 0) & (right >= 0), right > 0), -1)
        one = torch.ones_like(sigma)
        ends = torch.cat((-one, turns, one), -1)
        return torch.where(exists, self._bisect(ends[..., :-1], ends[..., 1:], square), torch.nan)

    def _excess(self, y: Tensor, square: Tensor) -> Tensor:
        return (y / square + self.field).tanh() - y

    def _bisect(self, low: Tensor, high: Tensor, square: Tensor) -> Tensor:
        """Roots of the excess in three neighbouring brackets; it falls in the outer two and rises between."""
        rises = torch.tensor([False, True, False], device=low.device)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            is_below = (self._excess(middle, square) > 0) ^ rises
            low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
        return (low + high) / 2


class TwoModes(Oracle):
    """x0 = e m (1, ..., 1) + std N(0, I) with e = 1 with probability p, else -1.

    Given y the sign has the log-odds 2 L, L = m sum(y) / V + logit(p) / 2, V = std^2 + sigma^2, and the
    denoiser is (std^2 y + sigma^2 m tanh L) / V. L is a sign's channel of signal-to-noise ratio
    d m^2 / V, so mmse and entropy are one-dimensional quadratures in any dimension. The modes
    separate at sigma ~ sqrt(d) m, where they carry at most log 2 of an entropy that is of order d.

    Where the modes overlap, x0 itself does not tell its mode, and H(x0 | y) is the entropy of x0 and mode
    less H(mode | x0), which does not depend on sigma.

    Args:
        dim: d.
        p: probability of the mode at +m.
        std: standard deviation of a coordinate within a mode.
        m: every coordinate of the mode's mean.

    Raises:
        ValueError: dim is not an integer of at least 1, p not inside (0, 1), or std or m not a finite
            number above 0.

    Source:
        Aranguri, Biroli, Mezard and Vanden-Eijnden (arXiv 2501.00988), Gaussian mixture.
    """

    def __init__(self, dim: int, p: float = 0.8, std: float = 0.5, m: float = 1.0) -> None:
        self._within = Gaussian(dim, std)
        self.dim, self.std = self._within.dim, self._within.std
        self.p, self.m = number("p", p, above=0, below=1), number("m", m, above=0)
        self.field = _half_logit(self.p)
        self._untold = float(sign_entropy(self._snr(torch.zeros(1, dtype=torch.float64)), self.p))

    @property
    def total_variance(self) -> float:
        return self._within.total_variance + 4 * self.p * (1 - self.p) * self.dim * self.m**2

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.m * _signs(n, self.p, generator) + self._within.sample(n, generator)

    def _denoise(self, y: Tensor, sigma: Tensor) -> Tensor:
        shrink = self._shrink(sigma).unsqueeze(1)
        variance = (self.std**2 + sigma.square()).unsqueeze(1)
        sign = (self.m * y.sum(1, keepdim=True) / variance + self.field).tanh()
        return self._within._denoise(y, sigma) + shrink * self.m * sign

    def _shrink(self, sigma: Tensor) -> Tensor:
        """sigma^2 / V."""
        return 1 / (1 + (self.std / sigma).square())

    def _snr(self, sigma: Tensor) -> Tensor:
        return self.dim * self.m**2 / (self.std**2 + sigma.square())

    def mmse_parts(self, sigma: Tensor | float) -> tuple[Tensor, Tensor]:
        """What `mmse` is the sum of: the place within a mode, and the mode; arguments and shapes as `mmse`."""
        sigma = positive("sigma", sigma)
        mode = self.dim * (self.m * self._shrink(sigma)).square() * sign_mmse(self._snr(sigma), self.p)
        return self._within.mmse(sigma), mode

    def _mmse(self, sigma: Tensor) -> Estimate:
        within, mode = self.mmse_parts(sigma)
        return without_error(within + mode)

    def _entropy(self, sigma: Tensor) -> Estimate:
        mode = sign_entropy(self._snr(sigma), self.p) - self._untold
        return without_error(self._within._entropy(sigma).value + mode)
