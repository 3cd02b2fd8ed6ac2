"""Networks for codes whose output is a posterior mean: convolutions for text, an MLP for binary images.

The noisy code of a symbol says exactly what it says by itself; a network adds what the other symbols say, and starts
at 0, the exact answer for uniform independent symbols. DNA has the demo's `PosteriorMLP`, patches
`experiments.grids.network.ResidualMLP`.
"""

import torch
from torch import Tensor, nn

from infonoise_ext.demo.denoiser import Block


class Level(nn.Module):
    """Embedding of log sigma, [n] to [n, width]."""

    frequency: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequency", torch.linspace(0.25, 4.0, 16) * torch.pi / 4, persistent=False)
        self.embed = nn.Sequential(nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, sigma: Tensor) -> Tensor:
        angle = sigma.log().unsqueeze(1) * self.frequency
        return self.embed(torch.cat([angle.cos(), angle.sin()], dim=1))


class Convolution(nn.Module):
    """Residual block over [n, length, width]: normalise, convolve with gaps, shift by the level, mix."""

    def __init__(self, width: int, embedding: int, gap: int, kernel: int = 5) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.level = nn.Linear(embedding, width)
        self.first = nn.Linear(kernel * width, width)
        self.second = nn.Linear(width, width)
        self.shifts = [gap * (i - kernel // 2) for i in range(kernel)]

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        reach, length = self.shifts[-1], hidden.shape[1]
        padded = nn.functional.pad(self.norm(hidden), (0, 0, reach, reach))
        seen = torch.cat([padded[:, reach + shift : reach + shift + length] for shift in self.shifts], dim=2)
        inner = self.first(seen) + self.level(embedding).unsqueeze(1)
        return hidden + self.second(nn.functional.silu(inner))


class TextConvolutions(nn.Module):
    """Posterior mean 2 softmax(2 x / sigma^2 + F) - 1 of one-hot letters; F sees 14 letters on either side.

    Args:
        size: letters of the alphabet.
        width: of the residual stream.
        gaps: of each block's convolution.
    """

    def __init__(self, size: int, width: int = 80, gaps: tuple[int, ...] = (1, 2, 4), embedding: int = 64) -> None:
        super().__init__()
        self.size = size
        self.level = Level(embedding)
        self.enter = nn.Linear(size, width)
        self.blocks = nn.ModuleList(Convolution(width, embedding, gap) for gap in gaps)
        self.leave = _zero(nn.Linear(width, size))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoised codes [n, length * size] of noisy ones at noise levels sigma [n]."""
        return 2 * self.logits(x, sigma).softmax(2).flatten(1) - 1

    def logits(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Of each letter given the noisy codes: [n, length, size]."""
        return self.refined(2 * x.unflatten(1, (-1, self.size)) / sigma.square().view(-1, 1, 1), sigma)

    def refined(self, own: Tensor, sigma: Tensor) -> Tensor:
        """Logits [n, length, size] that a letter's code gives by itself, and what the other letters add."""
        embedding, scale = self.level(sigma), (self.size * (1 + sigma.square())).sqrt().view(-1, 1, 1)
        hidden = self.enter((own.softmax(2) - 1 / self.size) * scale)
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return own + self.leave(self.norm(hidden))


class BitsMLP(nn.Module):
    """Posterior mean tanh(x / sigma^2 + F) of bits that are -1 or 1.

    Args:
        dim: number of bits.
        width: of the residual stream.
    """

    def __init__(self, dim: int, width: int = 192, blocks: int = 2, embedding: int = 128) -> None:
        super().__init__()
        self.level = Level(embedding)
        self.enter = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(Block(width, embedding) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.leave = _zero(nn.Linear(width, dim))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoised bits [n, dim] of noisy ones at noise levels sigma [n]."""
        square = sigma.square().unsqueeze(1)
        own, embedding = x / square, self.level(sigma)
        hidden = self.enter(own.tanh() * (1 + square).sqrt())
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return (own + self.leave(self.norm(hidden))).tanh()


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
