"""Integrals that oracles share: a sign seen through Gaussian noise, panels for mixtures, a lattice for eps."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..curves.bounds import BinaryBound, damped_integral

_REACH = 10.0
_PANEL = 0.5
_NODES = 12
_STEP = 0.125
_LATTICE_REACH = 9.0


def sign_mmse(snr: Tensor, p: float) -> Tensor:
    """mmse of x = +-1, P(x = 1) = p, given x sqrt(snr) + N(0, 1); snr > 0 of any shape."""
    return BinaryBound(p=p)(snr.rsqrt())


def sign_entropy(snr: Tensor, p: float) -> Tensor:
    """H(x | y) in nats of the same channel.

    With h = logit(p) / 2 the log-odds L = sqrt(snr) z + h, for standard normal z, has the density
    exp(-snr / 2) phi(z) cosh L / cosh h, and the entropy given L is log(2 cosh L) - L tanh L.
    """
    h = 0.5 * (math.log(p) - math.log1p(-p))
    a = snr.sqrt().clamp(max=1e3)  # beyond, the result underflows
    return 2 * math.sqrt(p * (1 - p)) * damped_integral(a, h, _log_cosh_times_entropy)


def _log_cosh_times_entropy(w: Tensor) -> Tensor:
    """log of cosh(w) (log(2 cosh w) - w tanh w) for w >= 0."""
    u = (-2 * w).exp()
    ratio = torch.where(u > 0, u.log1p() / u, 1.0)
    return ((1 + u) * ratio + 2 * w).log() - math.log(2.0) - w


def panels(centres: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights for integrals over a mixture's density.

    Panels of half a width around each centre, out to ten widths, are merged; what lies outside has a
    share of 1e-23 of the mass.

    Args:
        centres: [K].
        widths: [S, K] standard deviations.

    Returns:
        nodes and weights, [S, Q], about 500 K of them.
    """
    offsets = torch.arange(-_REACH, _REACH + _PANEL, _PANEL, dtype=torch.float64, device=widths.device)
    ends = (centres.unsqueeze(1) + widths.unsqueeze(2) * offsets).flatten(1).sort(1).values
    unit, weight = (torch.from_numpy(x).to(widths) for x in np.polynomial.legendre.leggauss(_NODES))
    half = ends.diff(dim=1).unsqueeze(2) / 2
    middle = (ends[:, 1:] + ends[:, :-1]).unsqueeze(2) / 2
    return (middle + half * unit).flatten(1), (half * weight).flatten(1)


def normal_lattice(dim: int) -> tuple[Tensor, Tensor]:
    """Points [Q, dim] and weights [Q] of a trapezoid rule for expectations over N(0, I).

    For the posterior of points seen through Gaussian noise it is spectrally accurate. Two points 2 t
    standard deviations apart put a pole at pi / (2 t) off the real line, where the density is
    exp(-t^2 / 2): a step h costs of the order of exp(-pi^2 / (t h) - t^2 / 2), for h = 1/8 at most
    1e-12; the posterior variance of two points at +-1 is off by at most 2e-11.
    """
    half = round(_LATTICE_REACH / _STEP)
    z = _STEP * torch.arange(-half, half + 1, dtype=torch.float64)
    weight = (-0.5 * z.square()).exp()
    weight /= weight.sum()
    points = torch.cartesian_prod(*[z] * dim).view(-1, dim)
    return points, torch.cartesian_prod(*[weight] * dim).view(-1, dim).prod(1)


def lattice_size(dim: int) -> int:
    """Q of `normal_lattice`."""
    return int((2 * round(_LATTICE_REACH / _STEP) + 1) ** dim)
