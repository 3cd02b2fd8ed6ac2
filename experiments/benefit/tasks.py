"""What is trained: data, network, optimiser's numbers, and how a denoiser is judged."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn

import infonoise_ext as inx
from experiments.grids.network import ResidualMLP
from infonoise_ext.demo import bound
from infonoise_ext.demo.arms import SIGMA_DATA
from infonoise_ext.demo.denoiser import PosteriorMLP
from infonoise_ext.demo.dna import DNAGrammar

from .data import bits, text
from .mixture import STD, patches
from .networks import BitsMLP, TextConvolutions
from .scores import EntropyBound, ExcessError

SAMPLES = 200_000  # of the mixture, drawn once


@dataclass(frozen=True)
class Task:
    """One data set with its network.

    Attributes:
        sample: (n, generator) -> [n, d] float32 clean samples.
        network: a fresh network, from torch's generator.
        score: seed -> score of a denoiser, on that seed's held-out set; lower is better.
        std: of an element of the data.
        weight: loss weight of every arm but EDM's recipe, which has its own; None is 1.
        batch: samples of a step.
        rate: of learning, constant.
    """

    sample: Callable[[int, torch.Generator], Tensor]
    network: Callable[[], nn.Module]
    score: Callable[[int], Callable[[nn.Module], float]]
    std: float
    weight: Callable[[Tensor], Tensor] | None = None
    batch: int = 128
    rate: float = 1e-3


# Key -> what the score is, and with how many digits it is told.
SCORES: dict[str, tuple[str, int]] = {
    "dna": ("DNA motifs: nats above the exact entropy of a sequence", 3),
    "text": ("text: entropy bound, nats a letter", 4),
    "bits": ("binary MNIST: entropy bound, nats a pixel", 4),
    "patches": ("natural patches: excess error under EDM's weight, per element", 4),
}


@cache
def task(name: str) -> Task:
    """The task of this name, made once in a process.

    Raises:
        KeyError: not a key of `SCORES`.
    """
    return {"dna": dna_task, "text": text_task, "bits": bits_task, "patches": patches_task}[name]()


def dna_task() -> Task:
    grammar = DNAGrammar()
    exact = bound.HeldOut(grammar).gap  # against the exact denoiser, so that samples matter little: one set for all
    return Task(grammar.sample, lambda: PosteriorMLP(grammar.dim), lambda seed: exact, SIGMA_DATA)


def text_task() -> Task:
    data = text()
    std = (data.variance / (data.length * data.size)) ** 0.5
    judge = partial(EntropyBound, data, 0.3, 8.0)
    return Task(
        data.sample, lambda: TextConvolutions(data.size), lambda seed: judge(seed=seed), std, batch=32, rate=2e-3
    )


def bits_task() -> Task:
    data = bits()
    std = (data.variance / data.length) ** 0.5
    judge = partial(EntropyBound, data, 0.15, 8.0)
    return Task(data.sample, lambda: BitsMLP(data.length), lambda seed: judge(seed=seed), std)


def patches_task() -> Task:
    mixture = patches()
    drawn = mixture.sample(SAMPLES, torch.Generator().manual_seed(5))
    exact = ExcessError(mixture)

    def sample(n: int, generator: torch.Generator) -> Tensor:
        return drawn[torch.randint(SAMPLES, (n,), generator=generator)]

    return Task(
        sample, lambda: ResidualMLP(torch.zeros(drawn.shape[1]), STD), lambda seed: exact, STD, inx.EDMWeight(STD)
    )
