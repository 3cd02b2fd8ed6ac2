"""Further tasks: real numbers, a genome, cross-entropy and learned embeddings, data of another scale."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

import infonoise_ext as inx
from experiments.grids.network import ResidualMLP
from infonoise_ext.demo.denoiser import PosteriorMLP

from . import debian, vectors
from .data import text
from .embeddings import NORM, WIDTH, EmbeddedBound, EmbeddedText, OneHotText, cross_entropy_step
from .field import spectrum_error
from .samples import REFERENCE, Frechet, generate
from .scores import EntropyBound, WeightedError
from .tasks import Task, patches_task
from .vectors import Vectors


def vectors_task(data: Vectors, further: Callable[[Tensor], dict[str, float]] | None = None) -> Task:
    """An MLP with EDM's preconditioning and weight.

    Args:
        data: the samples.
        further: scores of generated samples beside the Fréchet distances.
    """
    distance = Frechet(data.train, data.label)

    def extra(seed: int, net: nn.Module) -> dict[str, float]:
        made = generate(net, data.dim, seed)
        return distance(made) | ({} if further is None else further(made))

    def score(seed: int) -> Callable[[nn.Module], float]:
        return WeightedError(data, seed=seed)

    network = partial(ResidualMLP, data.train.mean(0), data.std)
    return Task(data.sample, network, score, data.std, inx.EDMWeight(data.std), codes=False, extra=extra)


def field_task() -> Task:
    data = vectors.waves()
    real = data.train[:REFERENCE]
    return vectors_task(data, lambda made: {"spectrum_error": float(f"{spectrum_error(made, real):.5g}")})


class Scaled(nn.Module):
    """A denoiser of data times a factor, from one of the data: its preconditioning knows the factor exactly."""

    def __init__(self, net: nn.Module, factor: float) -> None:
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.factor * self.net(x / self.factor, sigma / self.factor)


def scaled(made: Task, factor: float) -> Task:
    """Of samples times a factor. Scores are those of the home units, and can be compared with the home's."""

    def home(net: nn.Module) -> nn.Module:
        return Scaled(net, 1 / factor)

    extra, weight = made.extra, made.weight
    return replace(
        made,
        sample=lambda n, generator: factor * made.sample(n, generator),
        network=lambda: Scaled(made.network(), factor),
        score=lambda seed: _after(home, made.score(seed)),
        std=factor * made.std,
        weight=None if weight is None else inx.EDMWeight(factor * made.std),
        extra=None if extra is None else lambda seed, net: extra(seed, home(net)),
    )


def _after(home: Callable[[nn.Module], nn.Module], score: Callable[[nn.Module], float]) -> Callable[[nn.Module], float]:
    return lambda net: score(home(net))


def genome_task() -> Task:
    data = debian.genome()
    std = (data.variance / (data.length * data.size)) ** 0.5
    judge = partial(EntropyBound, data, 0.2, 16.0, bins=20, samples=1024)  # so much, as little is there to learn
    return Task(data.sample, lambda: PosteriorMLP(data.length * data.size), lambda seed: judge(seed=seed), std)


def cross_entropy_task() -> Task:
    data = text()
    std = (data.variance / (data.length * data.size)) ** 0.5
    judge = partial(EntropyBound, data, 0.3, 8.0)
    return Task(
        data.sample,
        lambda: OneHotText(data.size),
        lambda seed: judge(seed=seed),
        std,
        step=cross_entropy_step,
        batch=32,
        rate=2e-3,
    )


def embeddings_task() -> Task:
    data = text()
    return Task(
        data.sample,
        lambda: EmbeddedText(data.size),
        lambda seed: EmbeddedBound(data, seed=seed),
        NORM / WIDTH**0.5,
        step=cross_entropy_step,
        extra=lambda seed, net: {"norm": float(f"{net.module.codes.norm(dim=1).mean():.5g}")},
        batch=32,
        rate=2e-3,
    )


def grey_task() -> Task:
    return vectors_task(vectors.grey())


TASKS: dict[str, Callable[[], Task]] = {
    "patches x0.1": lambda: scaled(patches_task(), 0.1),
    "patches x4": lambda: scaled(patches_task(), 4.0),
    "grey": grey_task,
    "grey x0.1": lambda: scaled(grey_task(), 0.1),
    "grey x4": lambda: scaled(grey_task(), 4.0),
    "fashion": lambda: vectors_task(vectors.fashion()),
    "fashion 7x7": lambda: vectors_task(vectors.fashion(7)),
    "fashion 28x28": lambda: vectors_task(vectors.fashion(28)),
    "ks": field_task,
    "latents": lambda: vectors_task(vectors.latents()),
    "genome": genome_task,
    "cross-entropy": cross_entropy_task,
    "embeddings": embeddings_task,
}
