"""A mixture of Gaussians fitted to natural patches: their statistics, with an exact denoiser.

The patches are 8x8, of the two photographs in scikit-learn (BSD-3; china.jpg and flower.jpg, CC BY 2.0, see
sklearn/datasets/images/README.txt). Scaled to a mean of 0 and a standard deviation of 0.5, where EDM's recipe is at
home.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from experiments.grids.data import load

COMPONENTS = 24
STD = 0.5
CACHE = Path("build/benefit/patches.pt")
CHUNK = 2048


@dataclass(frozen=True)
class Mixture:
    """sum_k share_k N(mean_k, covariance_k), float32.

    Attributes:
        share: [K].
        mean: [K, d].
        variance: [K, d] eigenvalues of the covariances.
        axes: [K, d, d] their eigenvectors, as columns.
    """

    share: Tensor
    mean: Tensor
    variance: Tensor
    axes: Tensor

    @classmethod
    def of(cls, share: Tensor, mean: Tensor, covariance: Tensor) -> "Mixture":
        variance, axes = torch.linalg.eigh(covariance.double())
        parts = (share, mean, variance.clamp(min=1e-7), axes)
        return cls(*(part.float() for part in parts))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """[n, d] float32."""
        which = torch.multinomial(self.share, n, replacement=True, generator=generator)
        x = torch.randn(n, self.mean.shape[1], generator=generator)
        for k in range(len(self.share)):
            mine = which == k
            x[mine] = self.mean[k] + (x[mine] * self.variance[k].sqrt()) @ self.axes[k].T
        return x

    def denoise(self, y: Tensor, sigma: Tensor) -> Tensor:
        """E[x | x + sigma z = y], [n, d], of y [n, d] at noise levels sigma [n]."""
        pairs = zip(y.split(CHUNK), sigma.split(CHUNK), strict=True)
        return torch.cat([self._denoise(*pair) for pair in pairs])

    def _denoise(self, y: Tensor, sigma: Tensor) -> Tensor:
        total = self.variance + sigma.square().view(-1, 1, 1)  # [n, K, d]
        along = torch.einsum("nd,kde->nke", y, self.axes) - torch.einsum("kd,kde->ke", self.mean, self.axes)
        weight = (self.share.log() - 0.5 * (along.square() / total + total.log()).sum(2)).softmax(1)
        back = torch.einsum("nke,kde->nkd", along * self.variance / total, self.axes) + self.mean
        return torch.einsum("nk,nkd->nd", weight, back)


def patches() -> Mixture:
    """The mixture, fitted once: about a minute, then read from the cache."""
    if CACHE.exists():
        return Mixture.of(**torch.load(CACHE, weights_only=True))
    fitted = fit(load("patches").train)
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    torch.save(fitted, CACHE)
    return Mixture.of(**fitted)


def fit(x: Tensor, components: int = COMPONENTS) -> dict[str, Tensor]:
    """Share, mean and covariance of each component, of the mixture at the wanted mean and scale."""
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(components, reg_covar=2e-5, max_iter=30, tol=1e-4, init_params="k-means++", random_state=0)
    model.fit(x.double().numpy())
    share, mean, covariance = (torch.from_numpy(part) for part in (model.weights_, model.means_, model.covariances_))
    centre = (share @ mean).mean()
    second = share @ (covariance.diagonal(dim1=1, dim2=2) + (mean - centre).square())
    scale = STD / second.mean().sqrt()
    return {"share": share, "mean": (mean - centre) * scale, "covariance": covariance * scale**2}
