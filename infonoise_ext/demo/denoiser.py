"""A small denoiser for one-hot codes, and a deterministic sampler for it."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Residual block: normalise, shift by the noise level, two linear maps."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.level = nn.Linear(embedding, width)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """The stream [n, width] after this block."""
        inner = self.first(self.norm(hidden)) + self.level(embedding)
        change: Tensor = self.second(nn.functional.silu(inner))
        return hidden + change


class PosteriorMLP(nn.Module):
    """Posterior mean of +-1 one-hot codes under Gaussian noise.

    The noisy code of a letter adds exactly 2 x / sigma^2 to its logits; the network F adds what the other
    positions say: D = 2 softmax(2 x / sigma^2 + F) - 1. F starts at zero, which is the exact answer for
    uniform independent letters. It sees that answer's letter probabilities q, centred and rescaled,
    (q - 1/4) sqrt(1 + sigma^2), and an embedding of log sigma.

    Args:
        dim: elements of a coded sequence (4 per letter).
        hidden: width of the residual stream.
        blocks: number of residual blocks.
        embedding: width of the embedding of log sigma.
    """

    frequency: Tensor

    def __init__(self, dim: int = 128, hidden: int = 192, blocks: int = 2, embedding: int = 128) -> None:
        super().__init__()
        self.register_buffer("frequency", torch.linspace(0.25, 4.0, 16) * math.pi / 4, persistent=False)
        self.embed = nn.Sequential(nn.Linear(32, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        self.enter = nn.Linear(dim, hidden)
        self.blocks = nn.ModuleList(Block(hidden, embedding) for _ in range(blocks))
        self.norm = nn.LayerNorm(hidden)
        self.leave = nn.Linear(hidden, dim)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoised codes [n, dim] of noisy codes x [n, dim] at noise levels sigma [n]."""
        angle = sigma.log().unsqueeze(1) * self.frequency
        embedding = self.embed(torch.cat([angle.cos(), angle.sin()], dim=1))
        square = sigma.square().unsqueeze(1)
        logits = 2 * x / square
        hidden = self.enter((_letter_softmax(logits) - 0.25) * (1 + square).sqrt())
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return 2 * _letter_softmax(logits + self.leave(self.norm(hidden))) - 1


def _letter_softmax(logits: Tensor) -> Tensor:
    return logits.reshape(len(logits), -1, 4).softmax(-1).flatten(1)


@torch.no_grad()
def heun_samples(
    net: nn.Module,
    n: int,
    generator: torch.Generator,
    dim: int = 128,
    steps: int = 18,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
) -> Tensor:
    """n samples [n, dim] from the probability-flow ODE by Heun's method on the rho = 7 grid."""
    ramp = torch.linspace(sigma_max ** (1 / 7), sigma_min ** (1 / 7), steps, dtype=torch.float64) ** 7
    grid = [*ramp.tolist(), 0.0]
    x = sigma_max * torch.randn(n, dim, generator=generator)
    for now, after in pairwise(grid):
        slope = (x - net(x, x.new_full((n,), now))) / now
        guess = x + (after - now) * slope
        if after > 0:
            slope = (slope + (guess - net(guess, x.new_full((n,), after))) / after) / 2
        x = x + (after - now) * slope
    return x
