"""Defines the ops, registers what implements them, and hands out a backend's set of them.

`torch.ops.infonoise.*` picks the implementation by the device of its tensors: compiled where a
kernel is built for it, eager torch everywhere else. `torch.ops.infonoise_eager.*` are the same ops,
always eager.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from . import _library, eager
from ._schemas import MOMENTS, NAMESPACE, SCHEMAS

_AUTOGRAD_FALLTHROUGH = "Autograd"
_LIBRARIES: list[torch.library.Library] = []  # registrations live as long as these objects


def _fake_vector(like: Tensor, n: int) -> Tensor:
    return like.new_empty((n,), dtype=torch.float32)


_FAKES = {
    "observe_": lambda *args: None,
    "bin_stats": lambda ring, count: ring.new_empty((*count.shape, len(MOMENTS)), dtype=torch.float64),
    "refresh_": lambda *args: None,
    "sample_": lambda cdf, rng, grid, params, n, group: _fake_vector(cdf, n),
    "icdf": lambda cdf, grid, params, u, group: _fake_vector(cdf, u.shape[0]),
    "advance_": lambda *args: _fake_vector(args[0], args[-2]),
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


def backend(name: str | None = None) -> SimpleNamespace:
    """The ops of a backend, by name.

    Args:
        name: "auto" (compiled where built, else eager), "eager", or None for what
            INFONOISE_BACKEND says (default "auto").

    Raises:
        ValueError: an unknown name.
    """
    name = _library.requested_backend() if name is None else name
    if name not in _library.BACKENDS:
        raise ValueError(f"backend is {name!r}, but must be one of {_library.BACKENDS}")
    namespace = getattr(torch.ops, NAMESPACE if name == "auto" else f"{NAMESPACE}_{name}")
    return SimpleNamespace(**{op: getattr(namespace, op).default for op in SCHEMAS})


def serving(device_type: str) -> str:
    """Which implementation serves tensors of a device type: "C++" or "eager torch"."""
    key = device_type.upper()
    compiled = torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::observe_", key)
    return "C++" if compiled else "eager torch"
