"""Noise levels for samplers, spaced by what is known of the data; and profiles of a frozen network."""

from .features import principal_components
from .fixed import edm_grid, merged_grid
from .info import info_grid
from .offline import offline_profile
from .open import open_grid
from .source import Source

__all__ = [
    "Source",
    "edm_grid",
    "info_grid",
    "merged_grid",
    "offline_profile",
    "open_grid",
    "principal_components",
]
