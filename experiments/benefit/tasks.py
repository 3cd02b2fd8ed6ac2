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
from infonoise_ext.demo.train import train_step

from .data import bits, text
from .mixture import STD, patches
from .networks import BitsMLP, TextConvolutions
from .samples import Frechet, generate
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
        codes: whether samples are codes, whose errors vanish at low noise, and not real numbers.
        step: one optimizer step, of (network, optimizer, schedule, clean samples, noise).
        extra: (seed, denoiser) -> further scores by name, taken at the end of a run.
        batch: samples of a step.
        rate: of learning.
        decays: whether the rate falls to 0 along a cosine; else it is constant.
    """

    sample: Callable[[int, torch.Generator], Tensor]
    network: Callable[[], nn.Module]
    score: Callable[[int], Callable[[nn.Module], float]]
    std: float
    weight: Callable[[Tensor], Tensor] | None = None
    codes: bool = True
    step: Callable[..., None] = train_step
    extra: Callable[[int, nn.Module], dict[str, float]] | None = None
    batch: int = 128
    rate: float = 1e-3
    decays: bool = False


# Key -> what the score is, and with how many digits it is told.
SCORES: dict[str, tuple[str, int]] = {
    "dna": ("DNA motifs: nats above the exact entropy of a sequence", 3),
    "text": ("text: entropy bound, nats a letter", 4),
    "bits": ("binary MNIST: entropy bound, nats a pixel", 4),
    "patches": ("natural patches: excess error under EDM's weight, per element", 4),
    "patches x0.1": ("natural patches times 0.1: excess error under EDM's weight, per element", 4),
    "patches x4": ("natural patches times 4: excess error under EDM's weight, per element", 4),
    "grey": ("MNIST: error under EDM's weight, per element", 4),
    "grey x0.1": ("MNIST times 0.1: error under EDM's weight, per element", 4),
    "grey x4": ("MNIST times 4: error under EDM's weight, per element", 4),
    "fashion": ("Fashion-MNIST: error under EDM's weight, per element", 4),
    "fashion 7x7": ("Fashion-MNIST of 7x7: error under EDM's weight, per element", 4),
    "fashion 28x28": ("Fashion-MNIST of 28x28: error under EDM's weight, per element", 4),
    "ks": ("Kuramoto-Sivashinsky field: error under EDM's weight, per element", 4),
    "latents": ("whitened components of MNIST: error under EDM's weight, per element", 4),
    "genome": ("H. pylori: entropy bound, nats a base", 4),
    "cross-entropy": ("text by cross-entropy: entropy bound, nats a letter", 4),
    "embeddings": ("text by learned embeddings: entropy bound, nats a letter", 4),
    "unet grey": ("Fashion-MNIST of 28x28 by a U-Net: error under EDM's weight, per element", 4),
    "unet binary": ("binary Fashion-MNIST of 28x28 by a U-Net: entropy bound, nats a pixel", 4),
    "long text": ("text of 128 letters: entropy bound, nats a letter", 4),
}


@cache
def task(name: str) -> Task:
    """The task of a name such as "dna", or "dna/wide/decay" with variants; made once in a process.

    Raises:
        KeyError: it does not begin with a key of `SCORES`, or goes on with what is no key of `variants.VARIANTS`.
    """
    from .variants import VARIANTS
    from .wider import TASKS  # both are made of what is defined here

    data, *variants = name.split("/")
    made = ({"dna": dna_task, "text": text_task, "bits": bits_task, "patches": patches_task} | TASKS)[data]()
    for variant in variants:
        made = VARIANTS[variant](made)
    return made


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
    exact, distance = ExcessError(mixture), Frechet(drawn)

    def sample(n: int, generator: torch.Generator) -> Tensor:
        return drawn[torch.randint(SAMPLES, (n,), generator=generator)]

    def extra(seed: int, net: nn.Module) -> dict[str, float]:
        return distance(generate(net, drawn.shape[1], seed))

    network = partial(ResidualMLP, torch.zeros(drawn.shape[1]), STD)
    return Task(sample, network, lambda seed: exact, STD, inx.EDMWeight(STD), codes=False, extra=extra)
