"""Noise levels that divide the whole way from pure noise to the data into steps as long as each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from ..curves.arguments import number, refuse, whole
from ..state.table import Table
from .source import Source, mean_table, profile_of, signal_of, table_of, to_zero

Mmse: TypeAlias = Callable[[Tensor], Tensor]

_FAR = 1e60  # pure noise, whose square float64 still holds
_CELLS, _TAIL = 8192, 1e-9
_TAIL_CELLS, _TAIL_FOLDS, _LONGEST = 4096, 24.0, 300.0


def open_grid(source: Source | Mmse | Sequence[Source | Mmse], n: int, order: float = 2, group: int = 0) -> Tensor:
    """Noise levels that divide the whole way from pure noise to the data into n + 1 steps, as long as each other.

    The length is the integral of (d mmse / ds)^(1 / (order + 1)) over s = log sigma: the error of a
    method of that order, summed over the steps, is about least for such steps. Order 0 is the signal
    "mmse" of `info_grid`, order 1 is "length". The ends are limits and no levels: the first step, from
    pure noise, takes no evaluation, since the denoised sample is the mean of the data there. So begin at
    mean + grid[0] noise, as `interpolant.sample_ode(..., mean=mean)` does, or centre the data.

    Args:
        source: as of `info_grid`, whose range should hold all noise levels at which mmse moves, for what
            lies beyond counts as nothing; or the mmse itself, such as that of an oracle: a callable
            sigma [m] float64 -> expected squared error [m] of the best denoiser, which rises with sigma
            from 0 to the variance of the data. It is asked at levels up to 1e60.
        n: number of steps, at least 1.
        order: of the sampler, at least 0: 1 for Euler and DDIM, 2 for Heun and DPM-Solver++ (2M).
        group: as of `info_grid`.

    Returns:
        [n + 1] float32 descending, inside the source's range, then 0.

    Raises:
        OSError: a file cannot be opened.
        ValueError: an argument out of range, a source as in `info_grid`, or a callable that does not rise
            smoothly from 0 to a finite number, as that of a network with an error floor.

    Source:
        docs/research/inference-grids.md derives and measures it.
    """
    n, power = whole("n", n, least=1), 1 / (number("order", order, least=0) + 1)

    def build(one: Source | Mmse) -> Table:
        if callable(one):
            return _table_of_mmse(one, power)
        profile = profile_of(one, group)
        return table_of(profile.edges, signal_of(profile, "mmse") ** power)

    table = mean_table(source, build)
    u = torch.linspace(1, 0, n + 2, dtype=torch.float64, device=table.edges.device)[1:-1]
    return to_zero(table.level(u))


def _table_of_mmse(mmse: Mmse, power: float) -> Table:
    """The table of (dmmse/ds)^power over all noise levels.

    Beyond the bracket mmse and total - mmse go as sigma^2 and sigma^-2, and the length as sigma^(+-2 power).
    """
    total = _total(mmse)
    low, high = (math.log(end) for end in _bracket(mmse, _TAIL * total, (1.0 - _TAIL) * total))
    s = torch.linspace(low, high, _CELLS + 1, dtype=torch.float64)
    m = mmse(s.exp()).clamp(max=total).cummax(0).values
    length = (m.diff() / s.diff()) ** power * s.diff()
    below, above = ((2.0 * rest) ** power / (2.0 * power) for rest in (m[:1], total - m[-1:]))
    reach = min(_TAIL_FOLDS / (2.0 * power), _LONGEST)
    away = torch.linspace(0.0, reach, _TAIL_CELLS + 1, dtype=torch.float64)
    share = -(-2.0 * power * away).exp().diff()
    edges = torch.cat((low - away[1:].flip(0), s, high + away[1:])).exp()
    return table_of(edges, torch.cat((below * share.flip(0), length, above * share)))


def _total(mmse: Mmse) -> Tensor:
    """The mmse of pure noise, a scalar."""
    near, far = mmse(torch.tensor([_FAR**0.5, _FAR], dtype=torch.float64))
    if not bool(torch.isfinite(far) & (far > 0.0) & (near >= (1.0 - _TAIL) * far)):
        refuse(f"mmse({_FAR:g})", float(far), "a finite number above 0, which mmse has long reached")
    return far


def _bracket(mmse: Mmse, low: Tensor, high: Tensor) -> tuple[float, float]:
    """Two sigma, of which the lower has an mmse of at most low and the upper of at least high."""
    bottom = top = 1.0
    while bottom > 0.0 and bool(mmse(low.new_tensor([bottom])) > low):
        bottom /= 16.0
    while top < _FAR and bool(mmse(high.new_tensor([top])) < high):
        top *= 16.0
    if bottom == 0.0:
        refuse("mmse(sigma) at the lowest sigma", float(mmse(low.new_tensor([1e-300]))), "near 0, without a jump")
    return bottom, top
