"""Named access to the packed constants."""

from __future__ import annotations

from torch import Tensor

from ..schemas import GRID_ROWS, PARAMS


def param(params: Tensor, name: str) -> Tensor:
    """A constant of `params`, 0-dimensional, so that reading it never waits for the device."""
    return params[PARAMS.index(name)]


def row(grid: Tensor, name: str) -> Tensor:
    """A row of `grid`: "edges" [K + 1], others [K]."""
    values = grid[GRID_ROWS.index(name)]
    return values if name == "edges" else values[:-1]
