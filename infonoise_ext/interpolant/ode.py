"""The probability-flow ODE on any grid of noise levels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..curves.arguments import choice, refuse
from .path import Interpolant

METHODS = ("euler", "heun", "dpm++2m")


def sample_ode(
    denoise: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    grid: Tensor | Sequence[float],
    method: str = "heun",
    interpolant: Interpolant | None = None,
    mean: Tensor | float | None = None,
) -> Tensor:
    """Carry noise to data along dy/dsigma = (y - denoise(y, sigma)) / sigma.

    The state between steps is y = x0 + sigma eps, whatever the interpolant. From sigma = inf the first
    step is exact in sigma, or one step of the method in the interpolant's tau. Nothing waits for
    the device inside the loop, and gradients flow if they are enabled.

    Args:
        denoise: (y [B, ...], sigma [B]) -> E[x0 | y], of the shape of y; sigma is float32 or wider.
        noise: [B, ...] standard normal. A given state y is continued by noise = y / grid[0].
        grid: [n + 1] noise levels, strictly descending; the first may be inf, the last is usually 0.
        method: "euler" (in sigma and in any `Linear` interpolant, DDIM); "heun" (a step to sigma = 0
            is Euler's); "dpm++2m" (second order in log sigma with one evaluation a step).
        interpolant: take the steps in its tau, with its velocity; None takes them in sigma. Heun
            depends on it, even on c; "dpm++2m" takes None only.
        mean: mean of the data, of a shape that broadcasts to noise's. It is the denoised sample at
            sigma = inf, and a finite grid starts at mean + grid[0] noise. None asks
            denoise(noise, inf) on an infinite grid and starts a finite one at grid[0] noise.

    Returns:
        [B, ...] y at grid[-1], in the dtype that noise and the denoised samples promote to.

    Raises:
        ValueError: unknown method, a grid that is not as above, or an interpolant with "dpm++2m".

    Source:
        EDM (arXiv 2206.00364) Alg. 1 is Heun in sigma; DPM-Solver++ (arXiv 2211.01095) Alg. 2.
    """
    _check_method(method, interpolant)
    levels = _levels(grid)
    dtype = torch.promote_types(noise.dtype, torch.float32)

    def denoised_at(y: Tensor, level: float) -> Tensor:
        return denoise(y, torch.full(y.shape[:1], level, dtype=dtype, device=y.device))

    if math.isinf(levels[0]) and mean is None:
        mean = denoised_at(noise, math.inf)
    centre = mean.to(noise) if isinstance(mean, Tensor) else float(mean or 0.0)
    if math.isinf(levels[0]) and interpolant is None:
        levels = levels[1:]  # in sigma the exact step from inf ends where a finite grid starts
    y = noise if math.isinf(levels[0]) else float(levels[0]) * noise + centre
    previous = centre
    for step in _plan(levels, method, interpolant):
        denoised = centre if math.isinf(step.sigma) else denoised_at(y, step.sigma)
        bent = denoised + step.bend * (denoised - previous) if step.bend else denoised
        end = step.keep * y + step.pull * bent
        if step.correction:
            back, ahead, correct = step.correction
            end = back * y + ahead * end + correct * denoised_at(end, step.sigma_end)
        y, previous = end, denoised
    return y


class _Step(NamedTuple):
    """From sigma to sigma_end: y_end = keep y + pull D, where bend extrapolates D from its last two values.

    A correction (back, ahead, correct) then makes it back y + ahead y_end + correct D(y_end).
    """

    sigma: float
    sigma_end: float
    keep: float
    pull: float
    bend: float
    correction: tuple[float, ...] | None


def _check_method(method: str, interpolant: Interpolant | None) -> None:
    choice("method", method, METHODS)
    if method == "dpm++2m" and interpolant is not None:
        refuse("interpolant", interpolant, "None with method 'dpm++2m'")


def _levels(grid: Tensor | Sequence[float]) -> Tensor:
    levels = torch.as_tensor(grid, dtype=torch.float64).detach().cpu()
    if levels.ndim != 1 or len(levels) < 2:
        refuse("the shape of grid", list(levels.shape), "[n + 1] with n of at least 1")
    if not bool((levels[1:] < levels[:-1]).all() & (levels[-1] >= 0.0)):
        refuse("grid", levels.tolist(), "strictly descending to 0 or above")
    return levels


def _plan(levels: Tensor, method: str, interpolant: Interpolant | None) -> list[_Step]:
    """Every step's numbers, in float64 and before the first one is taken.

    Euler is x_end = x + h (p D + q x) in the state x = scale y. Heun's x + h (v + v_end) / 2 is
    (x + x_end + h v_end) / 2.
    """
    entry, scale, p, q, h = _coordinates(levels, interpolant)
    keep, pull = entry * (1.0 + h * q[:-1]) / scale[1:], h * p[:-1] / scale[1:]
    corrections: list[tuple[float, ...] | None] = [None] * len(h)
    if method == "heun":
        heun = 0.5 * torch.stack((entry / scale[1:], 1.0 + h * q[1:], h * p[1:] / scale[1:]), 1)
        corrections = [tuple(row) if end > 0.0 else None for row, end in zip(heun.tolist(), levels[1:], strict=True)]
    bends = _bends(levels) if method == "dpm++2m" else torch.zeros_like(h)
    columns = (levels[:-1], levels[1:], keep, pull, bends)
    return [_Step(*row) for row in zip(*(column.tolist() for column in columns), corrections, strict=True)]


def _coordinates(levels: Tensor, interpolant: Interpolant | None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(entry, scale, p, q, h); entry is x / y at a step's start, and x / noise at sigma = inf."""
    if interpolant is None:
        one = torch.ones_like(levels)
        return one[1:], one, -1.0 / levels, 1.0 / levels, levels.diff()
    alpha, tau = interpolant.shares(levels / interpolant.c)
    p, q = interpolant.velocity_weights(alpha, tau)
    entry = torch.where(levels.isinf(), interpolant.c, tau)[:-1]
    return entry, tau, p, q, interpolant.tau_steps(alpha, tau)


def _bends(levels: Tensor) -> Tensor:
    """h / (2 h_previous) in h = -d log sigma; 0, which is Euler, at the first step and to sigma = 0."""
    h = -levels.log().diff()
    bends = torch.where(h.isinf(), 0.0, 0.5 * h / h.roll(1))
    bends[:1] = 0.0
    return bends
