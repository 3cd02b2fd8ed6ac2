"""Text under cross-entropy: over one-hot letters, and over embeddings that are learned too.

Every level's cross-entropy counts as it is: no weight of a schedule is used, so EDM's recipe is its sampler alone.
What a schedule learns from is the squared error of the softmax's mean, in the units of sigma.
"""

import torch
from torch import Tensor, nn

from infonoise_ext.curves.density import Schedule
from infonoise_ext.demo.bound import entropy_bound, log_grid

from .data import Text
from .networks import TextConvolutions
from .rules import OfCrossEntropy
from .scores import CHUNK

WIDTH = 16  # elements of a letter's embedding
NORM = 1.6  # of a fresh one, about; training makes it longer


class EmbeddedText(nn.Module):
    """Letters as embeddings of free scale: posterior softmax(x.e / sigma^2 - |e|^2 / 2 sigma^2 + F).

    F starts at 0, the exact answer for uniform independent letters.

    Attributes:
        codes: [size, width] the embeddings.
    """

    def __init__(self, size: int, width: int = WIDTH) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randn(size, width) * NORM / width**0.5)
        self.body = TextConvolutions(size)

    def logits(self, x: Tensor, sigma: Tensor) -> Tensor:
        """[n, length, size] of noisy embeddings [n, length * width] at noise levels sigma [n]."""
        return self.body.refined(self.evidence(x, sigma), sigma)

    def evidence(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The part of the logits that a letter's own embedding gives."""
        x = x.unflatten(1, (-1, self.codes.shape[1]))
        return (x @ self.codes.T - self.codes.square().sum(1) / 2) / sigma.square().view(-1, 1, 1)

    def clean(self, letters: Tensor) -> Tensor:
        """[n, length * width] embeddings of letters [n, length]."""
        return self.codes[letters].flatten(1)

    def mean(self, logits: Tensor) -> Tensor:
        """[n, length * width]."""
        return (logits.softmax(2) @ self.codes).flatten(1)


class OneHotText(TextConvolutions):
    """The same questions to a network over fixed codes of -1 and 1."""

    def clean(self, letters: Tensor) -> Tensor:
        return 2 * nn.functional.one_hot(letters, self.size).flatten(1).float() - 1

    def mean(self, logits: Tensor) -> Tensor:
        return 2 * logits.softmax(2).flatten(1) - 1


def cross_entropy_step(
    net: EmbeddedText | OneHotText,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    one_hot: Tensor,
    noise: Tensor,
) -> None:
    """One optimizer step, in place of the demo's `train_step`.

    Args:
        one_hot: [n, length * size] codes, largest at the letter.
        noise: of the same shape; a letter with fewer elements takes the first.
    """
    size = net.size if isinstance(net, OneHotText) else len(net.codes)
    letters = one_hot.unflatten(1, (-1, size)).argmax(2)
    sigma, clean = schedule.sample(len(letters)), net.clean(letters)
    noise = noise.unflatten(1, (-1, size))[..., : clean.shape[1] // letters.shape[1]].flatten(1)
    logits = net.logits(clean + sigma.unsqueeze(1) * noise, sigma)
    loss = nn.functional.cross_entropy(logits.transpose(1, 2), letters, reduction="none").mean(1)
    optimizer.zero_grad(set_to_none=True)
    loss.mean().backward()
    optimizer.step()
    with torch.no_grad():
        error = loss if isinstance(schedule, OfCrossEntropy) else (net.mean(logits) - clean).square().mean(1)
    schedule.observe(sigma, error.detach())
    schedule.step()


class EmbeddedBound:
    """`scores.EntropyBound` in the space of the network's own embeddings, which letters can be read off again.

    Args:
        low: lowest noise level, which must tell the closest embeddings apart.
        high: highest.
    """

    def __init__(
        self, data: Text, low: float = 0.1, high: float = 40.0, bins: int = 24, samples: int = 160, seed: int = 0
    ) -> None:
        generator = torch.Generator().manual_seed(12345 + seed)
        self.data, self.samples = data, samples
        self.sigma, self.width = log_grid(low, high, bins)
        self.level = self.sigma.float().repeat_interleave(samples)
        self.letters = data.judge(len(self.level), generator).unflatten(1, (-1, data.size)).argmax(2)
        self.noise = torch.randn(len(self.level), data.length * WIDTH, generator=generator)

    @torch.no_grad()
    def __call__(self, net: nn.Module) -> float:
        """Nats a letter, of an `EmbeddedText` or the average of some."""
        net = getattr(net, "module", net)
        frequency = self.data.frequency.float()
        parts = [self._errors(net, frequency, rows) for rows in torch.arange(len(self.level)).split(CHUNK)]
        error = torch.cat(parts, dim=1).double().view(2, len(self.sigma), -1).mean(2).amin(0)
        mean = frequency @ net.codes
        variance = float(frequency @ (net.codes - mean).square().sum(1)) * self.data.length
        return entropy_bound(self.sigma, error, self.width, variance) / self.data.length

    def _errors(self, net: EmbeddedText, frequency: Tensor, rows: Tensor) -> Tensor:
        """Squared errors [2, n] of the network and of independent letters."""
        sigma, clean = self.level[rows], net.clean(self.letters[rows])
        noisy = clean + sigma.unsqueeze(1) * self.noise[rows]
        answers = net.logits(noisy, sigma), net.evidence(noisy, sigma) + frequency.log()
        return torch.stack([(net.mean(logits) - clean).square().sum(1) for logits in answers])
