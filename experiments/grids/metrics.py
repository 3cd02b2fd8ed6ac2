"""Two measures of an end point: distance from the exact solution, and quality as a sample."""

import torch
from torch import Tensor

from infonoise_ext.demo.dna import DNAGrammar

from .data import DataSet

COMPONENTS = 32


def relative_error(y: Tensor, exact: Tensor) -> float:
    """Root mean square distance of y [n, d] from exact [n, d], over the standard deviation of exact."""
    return float(((y - exact).square().mean() / (exact - exact.mean(0)).square().mean()).sqrt())


def frechet(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """Squared Fréchet distance of two Gaussians: |difference|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2)."""
    root = _root(covariance_a)
    cross = torch.linalg.eigvalsh(root @ covariance_b @ root).clamp(min=0).sqrt().sum()
    trace = covariance_a.trace() + covariance_b.trace() - 2 * cross
    return float((mean_a - mean_b).square().sum() + trace)


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


class Quality:
    """Judges samples against a data set.

    Args:
        data: all its samples are the reference, in their 32 leading principal components.
    """

    def __init__(self, data: DataSet) -> None:
        real = torch.cat((data.train, data.held_out)).double()
        self.basis = torch.linalg.eigh(real.T.cov()).eigenvectors[:, -COMPONENTS:]
        self.mean, self.covariance = _moments(real @ self.basis)
        self.grammar = data.grammar
        self.threshold = 0.0 if data.grammar is None else _motif_threshold(data.grammar)

    def __call__(self, y: Tensor) -> dict[str, float]:
        """Of samples [n, d]: `frechet`, and for DNA `nll` (mean exact -log p, nats) and `motif_rate`."""
        scores = {"frechet": frechet(self.mean, self.covariance, *_moments(y.double() @ self.basis))}
        if self.grammar is not None:
            scores["nll"] = float(-self.grammar.log_likelihood(y).mean())
            scores["motif_rate"] = float((self.grammar.motif_score(y) > self.threshold).double().mean())
        return {key: float(f"{value:.4g}") for key, value in scores.items()}


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    return features.mean(0), features.T.cov()


def _motif_threshold(grammar: DNAGrammar) -> float:
    """The motif score that 99% of true sequences exceed."""
    score = grammar.motif_score(grammar.sample(20_000, torch.Generator().manual_seed(77)))
    return float(score.quantile(0.01))
