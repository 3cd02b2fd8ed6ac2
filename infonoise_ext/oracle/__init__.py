"""Data distributions whose mmse, entropy and denoiser are exactly known: docs/research/oracles.md."""

from .base import Estimate, Oracle
from .curie_weiss import CurieWeiss
from .data_set import EmpiricalBayes
from .gaussian import Gaussian
from .mixture import GaussianMixture
from .posterior import empirical_bayes
from .two_modes import TwoModes, TwoPoint

__all__ = [
    "CurieWeiss",
    "EmpiricalBayes",
    "Estimate",
    "Gaussian",
    "GaussianMixture",
    "Oracle",
    "TwoModes",
    "TwoPoint",
    "empirical_bayes",
]
