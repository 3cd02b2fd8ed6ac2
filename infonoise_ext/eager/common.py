"""Argument checks and named access to the packed constants."""

from __future__ import annotations

import torch
from torch import Tensor

from .._schemas import GRID_ROWS, PARAMS

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_vector(x: Tensor, name: str, like: Tensor, length: int | None, dtypes: tuple[torch.dtype, ...]) -> None:
    """ValueError unless x is a vector of one of `dtypes` on the device of `like`, `length` long."""
    if x.device != like.device:
        raise ValueError(f"{name} is on {x.device}, but the schedule's state is on {like.device}")
    if x.dtype not in dtypes:
        raise ValueError(f"{name} must be one of {dtypes}, got {x.dtype}")
    if x.dim() != 1 or (length is not None and x.numel() != length):
        wanted = "[B]" if length is None else f"[{length}]"
        raise ValueError(f"{name} must have shape {wanted}, got {list(x.shape)}")


def check_group(group: Tensor | None, name: str, like: Tensor, length: int, groups: int | None) -> None:
    """ValueError unless group is None or a vector of integers, on the CPU in [0, groups)."""
    if group is None:
        return
    check_vector(group, name, like, length, (torch.int64, torch.int32))
    if groups is not None and group.device.type == "cpu" and not torch.compiler.is_compiling():
        bad = (group < 0) | (group >= groups)
        if bool(bad.any()):
            raise ValueError(f"{name} holds {int(group[bad][0])}, which is not in [0, {groups})")


def param(params: Tensor, name: str) -> Tensor:
    """A constant of `params`, 0-dimensional, so that reading it never waits for the device."""
    return params[PARAMS.index(name)]


def row(grid: Tensor, name: str) -> Tensor:
    """A row of `grid`: "edges" [K + 1], others [K]."""
    row = grid[GRID_ROWS.index(name)]
    return row if name == "edges" else row[:-1]
