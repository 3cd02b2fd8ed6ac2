"""Defines the ops, registers what implements them, and hands out a backend's set of them.

`torch.ops.infonoise.*` picks the implementation by the device of its tensors: compiled where a
kernel is built for it, eager torch everywhere else. `torch.ops.infonoise_eager.*` are the same ops,
always eager.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import _library, eager
from ._schemas import MOMENTS, NAMESPACE, SCHEMAS

_AUTOGRAD_FALLTHROUGH = "Autograd"
_LIBRARIES: list[torch.library.Library] = []  # registrations live as long as these objects


def _one_device(state: Tensor, **inputs: Tensor | None) -> None:
    for name, x in inputs.items():
        if x is not None and x.device != state.device:
            raise ValueError(f"{name} is on {x.device}, but the schedule's state is on {state.device}")


def _fake_observe(ring, count, counters, grid, sigma, error, mask, group):  # type: ignore[no-untyped-def]
    _one_device(ring, sigma=sigma, error=error, mask=mask, group=group)


def _fake_bin_stats(ring, count):  # type: ignore[no-untyped-def]
    return ring.new_empty((*count.shape, len(MOMENTS)), dtype=torch.float64)


def _fake_refresh(*args):  # type: ignore[no-untyped-def]
    return None


def _fake_sample(cdf, rng, grid, params, n, group):  # type: ignore[no-untyped-def]
    _one_device(cdf, group=group)
    return cdf.new_empty((n,), dtype=torch.float32)


def _fake_icdf(cdf, grid, params, u, group):  # type: ignore[no-untyped-def]
    _one_device(cdf, u=u, group=group)
    return cdf.new_empty((u.shape[0],), dtype=torch.float32)


def _fake_advance(ring, count, mmse, cdf, stats, counters, rng, grid, params, sigma, error, mask, group, n, next_group):  # type: ignore[no-untyped-def]
    _one_device(ring, sigma=sigma, error=error, mask=mask, group=group, next_group=next_group)
    return cdf.new_empty((n,), dtype=torch.float32)


_FAKES: dict[str, Callable[..., Any]] = {
    "observe_": _fake_observe,
    "bin_stats": _fake_bin_stats,
    "refresh_": _fake_refresh,
    "sample_": _fake_sample,
    "icdf": _fake_icdf,
    "advance_": _fake_advance,
}


def define(namespace: str) -> torch.library.Library:
    """Define every schema under `namespace`: eager everywhere, fakes, no autograd."""
    library = torch.library.Library(namespace, "DEF")
    for name, schema in SCHEMAS.items():
        library.define(name + schema)
        library.impl(name, getattr(eager, name), "CompositeExplicitAutograd")
        library.impl(name, torch.library.fallthrough_kernel, _AUTOGRAD_FALLTHROUGH)
        torch.library.register_fake(f"{namespace}::{name}", _FAKES[name], lib=library)
    _LIBRARIES.append(library)
    return library


define(NAMESPACE)
define(f"{NAMESPACE}_eager")
missing_reason: str | None = _library.load()
"""Why no compiled op is loaded; None when they are."""


class Ops:
    """The ops of one namespace as attributes, in a form that pickles and copies."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        for name in SCHEMAS:
            setattr(self, name, getattr(getattr(torch.ops, namespace), name).default)

    def __reduce__(self) -> tuple[type[Ops], tuple[str]]:
        return Ops, (self.namespace,)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., Any]: ...


def backend(name: str | None = None) -> Ops:
    """The ops of a backend.

    Args:
        name: "auto" (compiled where built, else eager), "eager", or None for what
            INFONOISE_BACKEND says (default "auto").

    Raises:
        ValueError: an unknown name.
    """
    name = _library.requested_backend() if name is None else name
    if name not in _library.BACKENDS:
        raise ValueError(f"backend is {name!r}, but must be one of {_library.BACKENDS}")
    return Ops(NAMESPACE if name == "auto" else f"{NAMESPACE}_{name}")


def serving(device_type: str) -> str:
    """Which implementation serves tensors of a device type: "C++", "CUDA C++" or "eager torch"."""
    key = device_type.upper()
    compiled = torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::observe_", key)
    return ("CUDA C++" if key == "CUDA" else "C++") if compiled else "eager torch"
