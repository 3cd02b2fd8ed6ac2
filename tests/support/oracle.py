"""Data whose curves are known, and what oracles are held against."""

import math

import numpy as np
import torch

import infonoise_ext as inx
from infonoise_ext.oracle.quadrature import sign_mmse

EXTREMES = torch.logspace(-3, 4, 29, dtype=torch.float64)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def close(got, expected, rtol, atol=0.0):
    torch.testing.assert_close(got, expected, rtol=rtol, atol=atol)


MIXTURE = ([0.3, 0.7], [-2.0, 1.0], [0.5, 0.2])
LINE = double(-1.5, -1.0, 0.2, 0.5, 2.0)
PLANE = double([0, 0], [1, 0], [0, 1.2], [-1.1, 0.3], [0.4, -0.9], [2, 1.5])


def normal_log_density(y, mean, variance):
    return -0.5 * (
        (y - mean).square() / variance + (2 * math.pi * torch.as_tensor(variance, dtype=torch.float64)).log()
    ).sum(-1)


def assert_tweedie(model, y, sigma, log_density):
    y = y.clone().requires_grad_()
    score = torch.autograd.grad(log_density(y).sum(), y)[0]
    close(model.denoise(y.detach(), sigma), (y + sigma**2 * score).detach(), rtol=1e-11, atol=1e-12)
    close(model.score(y.detach(), sigma), score, rtol=1e-10, atol=1e-11)


def nodes(low, high, n):
    """Gauss-Legendre nodes in sigma, uniform in log sigma, and weights for an integral over sigma."""
    unit, weight = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(n))
    half = 0.5 * math.log(high / low)
    sigma = math.sqrt(low * high) * (half * unit).exp()
    return sigma, half * weight * sigma


def slope(f, sigma):
    """df / d log sigma."""
    step = 1e-4
    return (f(sigma * math.exp(step)) - f(sigma * math.exp(-step))) / (2 * step)


def learnable_density(sigma, mmse, variance, weight=1.0, reach=0.5):
    """What "learnable" draws per unit log sigma, on a fine even grid of log sigma; and the window's power.

    The formula in one place, in terms of integrals, with nothing of the package.
    """
    sigma, mmse = np.asarray(sigma), np.asarray(mmse)
    gaussian = variance / (variance + sigma**2)
    r, s = np.minimum(mmse / sigma**2, gaussian), np.log(sigma)
    window = r * (1 - r) * gaussian * (1 - gaussian)
    mean = np.average(s, weights=window)
    spread = np.average((s - mean) ** 2, weights=window)
    power = max(0.5, min((1 + (reach**2 / spread) ** 16) / 2, spread / 0.25**2))
    density = (window / window.max()) ** power * np.sqrt((1 / sigma**2 + 1 / variance) / weight)
    return density / np.trapezoid(density, s), power


def cumulated(density, sigma):
    """Its integral from the lowest sigma, as a share of the whole."""
    steps = np.diff(np.log(sigma)) * (density[1:] + density[:-1]) / 2
    return np.concatenate(([0.0], np.cumsum(steps) / np.sum(steps)))


def exact_parts(model, like):
    """Profiles of one coordinate along the modes' means and of all others."""
    shrink = like.sigma.square() / (model.std**2 + like.sigma.square())
    snr = model.dim * model.m**2 / (model.std**2 + like.sigma.square())
    modes = model.dim * (model.m * shrink).square() * sign_mmse(snr, model.p)
    nothing = torch.zeros_like(like.sigma)
    parts = modes + model.std**2 * shrink, (model.dim - 1) * model.std**2 * shrink
    return [inx.Profile.from_mmse(like.edges, like.sigma, mmse, nothing, nothing) for mmse in parts]


def upper_share(grid, dim):
    """Of nodes in the window where the modes part."""
    return float((grid[:-1] > math.sqrt(dim) / 5).double().mean())
