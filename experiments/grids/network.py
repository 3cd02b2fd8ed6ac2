"""A small denoiser for flat samples, and its training."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import infonoise_ext as inx
from infonoise_ext.demo.denoiser import Block, PosteriorMLP
from infonoise_ext.demo.train import moving_average, train_step

from .data import DataSet

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
BATCH, LEARNING_RATE = 128, 1e-3
# A warm-up that outlasts the training leaves the log-normal prior in place, with 10% of log-uniform.
RECIPES: dict = {"infonoise": {}, "edm": {"warmup": 10**9}}


class ResidualMLP(nn.Module):
    """EDM's preconditioning (arXiv 2206.00364, Table 1) around residual blocks.

    Args:
        mean: [d], taken off the input and put back.
        std: of the centred data, sigma_data.
        hidden: width of the residual stream.
        blocks: number of residual blocks.
    """

    frequency: Tensor
    mean: Tensor

    def __init__(self, mean: Tensor, std: float, hidden: int = 128, blocks: int = 2, embedding: int = 64) -> None:
        super().__init__()
        self.std = std
        self.register_buffer("mean", mean)
        self.register_buffer("frequency", torch.linspace(0.25, 4.0, 16) * torch.pi / 4)
        self.embed = nn.Sequential(nn.Linear(32, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        self.enter = nn.Linear(len(mean), hidden)
        self.blocks = nn.ModuleList(Block(hidden, embedding) for _ in range(blocks))
        self.norm = nn.LayerNorm(hidden)
        self.leave = nn.Linear(hidden, len(mean))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        """Denoised samples [n, d] of y [n, d] at noise levels sigma [n]."""
        angle = sigma.log().unsqueeze(1) * self.frequency
        embedding = self.embed(torch.cat([angle.cos(), angle.sin()], dim=1))
        centred, total = y - self.mean, (sigma.square() + self.std**2).unsqueeze(1)
        hidden = self.enter(centred / total.sqrt())
        for block in self.blocks:
            hidden = block(hidden, embedding)
        out = self.leave(self.norm(hidden)) * sigma.unsqueeze(1) * self.std / total.sqrt()
        return self.mean + centred * self.std**2 / total + out


def train(data: DataSet, steps: int, seed: int, recipe: str = "infonoise") -> tuple[nn.Module, inx.InfoNoise]:
    """A network of averaged weights, and the schedule that watched its training.

    Recipe "infonoise" draws noise levels from that schedule, with its defaults; "edm" from EDM's log-normal.
    """
    torch.manual_seed(seed)
    weight = None if data.grammar else inx.EDMWeight(data.std)
    schedule = inx.InfoNoise(SIGMA_MIN, SIGMA_MAX, weight=weight, seed=seed, **RECIPES[recipe])
    net = PosteriorMLP(data.dim, hidden=128, embedding=64) if data.grammar else ResidualMLP(data.mean, data.std)
    averaged = AveragedModel(net, avg_fn=moving_average)
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, fused=True)
    generator = torch.Generator().manual_seed(1000 + seed)
    for _ in range(steps):
        clean = data.train[torch.randint(len(data.train), (BATCH,), generator=generator)]
        train_step(net, optimizer, schedule, clean, torch.randn(clean.shape, generator=generator))
        averaged.update_parameters(net)
    return averaged.module.eval().requires_grad_(False), schedule
