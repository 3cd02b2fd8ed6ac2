"""DNA whose statistics are known: one JASPAR motif planted in random background.

A sequence has 32 letters. One of 8 transcription-factor motifs lies at a start that is a multiple of 4,
all (motif, start) slots being equally likely; every other letter is drawn from an AT-rich background. This is
a mixture of 50 product distributions, so likelihood, entropy and the posterior mean under Gaussian noise are
exact. Sequences are one-hot codes x in {-1, +1}^128.
"""

from __future__ import annotations

import json
import math
from importlib.resources import files

import torch
from torch import Tensor

from ..curves.arguments import refuse

LENGTH = 32
LETTERS = "ACGT"
BACKGROUND = (0.3, 0.2, 0.2, 0.3)
STRIDE = 4
PSEUDOCOUNT = 0.5


def load_motifs() -> dict[str, Tensor]:
    """Letter probabilities [width, 4] of the motifs in `infonoise_ext/data/jaspar_motifs.json`, by name."""
    text = (files("infonoise_ext") / "data" / "jaspar_motifs.json").read_text()
    motifs = {}
    for entry in json.loads(text)["motifs"]:
        count = torch.tensor([entry[letter] for letter in LETTERS], dtype=torch.float64).T + PSEUDOCOUNT
        motifs[entry["name"]] = count / count.sum(1, keepdim=True)
    return motifs


def one_hot(codes: Tensor) -> Tensor:
    """Letters [n, L] (0 to 3) as +-1 codes [n, 4 L], float32."""
    return 2 * torch.nn.functional.one_hot(codes, 4).flatten(1).float() - 1


def letters(x: Tensor) -> Tensor:
    """The most likely letter at each position, [n, L], of codes or denoised samples x [n, 4 L]."""
    return x.reshape(len(x), -1, 4).argmax(-1)


class DNAGrammar:
    """The mixture over slots.

    Args:
        length: letters in a sequence.
        motifs: letter probabilities [width, 4] by name; the 8 shipped ones by default.

    Attributes:
        table: letter probabilities [slots, length, 4] of every mixture component, float64.
        slots: (motif name, start) of every component.
        dim: number of elements of a coded sequence, 4 * length.
    """

    def __init__(self, length: int = LENGTH, motifs: dict[str, Tensor] | None = None) -> None:
        motifs = load_motifs() if motifs is None else motifs
        background = torch.tensor(BACKGROUND, dtype=torch.float64)
        self.slots: list[tuple[str, int]] = []
        rows = []
        for name, motif in motifs.items():
            for start in range(0, length - len(motif) + 1, STRIDE):
                row = background.repeat(length, 1)
                row[start : start + len(motif)] = motif
                self.slots.append((name, start))
                rows.append(row)
        if not rows:
            refuse("length", length, "that of one motif or more")
        self.table = torch.stack(rows)
        self.background = background
        self.marginal = self.table.mean(0)
        self.length, self.dim = length, 4 * length

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n coded sequences, [n, dim] float32."""
        slot = torch.randint(len(self.slots), (n,), generator=generator)
        u = torch.rand(n, self.length, 1, generator=generator, dtype=torch.float64)
        cumulative = self.table.cumsum(-1)[slot, :, :3]
        return one_hot((u >= cumulative).sum(-1))

    def log_likelihood(self, x: Tensor) -> Tensor:
        """Exact log p in nats, [n] float64, of letters [n, length] or codes [n, dim]."""
        return self._slot_log_likelihood(x).logsumexp(1) - math.log(len(self.slots))

    def motif_score(self, x: Tensor) -> Tensor:
        """Largest log-likelihood ratio of a planted motif against pure background, [n] float64, nats."""
        codes = letters(x) if x.shape[1] == self.dim else x
        plain = self.background.log()[codes].sum(1)
        return self._slot_log_likelihood(x).amax(1) - plain

    def entropy(self, samples: int = 200_000, seed: int = 0, chunk: int = 20_000) -> tuple[float, float]:
        """Monte Carlo estimate of the entropy in nats and its standard error."""
        generator = torch.Generator().manual_seed(seed)
        sizes = [min(chunk, samples - start) for start in range(0, samples, chunk)]
        nll = torch.cat([-self.log_likelihood(self.sample(size, generator)) for size in sizes])
        return nll.mean().item(), nll.std().item() / math.sqrt(samples)

    def posterior_mean(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The exact denoiser E[x0 | x0 + sigma * eps = x]: [n, dim], float64."""
        evidence = self._evidence(x, sigma)
        normaliser = torch.einsum("nla,cla->ncl", evidence, self.table)
        slot = normaliser.log().sum(2).softmax(1)
        letter = torch.einsum("ncl,cla->nla", slot.unsqueeze(2) / normaliser, self.table)
        return 2 * (evidence * letter).flatten(1) - 1

    def marginal_denoiser(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The posterior mean that knows only each position's letter frequencies: [n, dim], float64."""
        letter = self._evidence(x, sigma) * self.marginal
        return 2 * (letter / letter.sum(2, keepdim=True)).flatten(1) - 1

    def _slot_log_likelihood(self, x: Tensor) -> Tensor:
        codes = letters(x) if x.shape[1] == self.dim else x
        hot = torch.nn.functional.one_hot(codes, 4).flatten(1).double()
        return hot @ self.table.log().flatten(1).T

    def _evidence(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Likelihood of each letter given the noisy codes, up to a factor per position: [n, length, 4]."""
        logits = 2 * x.double() / sigma.double().square().unsqueeze(1)
        logits = logits.reshape(len(x), self.length, 4)
        return (logits - logits.amax(2, keepdim=True)).exp()
