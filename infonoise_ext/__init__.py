"""Adaptive training noise schedules for diffusion models, on the device and in the compiled step."""

from ._version import __version__
from .channel import clean_error
from .channel.sigma_table import SigmaTable
from .curves.bounds import BinaryBound, GaussianBound, OneHotBound
from .curves.densities import LogitNormal, LogNormal, LogUniform
from .curves.density import Density
from .curves.pivot import FixedPivot, Onset, PowerLaw
from .curves.weights import EDMWeight, UnitWeight
from .distributed import check_ranks
from .grids.features import principal_components
from .grids.info import edm_grid, info_grid, log_uniform_grid, open_grid
from .grids.offline import offline_profile
from .loss import denoising_loss
from .oracle.empirical_bayes import empirical_bayes
from .schedule import InfoNoise
from .state.config import InfoNoiseConfig
from .state.profile import Profile
from .watch.history import History

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
    "open_grid",
    "principal_components",
]
