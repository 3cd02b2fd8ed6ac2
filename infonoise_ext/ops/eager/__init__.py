"""Vectorised torch version of every op: runs with no build, on any device, with no host sync.

It serves every tensor that no compiled kernel serves, and is the rival in the benchmarks. On CPU
tensors it may read a number back (that costs nothing there); elsewhere it never does.
"""

from .advance import advance_
from .draw import sample_
from .estimate import estimate, gaussian_mmse
from .loss import denoising_error, denoising_error_backward
from .record import bin_stats, observe_
from .refresh import gate, refresh_
from .signal import curve, signal

__all__ = [
    "advance_",
    "bin_stats",
    "curve",
    "denoising_error",
    "denoising_error_backward",
    "estimate",
    "gate",
    "gaussian_mmse",
    "observe_",
    "refresh_",
    "sample_",
    "signal",
]
