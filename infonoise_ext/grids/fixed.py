"""Grids that need no profile of the data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..curves.arguments import number, refuse, whole
from .source import to_zero

EDM_RHO = 7.0


def edm_grid(n: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = EDM_RHO) -> Tensor:
    """Noise levels equally spaced in sigma^(1 / rho), or in log sigma where rho is infinite.

    Args:
        n: number of steps, at least 1.
        sigma_min: lowest noise level above 0; left out where n is 1.
        sigma_max: highest.
        rho: EDM samples with 7; inf is the limit of large rho.

    Returns:
        [n + 1] float32 descending from sigma_max to sigma_min, then 0.

    Raises:
        ValueError: n is below 1, rho is not above 0, or not 0 < sigma_min < sigma_max < inf.

    Source:
        EDM (arXiv 2206.00364) Eq. 5.
    """
    n, top = whole("n", n, least=1), number("sigma_max", sigma_max, above=0)
    bottom = number("sigma_min", sigma_min, above=0, below=top)
    if rho == math.inf:
        levels = torch.linspace(math.log(top), math.log(bottom), n, dtype=torch.float64).exp()
    elif rho > 0:
        levels = torch.linspace(top ** (1 / rho), bottom ** (1 / rho), n, dtype=torch.float64) ** rho
    else:
        refuse("rho", rho, "above 0")
    levels[0] = top
    return to_zero(levels)


def merged_grid(n: int, d: float) -> Tensor:
    """Steps of equal size in the mean of the linear VP's and VE's time: both windows, no constant to choose.

    In d dimensions the weights of well separated modes are decided at sigma of order sqrt(d), and the spread within
    a mode at sigma of order 1. The coordinate is 1/2 / (1 + sigma) + 1/2 / (1 + sigma / sqrt(d)).

    Args:
        n: number of steps, at least 1.
        d: dimension of the data.

    Returns:
        [n + 1] float64 descending from inf, pure noise, to 0.

    Raises:
        ValueError: n is below 1, or d is not a finite number above 0.

    Source:
        docs/research/high-dimension.md measures it, after arXiv 2501.00988.
    """
    u = torch.linspace(0.0, 1.0, whole("n", n, least=1) + 1, dtype=torch.float64)
    root = math.sqrt(number("d", d, above=0))
    # u is the coordinate: 2 u sigma^2 - b sigma - 2 root (1 - u) = 0, by the root without cancellation.
    b = (1.0 + root) * (1.0 - 2.0 * u)
    s = (b.square() + 16.0 * root * u * (1.0 - u)).sqrt()
    return torch.where(b >= 0.0, (s + b) / (4.0 * u), 4.0 * root * (1.0 - u) / (s - b))
