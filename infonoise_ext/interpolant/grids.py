"""Sampling grids of high-dimensional theory, as noise levels sigma.

In d dimensions the weights of well separated modes are decided at sigma of order sqrt(d), the spread
within a mode at sigma of order 1. A grid reaches both with a number of steps that does not depend on d
only if it puts a fixed share of its nodes into each window. Every grid here is float64 [n + 1],
descending, from inf (pure noise) to 0; `grid.info_grid`, `grid.edm_grid` and `grid.log_uniform_grid`
give grids with a finite top.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..curves.arguments import number
from .path import Interpolant, Linear

_BISECTIONS = 80
_CELLS, _TAIL = 8192, 1e-9


def _ramp(n: int) -> Tensor:
    if n < 1:
        raise ValueError(f"n is {n}, but must be at least 1")
    return torch.linspace(0.0, 1.0, n + 1, dtype=torch.float64)


def _window(d: float, kappa: float) -> float:
    """Kappa / sqrt(d), the width of the dilated window in tau or in alpha."""
    width = number("kappa", kappa, above=0) / math.sqrt(number("d", d, above=0))
    if width >= 1.0:
        raise ValueError(f"kappa must be below sqrt(d) = {math.sqrt(d):g}, got {kappa}")
    return width


def uniform_grid(n: int, interpolant: Interpolant) -> Tensor:
    """Steps of equal size in tau: constant denoising.

    Args:
        n: number of steps, at least 1.
        interpolant: the path whose tau it is.

    Returns:
        [n + 1] float64 from inf to 0.

    Raises:
        ValueError: n is below 1.
    """
    return interpolant.sigma(_ramp(n))


def dilated_vp_grid(n: int, d: float, kappa: float = 3.0, family: type[Interpolant] = Linear) -> Tensor:
    """Half of the steps in tau < kappa / sqrt(d), where c = 1 decides the modes' weights.

    The first half of the steps is uniform in tau on that window, the second on the rest.

    Args:
        n: number of steps, at least 1.
        d: dimension of the data.
        kappa: width of the window, below sqrt(d); as d grows the modes' weights keep an error that
            falls with kappa alone.
        family: `Linear` or `Trigonometric`.

    Returns:
        [n + 1] float64 from inf to 0.

    Raises:
        ValueError: n is below 1, d or kappa not a finite number above 0, or kappa >= sqrt(d).

    Source:
        arXiv 2501.00988, dilated VP.
    """
    t, width = _ramp(n), _window(d, kappa)
    tau = torch.where(t < 0.5, 2.0 * width * t, width + (1.0 - width) * (2.0 * t - 1.0))
    return family(1.0).sigma(tau)


def dilated_ve_grid(n: int, d: float, kappa: float = 3.0, family: type[Interpolant] = Linear) -> Tensor:
    """Half of the steps in alpha < kappa / sqrt(d), where c = sqrt(d) decides the spread within a mode.

    The first half of the steps is uniform in tau outside that window, the second uniform in alpha on it.

    Args:
        n: number of steps, at least 1.
        d: dimension of the data.
        kappa: width of the window, below sqrt(d); as d grows the variance within a mode keeps an
            error that falls with kappa alone.
        family: `Linear` or `Trigonometric`.

    Returns:
        [n + 1] float64 from inf to 0.

    Raises:
        ValueError: n is below 1, d or kappa not a finite number above 0, or kappa >= sqrt(d).

    Source:
        arXiv 2501.00988, dilated VE.
    """
    t, width = _ramp(n), _window(d, kappa)
    path = family(math.sqrt(d))
    outside = 2.0 * t * path.alpha(t.new_tensor(width))
    inside = path.alpha(width * (2.0 - 2.0 * t).clamp(max=1.0))
    return path.sigma(torch.where(t < 0.5, outside, inside))


def merged_grid(n: int, d: float) -> Tensor:
    """Steps of equal size in the mean of the linear VP's and VE's tau: both windows, no constant to choose.

    The coordinate is 1/2 / (1 + sigma) + 1/2 / (1 + sigma / sqrt(d)).

    Args:
        n: number of steps, at least 1.
        d: dimension of the data.

    Returns:
        [n + 1] float64 from inf to 0.

    Raises:
        ValueError: n is below 1, or d is not a finite number above 0.
    """
    u, root = _ramp(n), math.sqrt(number("d", d, above=0))
    # u is the coordinate: 2 u sigma^2 - b sigma - 2 root (1 - u) = 0, by the root without cancellation.
    b = (1.0 + root) * (1.0 - 2.0 * u)
    s = (b.square() + 16.0 * root * u * (1.0 - u)).sqrt()
    return torch.where(b >= 0.0, (s + b) / (4.0 * u), 4.0 * root * (1.0 - u) / (s - b))


def mmse_grid(mmse: Callable[[Tensor], Tensor], n: int, sigma_max: float = math.inf) -> Tensor:
    """Steps of equal decrement of the mmse, which makes the denoiser change equally at each.

    In falling sigma the denoised sample is a martingale, so its mean square change over a step is
    the decrement of the mmse.

    Args:
        mmse: sigma [m] float64 -> expected squared error [m] of the best denoiser, increasing in sigma;
            it must answer at `sigma_max` (at inf: the total variance of the data).
        n: number of steps, at least 1.
        sigma_max: first node, inf for pure noise.

    Returns:
        [n + 1] float64 from sigma_max to 0.

    Raises:
        ValueError: n is below 1, sigma_max is not above 0, mmse(sigma_max) is not a finite number above 0,
            or mmse does not fall to total / n, as that of a network with an error floor.
    """
    t, total = _ramp(n), _total(mmse, sigma_max)
    wanted = total * (1.0 - t[1:-1])
    inner = _crossings(mmse, wanted, sigma_max) if n > 1 else wanted
    return _closed(inner, sigma_max)


def length_grid(mmse: Callable[[Tensor], Tensor], n: int, sigma_max: float = math.inf, order: int = 1) -> Tensor:
    """Steps of equal length in the coordinate whose density per unit s = log sigma is (dmmse/ds)^(1 / (order + 1)).

    With order 1 it is the root mean square speed of the denoised sample, because the mean square
    change over a step is the decrement of the mmse: "length" among the measures of `grid.info_grid`.
    If a method of this order errs by h^(order + 1) dmmse/ds in a step of h, the sum of its errors is
    least for these steps.

    Args:
        mmse: as for `mmse_grid`, which is this grid for order 0.
        n: number of steps, at least 1.
        sigma_max: first node, inf for pure noise.
        order: of the sampler: 1 for "euler", 2 for "heun" in the tau of a `Linear` path.

    Returns:
        [n + 1] float64 from sigma_max to 0.

    Raises:
        ValueError: as `mmse_grid`, but mmse must fall to 10^-9 of its total; or order is below 1.
    """
    if order < 1:
        raise ValueError(f"order is {order}, but must be at least 1")
    t, total = _ramp(n), _total(mmse, sigma_max)
    bottom, top = _bracket(mmse, _TAIL * total, (1.0 - _TAIL) * total, sigma_max)
    s = torch.linspace(math.log(bottom), math.log(top), _CELLS + 1, dtype=torch.float64)
    m = mmse(s.exp()).clamp(max=total).cummax(0).values
    cells = (m.diff() / s.diff()) ** (1.0 / (order + 1)) * s.diff()
    # Beyond both ends m and total - m go as sigma^2 and sigma^-2, and the length as a power of sigma.
    power = 2.0 / (order + 1)
    below, above = ((2.0 * rest) ** (0.5 * power) / power for rest in (m[:1], total - m[-1:]))
    length = torch.cat((below, cells)).cumsum(0)
    left = (length[-1] + above) * (1.0 - t[1:-1])
    k = torch.searchsorted(length, left).clamp(1, _CELLS)
    inner = torch.lerp(s[k - 1], s[k], ((left - length[k - 1]) / cells[k - 1]).clamp(0.0, 1.0)).exp()
    inner = torch.where(left < below, bottom * (left / below) ** (1.0 / power), inner)
    inner = torch.where(left > length[-1], top * (above / (length[-1] + above - left)) ** (1.0 / power), inner)
    return _closed(inner, sigma_max)


def _total(mmse: Callable[[Tensor], Tensor], sigma_max: float) -> Tensor:
    if not sigma_max > 0.0:
        raise ValueError(f"sigma_max must be above 0, got {sigma_max}")
    total = mmse(torch.tensor([sigma_max], dtype=torch.float64))[0]
    if not bool(torch.isfinite(total) & (total > 0.0)):
        raise ValueError(f"mmse must be a finite number above 0 at sigma_max, got {float(total)} at {sigma_max}")
    return total


def _closed(inner: Tensor, sigma_max: float) -> Tensor:
    return torch.cat((inner.new_tensor([sigma_max]), inner, inner.new_zeros(1)))


def _bracket(mmse: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, sigma_max: float) -> tuple[float, float]:
    """Two sigma, of which the lower has an mmse of at most low and the upper of at least high, or is sigma_max."""
    bottom = top = min(1.0, sigma_max)
    while bottom > 0.0 and bool(mmse(low.new_tensor([bottom])) > low):
        bottom /= 16.0
    while top < math.inf and bool(mmse(high.new_tensor([top])) < high):
        top = min(16.0 * top, sigma_max)
    if bottom == 0.0 or top == math.inf:
        raise ValueError(f"mmse must rise continuously from 0 to its value at sigma_max = {sigma_max}, but has a jump")
    return bottom, top


def _crossings(mmse: Callable[[Tensor], Tensor], wanted: Tensor, sigma_max: float) -> Tensor:
    """Sigma [m] at which mmse reaches each of wanted [m], descending, by bisection in log sigma."""
    bottom, top = _bracket(mmse, wanted[-1], wanted[0], sigma_max)
    low, high = torch.full_like(wanted, math.log(bottom)), torch.full_like(wanted, math.log(top))
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        below = mmse(middle.exp()) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return high.exp()
