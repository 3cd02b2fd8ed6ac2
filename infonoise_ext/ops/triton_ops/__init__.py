"""Every op in Triton: the same results as the reference, on any device that Triton compiles for.

Integers and rings are exact and independent of the order in which programs and threads run;
statistics and tables are float64. Imported at the first use, never by `import infonoise_ext`.
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
