"""The score of a denoiser in nats: its excess over the exact entropy of the data.

By I-MMSE, H(x0) = integral of mmse(sigma) / sigma^3 over sigma for discrete data, mmse being the squared error of
the posterior mean summed over the sample. Any other denoiser D in its place gives an upper bound on H(x0), and
the bound's excess is the integral of E|D - D*|^2 / sigma^3, D* being the posterior mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .dna import DNAGrammar

Denoiser = Callable[[Tensor, Tensor], Tensor]


def log_grid(sigma_min: float, sigma_max: float, bins: int) -> tuple[Tensor, float]:
    """Centres of `bins` equal bins of log sigma, [bins] float64, and their width."""
    width = math.log(sigma_max / sigma_min) / bins
    centre = math.log(sigma_min) + width * (torch.arange(bins, dtype=torch.float64) + 0.5)
    return centre.exp(), width


def entropy_bound(sigma: Tensor, mmse: Tensor, width: float, variance: float = 0.0) -> float:
    """Nats in a squared-error curve: integral of mmse / sigma^3 over sigma.

    Args:
        sigma: centres of equal bins of log sigma, [K].
        mmse: squared error summed over the sample's elements at each centre, [K].
        width: width of the bins.
        variance: squared error without any observation; gives the part above the last bin, where the curve
            is flat.
    """
    sigma = sigma.double()
    sigma_max = sigma[-1].item() * math.exp(width / 2)
    tail = variance / (2 * sigma_max**2)
    return (mmse.double() / sigma.square()).sum().item() * width + tail


class HeldOut:
    """Held-out sequences under fixed noise on a log grid of sigma, and the exact denoiser's answers.

    Below `sigma_min` = 0.1 rounding decodes every letter (error probability below 1e-22), so nothing is left
    to measure. Per sigma the better of the scored denoiser and the product-of-marginals denoiser counts.

    Args:
        grammar: the distribution.
        samples: sequences at each sigma, drawn afresh for each.
        bins: noise levels.
        seed: of sequences and noise.
    """

    def __init__(
        self,
        grammar: DNAGrammar,
        samples: int = 256,
        bins: int = 40,
        sigma_min: float = 0.1,
        sigma_max: float = 80.0,
        seed: int = 12345,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.sigma, self.width = log_grid(sigma_min, sigma_max, bins)
        self.clean = grammar.sample(bins * samples, generator)
        self.level = self.sigma.float().repeat_interleave(samples)
        noise = torch.randn(self.clean.shape, generator=generator)
        self.noisy = self.clean + self.level.unsqueeze(1) * noise
        self.exact = self._apply(grammar.posterior_mean).float()
        self.marginal_excess = self.excess(grammar.marginal_denoiser)
        self.variance = (4 * grammar.marginal * (1 - grammar.marginal)).sum().item()

    def excess(self, denoise: Denoiser) -> Tensor:
        """E|D - D*|^2 at each sigma, summed over the sample's elements: [bins] float64."""
        return self._per_level((self._apply(denoise) - self.exact).square())

    def gap(self, denoise: Denoiser) -> float:
        """Nats by which the bound of `denoise` exceeds the exact entropy."""
        excess = torch.minimum(self.excess(denoise), self.marginal_excess)
        return entropy_bound(self.sigma, excess, self.width)

    def bound(self, denoise: Denoiser) -> float:
        """The same bound from the squared errors alone, needing no exact denoiser, and noisier."""
        error = self._per_level((self._apply(denoise) - self.clean).square())
        return entropy_bound(self.sigma, error, self.width, self.variance)

    def exact_rate(self) -> Tensor:
        """mmse / sigma^2 of the exact denoiser, nats per unit of log sigma: [bins] float64."""
        return self._per_level((self.exact - self.clean).square()) / self.sigma.square()

    @torch.no_grad()
    def _apply(self, denoise: Denoiser, chunk: int = 1024) -> Tensor:
        pairs = zip(torch.split(self.noisy, chunk), torch.split(self.level, chunk), strict=True)
        return torch.cat([denoise(noisy, level) for noisy, level in pairs])

    def _per_level(self, square: Tensor) -> Tensor:
        return square.double().sum(1).view(len(self.sigma), -1).mean(1)
