"""One module per host library, loaded at first use; each imports its library when that is needed."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import (
        accelerate,
        diffusers,
        edm,
        flow_matching,
        k_diffusion,
        lightning,
        loggers,
        lucidrains,
        physicsnemo,
        torchcfm,
        trainers,
    )

__all__ = [
    "accelerate",
    "diffusers",
    "edm",
    "flow_matching",
    "k_diffusion",
    "lightning",
    "loggers",
    "lucidrains",
    "physicsnemo",
    "torchcfm",
    "trainers",
]


def __getattr__(name: str) -> Any:
    """The module of a host."""
    if name in __all__:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The hosts."""
    return sorted(__all__)
