"""Float64 reference of every op: plain Python loops over numbers, one equation a line. The contract.

Slow and readable on purpose; tests compare every backend with it, and nothing else imports it.
Equation numbers are those of arXiv 2602.18647. Functions mutate the tensors whose names their
schema marks (`ops/schemas.py`), as the ops do.
"""

from .advance import advance_
from .draw import sample_
from .loss import denoising_error, denoising_error_backward
from .record import bin_stats, observe_
from .refresh import refresh_

__all__ = [
    "advance_",
    "bin_stats",
    "denoising_error",
    "denoising_error_backward",
    "observe_",
    "refresh_",
    "sample_",
]
