"""The arms, and their training: equal in everything but the noise levels."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import infonoise_ext as inx
from infonoise_ext.oracle import TwoModes

from .model import Denoisers

SIGMA_MIN, TOP = 0.002, 10.0  # every range goes from SIGMA_MIN to TOP sqrt(d)
BATCH = 128
LEARNING_RATE = 2e-3

Build = Callable[[TwoModes, Callable, int], Any]


def infonoise(**options: Any) -> Build:
    def build(model: TwoModes, weight: Callable, seed: int) -> inx.InfoNoise:
        top = TOP * math.sqrt(model.dim)
        return inx.InfoNoise(SIGMA_MIN, top, weight=weight, seed=seed, **options)

    return build


def log_normal(model: TwoModes, weight: Callable, seed: int) -> inx.LogNormal:
    """EDM's."""
    return inx.LogNormal(-1.2, 1.2, weight=weight)


def shifted(model: TwoModes, weight: Callable, seed: int) -> inx.LogNormal:
    """EDM's, with sigma multiplied by sqrt(d): SD3's shift for resolution (arXiv 2403.03206, Eq. 23) from d = 1."""
    return inx.LogNormal(-1.2 + 0.5 * math.log(model.dim), 1.2, weight=weight)


def log_uniform(model: TwoModes, weight: Callable, seed: int) -> inx.LogUniform:
    """On the whole range."""
    return inx.LogUniform(SIGMA_MIN, TOP * math.sqrt(model.dim), weight=weight)


LEARNED: dict[str, Build] = {
    "entropy": infonoise(),
    "entropy, no gate": infonoise(pivot=0),
    "rescaled": infonoise(signal="rescaled"),
    "mmse": infonoise(signal="mmse"),
    "length": infonoise(signal="length"),
}
FIXED: dict[str, Build] = {"EDM": log_normal, "EDM, times sqrt(d)": shifted, "log-uniform": log_uniform}
ARMS = LEARNED | FIXED


def settled(model: TwoModes, build: Build) -> Any:
    """The schedule once its rings hold the exact mmse: where endless training of a perfect network would end."""
    schedule = build(model, inx.EDMWeight(root_mean_square(model)), 0)
    if not isinstance(schedule, inx.InfoNoise):
        return schedule
    sigma = schedule.state.row("sigma").repeat(schedule.config.min_count)
    schedule.observe(sigma, model.mmse(sigma))
    schedule.refresh()
    return schedule


def root_mean_square(model: TwoModes) -> float:
    """Of a coordinate of the data, which is not centred."""
    return math.sqrt(model.m**2 + model.std**2)


def train(
    model: TwoModes,
    builds: Sequence[Build],
    steps: int,
    seed: int,
    weight: Callable | None = None,
    progress: Callable[[], object] = lambda: None,
) -> tuple[Denoisers, list[Any], Tensor]:
    """Train a denoiser under each schedule, on fresh samples; the learning rate falls linearly to 0.

    All arms see the same samples and the same noise, and start equal.

    Args:
        model: the data.
        builds: what makes each arm's schedule.
        steps: optimizer steps.
        seed: of everything.
        weight: loss weight; None is EDM's.
        progress: called after every step.

    Returns:
        The denoisers, the schedules, and all noise levels [arms, steps * BATCH].
    """
    torch.manual_seed(seed)
    weight = inx.EDMWeight(root_mean_square(model)) if weight is None else weight
    net = Denoisers(len(builds), model.dim, root_mean_square(model))
    schedules = [build(model, weight, seed) for build in builds]
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    generator = torch.Generator().manual_seed(1000 + seed)
    sigma = torch.stack([schedule.sample(BATCH) for schedule in schedules])  # [arms, BATCH]
    levels = []
    for _ in range(steps):
        levels.append(sigma)
        clean = model.sample(BATCH, generator).float()
        noise = torch.randn(clean.shape, generator=generator)
        error = (net(clean + sigma.unsqueeze(2) * noise, sigma) - clean).square().sum(2)  # unweighted
        loss = (weight(sigma) * error).mean(1).sum() / model.dim
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        decay.step()
        rows = zip(schedules, sigma, error.detach(), strict=True)
        sigma = torch.stack([schedule.advance(level, square) for schedule, level, square in rows])
        progress()
    return net, schedules, torch.cat(levels, 1)
