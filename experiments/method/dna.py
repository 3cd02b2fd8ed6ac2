"""The demo's DNA as a distribution whose posterior is exact, so that a data set drawn from it can be judged."""

import torch
from torch import Tensor

from infonoise_ext.demo.dna import DNAGrammar, letters
from infonoise_ext.oracle import Estimate, Oracle


class DNA(Oracle):
    """Codes of sequences, a mixture of product distributions; averages over (x0, y) are Monte Carlo.

    Given y the posterior is a mixture over slots, whose mean is exact: codes are +-1, so that its total variance is
    dim - |mean|^2. As H(x0 | y) = -E log p(x0 | y) and log p(x0 | y) = log p(x0) + log p(y | x0) - log p(y) is
    exact for every pair, entropy does not rest on mmse. Draws are the same at every sigma.
    """

    def __init__(self, samples: int = 4096, seed: int = 0) -> None:
        self.grammar = DNAGrammar()
        self.dim, self.samples, self.seed = self.grammar.dim, samples, seed

    @property
    def total_variance(self) -> float:
        return float((4 * self.grammar.marginal * (1 - self.grammar.marginal)).sum())

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.grammar.sample(n, generator).double()

    def _denoise(self, y: Tensor, sigma: Tensor) -> Tensor:
        return self.grammar.posterior_mean(y, sigma)

    def _mmse(self, sigma: Tensor) -> Estimate:
        return self._average(sigma, lambda x0, y, s: self.dim - self._denoise(y, s).square().sum(1))

    def _entropy(self, sigma: Tensor) -> Estimate:
        return self._average(sigma, self._surprise)

    def _surprise(self, x0: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        """-log p(x0 | y), with p(y | x) by the letters' logits 2 y / sigma^2, up to a factor common to all x."""
        logits = (2 * y / sigma.square().unsqueeze(1)).view(len(y), self.grammar.length, 4)
        told = logits.gather(2, letters(x0).unsqueeze(2)).sum((1, 2))
        by_slot = (logits.unsqueeze(1) + self.grammar.table.log()).logsumexp(3).sum(2)
        log_y = by_slot.logsumexp(1) - torch.tensor(float(len(self.grammar.slots))).log()
        return log_y - told - self.grammar.log_likelihood(x0)

    def _average(self, sigma: Tensor, f) -> Estimate:
        generator = torch.Generator().manual_seed(self.seed)
        x0 = self.sample(self.samples, generator)
        noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
        values = torch.stack([f(x0, x0 + s * noise, s.expand(len(x0))) for s in sigma])
        return Estimate(values.mean(1), values.std(1) / self.samples**0.5)
