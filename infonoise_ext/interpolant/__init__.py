"""Paths from noise to data, the grids of high-dimensional theory, and the probability-flow ODE on any grid.

A grid is a descending vector of noise levels sigma, whatever schedule it comes from, so that all of
them can be compared in one sampler.
"""

from .grids import dilated_ve_grid, dilated_vp_grid, length_grid, merged_grid, mmse_grid, uniform_grid
from .ode import METHODS, sample_ode
from .path import Interpolant, Linear, Trigonometric

__all__ = [
    "METHODS",
    "Interpolant",
    "Linear",
    "Trigonometric",
    "dilated_ve_grid",
    "dilated_vp_grid",
    "length_grid",
    "merged_grid",
    "mmse_grid",
    "sample_ode",
    "uniform_grid",
]
