"""Vectorised torch version of every op: runs with no build, on any device, with no host sync.

It serves every tensor that no compiled kernel serves, and is the rival in the benchmarks. On CPU
tensors it may read a number back (that costs nothing there); elsewhere it never does.
"""

from .advance import advance_
from .draw import sample_
from .loss import denoising_error, denoising_error_backward
from .record import bin_stats, observe_
from .refresh import gate, rate, refresh_
from .signal import signal

__all__ = [
    "advance_",
    "bin_stats",
    "denoising_error",
    "denoising_error_backward",
    "gate",
    "observe_",
    "rate",
    "refresh_",
    "sample_",
    "signal",
]
