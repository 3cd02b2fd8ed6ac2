"""Adaptive training noise schedules for diffusion models, on the device and in the compiled step.

`inx.channel`, `inx.grids`, `inx.integrations`, `inx.interpolant`, `inx.oracle` and `inx.plot` are imported when they
are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .channel import SigmaTable, clean_error
from .curves.bounds import BinaryBound, GaussianBound
from .curves.densities import LogitNormal, LogNormal, LogUniform
from .curves.density import Density
from .curves.pivot import Onset, PowerLaw
from .curves.weights import EDMWeight
from .loss import denoising_loss
from .schedule import InfoNoise
from .state.config import InfoNoiseConfig
from .state.profile import Profile
from .state.table import Table
from .watch.history import History

if TYPE_CHECKING:
    from . import channel as channel
    from . import grids as grids
    from . import integrations as integrations
    from . import interpolant as interpolant
    from . import oracle as oracle
    from .grids import info_grid, offline_profile, open_grid
    from .oracle import empirical_bayes
    from .watch import plot as plot

__all__ = [
    "BinaryBound",
    "Density",
    "EDMWeight",
    "GaussianBound",
    "History",
    "InfoNoise",
    "InfoNoiseConfig",
    "LogNormal",
    "LogUniform",
    "LogitNormal",
    "Onset",
    "PowerLaw",
    "Profile",
    "SigmaTable",
    "Table",
    "__version__",
    "clean_error",
    "denoising_loss",
    "empirical_bayes",
    "info_grid",
    "offline_profile",
    "open_grid",
]

_LATE_MODULES = {name: f".{name}" for name in ("channel", "grids", "integrations", "interpolant", "oracle")}
_LATE_MODULES["plot"] = ".watch.plot"
_LATE_NAMES = {
    "empirical_bayes": ".oracle",
    "info_grid": ".grids",
    "offline_profile": ".grids",
    "open_grid": ".grids",
}


def __getattr__(name: str) -> Any:
    """A module or a name that costs nothing until it is used."""
    if name in _LATE_MODULES:
        return importlib.import_module(_LATE_MODULES[name], __name__)
    if name in _LATE_NAMES:
        return getattr(importlib.import_module(_LATE_NAMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The interface: the names, and the modules that have names of their own."""
    return sorted([*__all__, *_LATE_MODULES])
