"""Noise levels equally spaced in a cumulative information coordinate (arXiv 2602.18647, Eq. 19)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..curves.arguments import choice, number, whole
from ..ops.schemas import CURVES
from ..state.table import Table
from .fixed import EDM_RHO
from .source import Source, mean_table, profile_of, signal_of, table_of, to_zero


def info_grid(
    source: Source | Sequence[Source], n: int, signal: str = "rescaled", blend: float = 0.5, group: int = 0
) -> Tensor:
    """Noise levels of an n-step sampler, equally spaced in a cumulative information coordinate.

    The coordinate has density, per unit s = log sigma: mmse / sigma^2 ("entropy"), mmse / sigma
    ("rescaled"), d mmse / ds ("mmse") or its square root ("length"), blended with that of EDM's
    rho = 7 grid, sigma^(1/7) (arXiv 2206.00364, Eq. 5). Nothing is gated.

    Args:
        source: a schedule or an oracle, a profile, or the path of a file that `Profile.save` or
            `InfoNoise.save` wrote (which holds no `bound`). Of several, such as the features that
            `offline_profile` tells apart, each gets the same total of its signal; where ranges differ
            the grid spans them all.
        n: number of steps, at least 1.
        signal: which information; docs/how-it-works.md says what each equalises.
        blend: share of EDM's density, in [0, 1].
        group: which of a schedule in a file; of one in memory take `schedule.profile(group)`.

    Returns:
        [n + 1] float32 descending from the top of the source's range to its bottom, then 0.

    Raises:
        OSError: a file cannot be opened.
        ValueError: an argument out of range, a file that holds neither, or a profile that has measured nothing.
    """
    n, blend = whole("n", n, least=1), number("blend", blend, least=0, most=1)
    choice("signal", signal, CURVES)

    def build(one: Source) -> Table:
        profile = profile_of(one, group)
        return table_of(profile.edges, signal_of(profile, signal))

    information = mean_table(source, build)
    edges = information.edges
    edm = edges ** (1 / EDM_RHO)
    edm = (edm - edm[0]) / (edm[-1] - edm[0])
    table = Table.trusted(edges, (1 - blend) * information.cdf + blend * edm)
    levels = table.level(torch.linspace(1, 0, n, dtype=torch.float64, device=edges.device))
    levels[-1], levels[0] = edges[0], edges[-1]  # also where the end bins hold nothing
    return to_zero(levels)


def info_times(source: Source, n: int, time_of: Callable[[Tensor], Tensor]) -> Tensor:
    """`info_grid` in a time that runs from 0 at pure noise to 1 at the data.

    Args:
        source: as of `info_grid`.
        n: number of steps, at least 1.
        time_of: noise levels [m], float32 and descending, to times [m].

    Returns:
        [n + 1] float32 ascending from exactly 0 to exactly 1.

    Raises:
        OSError: as `info_grid`.
        ValueError: as `info_grid`.
    """
    inner = time_of(info_grid(source, n)[1:-1])
    return torch.cat((inner.new_zeros(1), inner, inner.new_ones(1)))
