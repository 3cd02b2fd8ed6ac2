"""Noise levels of any shape: one a sample [B], one a frame or a token [B, T], and so on; the ops take vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from .arguments import number, refuse

Shape: TypeAlias = int | Sequence[int]
"""Of the levels to draw: a number of them, or the sizes of a tensor."""

Shift: TypeAlias = Tensor | float | None
"""In log sigma, of data whose profile lies so much higher: a number, or one for each level or for how they begin."""


def sizes(shape: Shape) -> tuple[int, ...]:
    """The sizes that a shape stands for; ValueError where one is negative, or no whole number."""
    if type(shape) is int and shape >= 0:  # of each step
        return (shape,)
    wanted = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    if any(size is None or isinstance(size, str | float) or size < 0 for size in wanted):
        refuse("shape", shape, "at least 0, in whole numbers")
    return wanted


def as_vectors(
    sigma: Tensor, error: Tensor, mask: Tensor | None, group: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Levels with all that is known of each, as the vectors that an op takes.

    Raises:
        ValueError: error or mask has another shape than sigma, or group's shape does not begin it.
    """
    if sigma.dim() == 1:  # the op itself compares lengths
        return sigma, error, mask, group
    for name, x in (("error", error), ("mask", mask)):
        if x is not None and x.shape != sigma.shape:
            refuse(f"the shape of {name}", list(x.shape), f"that of sigma, {list(sigma.shape)}")
    flat_mask = None if mask is None else mask.reshape(-1)
    return sigma.reshape(-1), error.reshape(-1), flat_mask, groups_of("group", group, tuple(sigma.shape))


def factor_of(shift: Shift, shape: Sequence[int], sign: int = 1, name: str = "shift") -> Tensor | float | None:
    """What levels of a shape are multiplied by, to move by `sign` times `shift` in log sigma; None of None.

    Raises:
        ValueError: shift's shape does not begin that of the levels, or it is a number that is not finite.
    """
    if shift is None:
        return None
    if not isinstance(shift, Tensor):
        return math.exp(sign * (shift if torch.compiler.is_compiling() else number(name, shift)))
    if tuple(shift.shape) != tuple(shape[: shift.dim()]):
        refuse(f"the shape of {name}", list(shift.shape), f"that of sigma, {list(shape)}, or how it begins")
    factor = (sign * shift.detach()).float().exp()
    return factor.view(*shift.shape, *[1] * (len(shape) - shift.dim()))


def shifted(sigma: Tensor, shift: Shift, sign: int = 1) -> Tensor:
    """Levels moved by `sign` times `shift`: see `factor_of`."""
    return moved(sigma, factor_of(shift, sigma.shape, sign))


def moved(sigma: Tensor, factor: Tensor | float | None) -> Tensor:
    """Levels times what `factor_of` gives."""
    return sigma if factor is None else sigma * factor


def groups_of(name: str, group: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    """The group of each of the levels of a shape, as a vector: one of [B] holds for all frames of a sample.

    Raises:
        ValueError: group's shape does not begin that of the levels.
    """
    if group is None or (group.dim() == 1 and len(shape) == 1):
        return group
    if tuple(group.shape) != shape[: group.dim()]:
        refuse(f"the shape of {name}", list(group.shape), f"that of sigma, {list(shape)}, or how it begins")
    return group.reshape(*group.shape, *[1] * (len(shape) - group.dim())).expand(shape).reshape(-1)
