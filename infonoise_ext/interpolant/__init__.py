"""Paths from noise to data, and the probability-flow ODE on any grid.

A grid is a descending vector of noise levels sigma, whatever schedule it comes from, so that all of
them can be compared in one sampler.
"""

from .ode import METHODS, sample_ode
from .path import Interpolant, Linear, Trigonometric

__all__ = [
    "METHODS",
    "Interpolant",
    "Linear",
    "Trigonometric",
    "sample_ode",
]
