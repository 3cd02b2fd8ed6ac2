"""The quality of a denoiser in one number, on held-out samples under fixed noise; lower is better.

A bound is a mean over few samples: another held-out set moves differences of text by as much as a rule does, unless
it is large. So every seed of a run has a set of its own, and the error over seeds includes it.
"""

import torch
from torch import Tensor, nn

from infonoise_ext.demo.bound import entropy_bound, log_grid

from .data import Bits, Text
from .mixture import STD, Mixture
from .vectors import Vectors

CHUNK = 512


class HeldOut:
    """Clean samples, noise levels and noisy samples: `samples` of them at each of `bins` levels.

    Args:
        draw: (n, generator) -> [n, d] clean samples.
        low: lowest noise level.
        high: highest.
        seed: of samples and noise.
    """

    def __init__(self, draw, low: float, high: float, bins: int, samples: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(12345 + seed)
        self.sigma, self.width = log_grid(low, high, bins)
        self.clean = draw(bins * samples, generator)
        self.level = self.sigma.float().repeat_interleave(samples)
        self.noisy = self.clean + self.level.unsqueeze(1) * torch.randn(self.clean.shape, generator=generator)

    @torch.no_grad()
    def denoised(self, net: nn.Module) -> Tensor:
        pairs = zip(self.noisy.split(CHUNK), self.level.split(CHUNK), strict=True)
        return torch.cat([net(*pair) for pair in pairs])

    def per_level(self, difference: Tensor) -> Tensor:
        """Mean over samples of the squared difference, summed over elements: [bins] float64."""
        return difference.double().square().sum(1).view(len(self.sigma), -1).mean(1)


class EntropyBound:
    """Upper bound on the entropy of codes, nats a symbol: integral of mse / sigma^3.

    At each level the better of the network and of independent symbols counts. Above `high` an error hardly differs
    from the variance, which stands for it.
    """

    def __init__(
        self, data: Text | Bits, low: float, high: float, bins: int = 16, samples: int = 256, seed: int = 0
    ) -> None:
        self.data, self.held_out = data, HeldOut(data.judge, low, high, bins, samples, seed)
        self.known = self._error(data.independent)

    def _error(self, net) -> Tensor:
        return self.held_out.per_level(self.held_out.denoised(net) - self.held_out.clean)

    def __call__(self, net: nn.Module) -> float:
        error = torch.minimum(self._error(net), self.known)
        nats = entropy_bound(self.held_out.sigma, error, self.held_out.width, self.data.variance)
        return nats / self.data.length


class ExcessError:
    """Integral over log sigma of E|D - D*|^2 under EDM's weight, per element, D* being the exact denoiser.

    Under that weight the error is the one of EDM's network output, whose target has unit variance.
    """

    def __init__(self, data: Mixture, low: float = 0.02, high: float = 12.0, bins: int = 24, samples: int = 400):
        self.held_out = HeldOut(data.sample, low, high, bins, samples, seed=0)
        self.exact = self.held_out.denoised(data.denoise)
        square = self.held_out.sigma.square()
        self.weight = (square + STD**2) / (square * STD**2)

    def __call__(self, net: nn.Module) -> float:
        excess = self.held_out.per_level(self.held_out.denoised(net) - self.exact) / self.exact.shape[1]
        return float((self.weight * excess).sum()) * self.held_out.width


class WeightedError:
    """Integral over log sigma of the squared error under EDM's weight, per element: what can be learned, and what not.

    The levels are those of `ExcessError` in units of the data's standard deviation.
    """

    def __init__(self, data: Vectors, bins: int = 24, samples: int = 400, seed: int = 0) -> None:
        self.held_out = HeldOut(data.judge, 0.04 * data.std, 24 * data.std, bins, samples, seed)
        square = self.held_out.sigma.square()
        self.weight = (square + data.std**2) / (square * data.std**2)

    def __call__(self, net: nn.Module) -> float:
        clean = self.held_out.clean
        error = self.held_out.per_level(self.held_out.denoised(net) - clean) / clean.shape[1]
        return float((self.weight * error).sum()) * self.held_out.width
