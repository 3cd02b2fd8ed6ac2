"""One training run of the demo's denoiser under one schedule."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ..curves.density import Schedule
from .arms import ARMS, SIGMA_MAX, SIGMA_MIN
from .bound import HeldOut, log_grid
from .denoiser import PosteriorMLP, heun_samples
from .dna import DNAGrammar

BATCH = 128
LEARNING_RATE = 1e-3
EMA_DECAY = 0.999


def train_arm(
    name: str,
    steps: int,
    seed: int = 0,
    *,
    evaluations: int = 20,
    held_out: int = 256,
    generated: int = 1000,
    progress: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Train under the schedule called `name` and return its curves as plain numbers.

    Runs of one seed share initialisation, sequences and noise; runs of all seeds share the held-out noise.
    The process is set to one thread.

    Args:
        name: key of `ARMS`.
        steps: optimizer steps.
        seed: of initialisation, data, noise and schedule.
        evaluations: points of the learning curve.
        held_out: held-out sequences at each of 40 noise levels.
        generated: sequences generated at the end.
        progress: called after every step.

    Returns:
        Keys `step` and `gap` (nats above the exact entropy, of the averaged weights), `sigma`, `density`
        (per unit of log sigma, at the end), `sample_nll` (mean -log p of generated sequences, nats),
        `motif_rate`, `seconds`, and name, label, seed, steps.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    grammar = DNAGrammar()
    test = HeldOut(grammar, samples=held_out)
    net = PosteriorMLP(grammar.dim)
    averaged = AveragedModel(net, avg_fn=moving_average)
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
    data = torch.Generator().manual_seed(1000 + seed)
    noise = torch.Generator().manual_seed(2000 + seed)
    schedule = ARMS[name].build(seed)

    every = max(1, steps // evaluations)
    curve: dict[str, list[float]] = {"step": [], "gap": []}
    start = time.perf_counter()
    for step in range(1, steps + 1):
        clean = grammar.sample(BATCH, data)
        train_step(net, optimizer, schedule, clean, torch.randn(clean.shape, generator=noise))
        averaged.update_parameters(net)
        if step % every == 0 or step == steps:
            curve["step"].append(step)
            curve["gap"].append(test.gap(averaged))
        if progress is not None:
            progress()
    seconds = time.perf_counter() - start
    grid, _ = log_grid(SIGMA_MIN, SIGMA_MAX, 400)
    return {
        "name": name,
        "label": ARMS[name].label,
        "seed": seed,
        "steps": steps,
        **curve,
        "sigma": grid.tolist(),
        "density": (schedule.table().density(grid) * grid).tolist(),
        **score_samples(averaged, grammar, generated),
        "seconds": seconds,
    }


def moving_average(average: Tensor, current: Tensor, count: int | Tensor) -> Tensor:
    """Exponential average of decay 0.999; over about the last ninth of a run of less than 9000 steps."""
    return average.lerp(current, max(1 - EMA_DECAY, 9 / (10 + int(count))))


def train_step(
    net: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    clean: Tensor,
    noise: Tensor,
) -> None:
    """One optimizer step: the whole use of a schedule is its four calls here."""
    sigma = schedule.sample(len(clean))
    denoised = net(clean + sigma.unsqueeze(1) * noise, sigma)
    error = (denoised - clean).square().mean(1)  # [B], unweighted
    loss = (schedule.weight(sigma) * error).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    schedule.observe(sigma, error.detach())
    schedule.step()


def score_samples(net: torch.nn.Module, grammar: DNAGrammar, n: int, seed: int = 77) -> dict[str, float]:
    """Judge n generated sequences: exact mean -log p in nats, and the rate of recognisable motifs.

    A motif counts when its score is above the first percentile of true sequences, so the truth scores 0.99.
    """
    generator = torch.Generator().manual_seed(seed)
    threshold = grammar.motif_score(grammar.sample(20_000, generator)).quantile(0.01)
    x = heun_samples(net, n, generator, grammar.dim)
    return {
        "sample_nll": -grammar.log_likelihood(x).mean().item(),
        "motif_rate": (grammar.motif_score(x) > threshold).double().mean().item(),
    }
