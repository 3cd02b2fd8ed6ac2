"""How a noisy sample is made: VE, VP and flow paths as noise levels, exact conversions of losses, tables of levels."""

from ..curves.densities import UniformTime
from ..curves.weights import PREDICTIONS, LossWeight
from .channel import (
    VE,
    VP,
    Channel,
    Flow,
    alpha_bar_from_sigma,
    clean_error,
    sigma_from_alpha_bar,
)
from .sigma_table import SigmaTable

__all__ = [
    "PREDICTIONS",
    "VE",
    "VP",
    "Channel",
    "Flow",
    "LossWeight",
    "SigmaTable",
    "UniformTime",
    "alpha_bar_from_sigma",
    "clean_error",
    "sigma_from_alpha_bar",
]
