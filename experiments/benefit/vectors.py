"""Data of real numbers: grey images, their whitened principal components, a chaotic field.

MNIST as in `data`; Fashion-MNIST as in `debian`; the field as in `field`. All but the latents have a standard
deviation of 0.5, where EDM's recipe is at home.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.grids.data import load

from . import debian
from .field import field

STD = 0.5
LATENTS = 32


@dataclass(frozen=True)
class Vectors:
    """Samples around 0.

    Attributes:
        train: [n, d] float32.
        held_out: [m, d] float32.
        std: root mean square of an element.
        label: [n] int64 classes of train, where there are any.
    """

    train: Tensor
    held_out: Tensor
    std: float = STD
    label: Tensor | None = None

    @property
    def dim(self) -> int:
        return self.train.shape[1]

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """[n, d] float32."""
        return self.train[torch.randint(len(self.train), (n,), generator=generator)]

    def judge(self, n: int, generator: torch.Generator) -> Tensor:
        """The same of the rows held out."""
        return self.held_out[torch.randint(len(self.held_out), (n,), generator=generator)]


def scaled(train: Tensor, held_out: Tensor, label: Tensor | None = None) -> Vectors:
    """Both less the mean of all elements of train, of standard deviation `STD`."""
    middle = train.double().mean()
    factor = STD / (train.double() - middle).square().mean().sqrt()
    return Vectors(*(((part.double() - middle) * factor).float() for part in (train, held_out)), STD, label)


def grey() -> Vectors:
    """5000 MNIST digits averaged to 14x14."""
    digits = load("mnist")
    return scaled(digits.train, digits.held_out, digits.label)


def fashion(side: int = 14) -> Vectors:
    """70,000 pictures of clothes averaged to side x side, dequantised by uniform noise one of 256 levels wide.

    Args:
        side: in pixels, a divisor of 28.

    Raises:
        FileNotFoundError: its Debian package is missing.
    """
    (train, label), (held_out, _) = debian.fashion("train"), debian.fashion("t10k")
    generator = torch.Generator().manual_seed(6)
    return scaled(*(_averaged(part, side, generator) for part in (train, held_out)), label)


def _averaged(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    small = torch.nn.functional.adaptive_avg_pool2d(images.unsqueeze(1).float(), side).flatten(1)
    return small + torch.rand(small.shape, generator=generator)


def latents(data: Vectors | None = None) -> Vectors:
    """The leading principal components of `data`, MNIST's if None, with the training samples' covariance 1."""
    data = grey() if data is None else data
    mean = data.train.double().mean(0)
    values, axes = torch.linalg.eigh(data.train.double().T.cov())
    whitening = axes[:, -LATENTS:] / values[-LATENTS:].sqrt()
    train, held_out = (((part.double() - mean) @ whitening).float() for part in (data.train, data.held_out))
    return Vectors(train, held_out, 1.0, data.label)


def waves() -> Vectors:
    """The field; held out are the last tenth of the trajectories."""
    made = field()
    border = round(0.9 * len(made))
    return scaled(made[:border].flatten(0, 1), made[border:].flatten(0, 1))
