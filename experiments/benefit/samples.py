"""What generated samples are worth: Fréchet distances in three sets of features."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from experiments.grids.metrics import COMPONENTS, frechet
from infonoise_ext.demo.denoiser import heun_samples

GENERATED = 3000
REFERENCE = 20_000  # real samples at most
RANDOM = 64
CLASSIFIER_STEPS = 1500

Features = Callable[[Tensor], Tensor]


def generate(net: nn.Module, dim: int, seed: int) -> Tensor:
    """[3000, dim] samples by Heun's method in 18 steps; all arms of a seed start from the same noise."""
    return heun_samples(net, GENERATED, torch.Generator().manual_seed(77 + seed), dim)


class Frechet:
    """Squared Fréchet distances of samples from real ones, by the name of their features.

    `frechet_pca`: 32 leading principal components. `frechet_random`: 64 rectified random directions of standardised
    elements. `frechet_classifier`: 32 hidden units of a small classifier, where the real samples have classes.

    Args:
        real: [n, d] float32.
        label: [n] int64 classes, or None.
    """

    def __init__(self, real: Tensor, label: Tensor | None = None) -> None:
        self.features: dict[str, Features] = {"pca": principal(real), "random": rectified(real)}
        if label is not None:
            self.features["classifier"] = Classifier.trained(real, label).hidden
        self.real = {name: moments(feature(real[:REFERENCE])) for name, feature in self.features.items()}

    @torch.no_grad()
    def __call__(self, x: Tensor) -> dict[str, float]:
        """Of samples x [n, d]."""
        return {
            f"frechet_{name}": float(f"{frechet(*self.real[name], *moments(feature(x))):.5g}")
            for name, feature in self.features.items()
        }


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of features [n, k]."""
    features = features.double()
    return features.mean(0), features.T.cov()


def principal(real: Tensor) -> Features:
    """Projection on the leading principal components."""
    basis = torch.linalg.eigh(real.double().T.cov()).eigenvectors[:, -COMPONENTS:]
    return lambda x: x.double() @ basis


def rectified(real: Tensor) -> Features:
    """max(0, w x + b) of standardised x, with w of length about 1 and b of standard deviation 1/2."""
    generator = torch.Generator().manual_seed(8)
    mean, std = real.mean(0), (real - real.mean(0)).square().mean().sqrt()
    w = torch.randn(real.shape[1], RANDOM, generator=generator) / real.shape[1] ** 0.5
    b = 0.5 * torch.randn(RANDOM, generator=generator)
    return lambda x: ((x - mean) / std @ w + b).relu()


class Classifier(nn.Module):
    """Two hidden layers; the second, of 32 units, is what samples are compared in."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(dim, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU())
        self.leave = nn.Linear(32, classes)

    @classmethod
    def trained(cls, x: Tensor, label: Tensor) -> "Classifier":
        """By Adam on batches of 128, always alike; torch's own generator is left alone."""
        generator = torch.Generator().manual_seed(9)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(9)
            net = cls(x.shape[1], int(label.max()) + 1)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
        for _ in range(CLASSIFIER_STEPS):
            rows = torch.randint(len(x), (128,), generator=generator)
            loss = nn.functional.cross_entropy(net(x[rows]), label[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return net.eval().requires_grad_(False)

    def hidden(self, x: Tensor) -> Tensor:
        """[n, 32]."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, classes]."""
        return self.leave(self.body(x))
