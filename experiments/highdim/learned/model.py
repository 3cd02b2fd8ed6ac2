"""Small denoisers for two modes in d dimensions, several side by side in one module."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu


class Linears(nn.Module):
    """`arms` linear maps with parameters of their own that start equal: x [arms, n, inner] to [arms, n, outer]."""

    def __init__(self, arms: int, inner: int, outer: int, *, zero: bool = False) -> None:
        super().__init__()
        start = nn.Linear(inner, outer)
        weight, bias = start.weight.detach().t(), start.bias.detach().unsqueeze(0)
        self.weight = nn.Parameter(weight.mul(not zero).repeat(arms, 1, 1))
        self.bias = nn.Parameter(bias.mul(not zero).repeat(arms, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class Block(nn.Module):
    """Residual block: a linear map, scaled and shifted by the noise level, SiLU, a linear map."""

    def __init__(self, arms: int, width: int, embedding: int) -> None:
        super().__init__()
        self.level = Linears(arms, embedding, 2 * width)
        self.first = Linears(arms, width, width)
        self.second = Linears(arms, width, width)

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.level(embedding).chunk(2, 2)
        return hidden + self.second(silu(self.first(hidden) * (1 + scale) + shift))


class Denoisers(nn.Module):
    """For each arm D = c_skip y + c_out F(c_in y, sigma) with F(x) = gain(sigma) x + leave(blocks(enter(x))).

    The exact denoiser of two modes is an isotropic gain of y plus mu times a function of mu . y and sigma. The gain,
    one number for each coordinate and noise level, stands for the first part, which no network narrower than d
    can hold otherwise; the residual network of rank `hidden` has to find the direction mu and the odds.

    The arms share no parameter and start equal, and Adam treats each number by itself: trained on the sum of their
    losses, they are as many separate runs.

    Args:
        arms: how many.
        dim: d.
        sigma_data: root mean square of a coordinate of the data, for EDM's preconditioning (arXiv 2206.00364, Table 1).
        hidden: width of the residual stream.
        blocks: number of residual blocks.
        embedding: width of the embedding of log sigma.
    """

    frequency: Tensor

    def __init__(
        self, arms: int, dim: int, sigma_data: float, hidden: int = 32, blocks: int = 2, embedding: int = 64
    ) -> None:
        super().__init__()
        self.variance = sigma_data**2
        self.register_buffer("frequency", torch.linspace(0.25, 2.0, 8) * math.pi / 4, persistent=False)
        self.embed = nn.ModuleList((Linears(arms, 16, embedding), Linears(arms, embedding, embedding)))
        self.gain = Linears(arms, embedding, dim, zero=True)
        self.enter = Linears(arms, dim, hidden)
        self.blocks = nn.ModuleList(Block(arms, hidden, embedding) for _ in range(blocks))
        self.leave = Linears(arms, hidden, dim, zero=True)

    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        """Denoised samples [arms, n, d] of noisy ones y, for sigma [arms, n], or [arms] for one level an arm."""
        sigma = sigma.view(len(sigma), -1, 1)
        angle = sigma.log() * self.frequency
        embedding = torch.cat((angle.cos(), angle.sin()), 2)
        for layer in self.embed:
            embedding = silu(layer(embedding))
        total = sigma.square() + self.variance
        c_in, c_skip, c_out = total.rsqrt(), self.variance / total, sigma * (self.variance / total).sqrt()
        hidden = self.enter(c_in * y)
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return (c_skip + c_out * c_in * self.gain(embedding)) * y + c_out * self.leave(hidden)
