"""Noise levels of any shape: one a sample [B], one a frame or a token [B, T], and so on; the ops take vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from torch import Tensor

from .arguments import refuse

Shape: TypeAlias = int | Sequence[int]
"""Of the levels to draw: a number of them, or the sizes of a tensor."""

Shift: TypeAlias = Tensor | float | None
"""In log sigma, of data whose profile lies so much higher: a number, or one for each level or for how they begin."""


def sizes(shape: Shape) -> tuple[int, ...]:
    """The sizes that a shape stands for; ValueError where one is negative."""
    wanted = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    if any(size < 0 for size in wanted):
        refuse("shape", shape, "at least 0")
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


def shifted(sigma: Tensor, shift: Tensor | float | None, sign: int = 1, name: str = "shift") -> Tensor:
    """Levels moved by `sign` times `shift` in log sigma: one number, or one for each level or for how they begin.

    Raises:
        ValueError: shift's shape does not begin that of the levels.
    """
    if shift is None:
        return sigma
    if not isinstance(shift, Tensor):
        return sigma * math.exp(sign * shift)
    if shift.shape != sigma.shape[: shift.dim()]:
        refuse(f"the shape of {name}", list(shift.shape), f"that of sigma, {list(sigma.shape)}, or how it begins")
    factor = (sign * shift.detach()).float().exp()
    return sigma * factor.view(*shift.shape, *[1] * (sigma.dim() - shift.dim()))


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
