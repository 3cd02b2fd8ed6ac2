"""Adaptive training noise schedules for diffusion models, on the device and in the compiled step."""

from ._version import __version__
from .bounds import BinaryBound, GaussianBound, OneHotBound
from .channel import clean_error
from .config import InfoNoiseConfig
from .densities import LogitNormal, LogNormal, LogUniform
from .density import Density
from .distributed import check_ranks
from .empirical_bayes import empirical_bayes
from .features import principal_components
from .grid import edm_grid, info_grid, log_uniform_grid
from .loss import denoising_loss
from .monitor import History
from .offline import offline_profile
from .pivot import FixedPivot, Onset, PowerLaw
from .profile import Profile
from .schedule import InfoNoise
from .table import SigmaTable
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
    "SigmaTable",
    "UnitWeight",
    "__version__",
    "check_ranks",
    "clean_error",
    "denoising_loss",
    "edm_grid",
    "empirical_bayes",
    "info_grid",
    "log_uniform_grid",
    "offline_profile",
    "principal_components",
]
