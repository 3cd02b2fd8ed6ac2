"""Functions that a compiled region must not take into its graph."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def never_compiled(reason: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`torch.compiler.disable` at the first call: earlier it would import torch._dynamo, which takes seconds."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if "disabled" not in once:
                once["disabled"] = torch.compiler.disable(function, reason=reason)
            return once["disabled"](*args, **kwargs)

        once: dict[str, Callable[P, R]] = {}
        return call

    return decorate
