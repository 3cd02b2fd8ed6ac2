"""Checks of arguments, in one wording: "NAME is VALUE, but must be WHAT"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn


def refuse(name: str, value: object, allowed: str) -> NoReturn:
    """ValueError that names the argument, its value and what is allowed."""
    raise ValueError(f"{name} is {value!r}, but must be {allowed}")


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    """`value` as a float; it may be a Python or NumPy number or a tensor of one element.

    Raises:
        ValueError: it is no number, a bool, not finite, or outside of the range.
    """
    x = _converted(float, value)
    if x is None or not math.isfinite(x) or _outside(x, above, least, below, most):
        refuse(name, value, f"a finite number{_range(above, least, below, most)}")
    return x


def whole(name: str, value: Any, *, least: int | None = None, most: int | None = None) -> int:
    """`value` as an int; it may be a Python or NumPy integer, a whole float or a tensor of one element.

    Raises:
        ValueError: it is no whole number, a bool, or outside of the range.
    """
    x = _converted(int, value)
    if x is None or x != value or _outside(x, None, least, None, most):
        refuse(name, value, f"an integer{_range(None, least, None, most)}")
    return x


def choice(name: str, value: Any, options: Sequence[str]) -> str:
    """That of the `options` that `value` equals, a plain str whatever kind of string it is; else ValueError."""
    if not isinstance(value, str) or value not in options:
        refuse(name, value, f"one of {', '.join(map(repr, options))}")
    return options[options.index(value)]


def _converted(kind: Any, value: Any) -> Any:
    if isinstance(value, bool | str | bytes):
        return None
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None


def _outside(x: float, above: float | None, least: float | None, below: float | None, most: float | None) -> bool:
    return (
        (above is not None and x <= above)
        or (least is not None and x < least)
        or (below is not None and x >= below)
        or (most is not None and x > most)
    )


def _range(above: float | None, least: float | None, below: float | None, most: float | None) -> str:
    """The range in words, with a space before it."""
    low, high = least if above is None else above, most if below is None else below
    if low is not None and high is not None:
        return f" in {'[' if above is None else '('}{low:.10g}, {high:.10g}{']' if below is None else ')'}"
    if low is not None:
        return f" {'of at least' if above is None else 'above'} {low:.10g}"
    if high is not None:
        return f" {'of at most' if below is None else 'below'} {high:.10g}"
    return ""
