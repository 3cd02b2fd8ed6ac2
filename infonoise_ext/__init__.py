"""Adaptive training noise schedules for diffusion models, on the device and in the compiled step."""

from ._version import __version__
from .bounds import BinaryBound, GaussianBound, OneHotBound
from .channel import clean_error
from .config import InfoNoiseConfig
from .densities import LogitNormal, LogNormal, LogUniform
from .density import Density
from .grid import edm_grid, info_grid, log_uniform_grid
from .monitor import History
from .pivot import FixedPivot, Onset, PowerLaw
from .profile import Profile
from .schedule import InfoNoise
from .weights import EDMWeight, UnitWeight

__all__ = [
    "BinaryBound",
    "Density",
    "EDMWeight",
    "FixedPivot",
    "GaussianBound",
    "History",
    "InfoNoise",
    "InfoNoiseConfig",
    "LogNormal",
    "LogUniform",
    "LogitNormal",
    "OneHotBound",
    "Onset",
    "PowerLaw",
    "Profile",
    "UnitWeight",
    "__version__",
    "clean_error",
    "edm_grid",
    "info_grid",
    "log_uniform_grid",
]
