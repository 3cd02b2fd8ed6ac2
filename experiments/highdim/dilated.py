"""The grids of arXiv 2501.00988: uniform steps in tau, and half of them in the window that uniform steps miss.

In d dimensions the weights of well separated modes are decided at sigma of order sqrt(d), the spread
within a mode at sigma of order 1. A grid reaches both with a number of steps that does not depend on d
only if it puts a fixed share of its nodes into each window. Every grid here is float64 [n + 1],
descending, from inf (pure noise) to 0.
"""

import math

import torch
from torch import Tensor

from infonoise_ext.interpolant import Interpolant, Linear


def uniform_grid(n: int, interpolant: Interpolant) -> Tensor:
    """Steps of equal size in tau: constant denoising."""
    return interpolant.sigma(_ramp(n))


def dilated_vp_grid(n: int, d: float, kappa: float = 3.0, family: type[Interpolant] = Linear) -> Tensor:
    """Half of the steps in tau < kappa / sqrt(d), where c = 1 decides the modes' weights.

    The first half of the steps is uniform in tau on that window, the second on the rest. As d grows the
    modes' weights keep an error that falls with kappa alone.
    """
    t, width = _ramp(n), kappa / math.sqrt(d)
    tau = torch.where(t < 0.5, 2.0 * width * t, width + (1.0 - width) * (2.0 * t - 1.0))
    return family(1.0).sigma(tau)


def dilated_ve_grid(n: int, d: float, kappa: float = 3.0, family: type[Interpolant] = Linear) -> Tensor:
    """Half of the steps in alpha < kappa / sqrt(d), where c = sqrt(d) decides the spread within a mode.

    The first half of the steps is uniform in tau outside that window, the second uniform in alpha on it. As d
    grows the variance within a mode keeps an error that falls with kappa alone.
    """
    t, width = _ramp(n), kappa / math.sqrt(d)
    path = family(math.sqrt(d))
    outside = 2.0 * t * path.alpha(t.new_tensor(width))
    inside = path.alpha(width * (2.0 - 2.0 * t).clamp(max=1.0))
    return path.sigma(torch.where(t < 0.5, outside, inside))


def _ramp(n: int) -> Tensor:
    return torch.linspace(0.0, 1.0, n + 1, dtype=torch.float64)
