"""A finite data set as a distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from ..curves.arguments import refuse
from .base import device_of
from .discrete import Discrete
from .posterior import empirical_bayes

_CHUNK = 2**20


class EmpiricalBayes(Discrete):
    """x0 uniform over the points of a data set.

    The denoiser and the posterior variance are those of `infonoise_ext.empirical_bayes` in float64,
    entropies come from the distances themselves. mmse and entropy are quadratures in 1-D up to about
    1300 points and in 2-D up to about 110, and Monte Carlo otherwise (`exact` says which). mmse is good to
    about 1e-15 of the data's square radius, no better: where it is smaller, it is rounding. A
    point that is there twice counts as two: as sigma falls to 0, entropy then falls to log 2 on it.

    Args:
        data: [N, ...] points, floating, flattened to [N, d].
        samples: see `Discrete`.
        seed: see `Discrete`.

    Raises:
        ValueError: data is not a floating tensor of at least one finite point.

    Source:
        InfoNoise (arXiv 2602.18647), App. B.4.
    """

    def __init__(self, data: Tensor, samples: int = 4096, seed: int = 0) -> None:
        super().__init__(samples, seed)
        if data.dim() < 1 or not data.is_floating_point() or not data.numel() or not bool(data.isfinite().all()):
            refuse("data", f"{data.dtype} {list(data.shape)}", "a floating tensor of one finite point or more")
        self.data = data.detach().reshape(len(data), -1).double()
        self.dim = self.data.shape[1]

    @property
    def total_variance(self) -> float:
        return float(self.data.var(0, correction=0).sum())

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        index = torch.randint(len(self.data), (n,), generator=generator, device=device_of(generator))
        return self.data.to(index.device)[index]

    @property
    def _values(self) -> int:
        return len(self.data)

    def _support(self) -> tuple[Tensor, Tensor]:
        return self.data, torch.full((len(self.data),), 1 / len(self.data), dtype=torch.float64)

    def _denoise(self, y: Tensor, sigma: Tensor) -> Tensor:
        return empirical_bayes(y, sigma, self.data.to(y.device))[0]

    def _posterior_variance(self, y: Tensor, sigma: Tensor) -> Tensor:
        return empirical_bayes(y, sigma, self.data.to(y.device))[1]

    def _posterior_entropy(self, y: Tensor, sigma: Tensor) -> Tensor:
        data, rows = self.data.to(y.device), max(1, _CHUNK // len(self.data))
        parts = zip(y.split(rows), sigma.split(rows), strict=True)
        return torch.cat([_entropy_of_weights(part, at, data) for part, at in parts])


def _entropy_of_weights(y: Tensor, sigma: Tensor, data: Tensor) -> Tensor:
    distance = torch.cdist(y, data, compute_mode="donot_use_mm_for_euclid_dist") / sigma.unsqueeze(1)
    weight = (-0.5 * distance.square()).softmax(1)
    return torch.special.entr(weight).sum(1)
