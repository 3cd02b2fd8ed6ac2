"""Every op's schema, one line each, and the layout of the tensors they share.

``csrc/core/layout.h`` has the same layouts; a test compares them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

NAMESPACE = "infonoise"

SCHEMAS = {
    "observe_": "(Tensor(a!) ring, Tensor(b!) count, Tensor(c!) counters, Tensor grid, Tensor sigma, Tensor error, Tensor? mask, Tensor? group) -> ()",
    "bin_stats": "(Tensor ring, Tensor count) -> Tensor",
    "refresh_": "(Tensor moments, Tensor count, Tensor(a!) previous_count, Tensor(b!) previous_cdf, Tensor(c!) mmse, Tensor(d!) cdf, Tensor(e!) stats, Tensor(f!) counters, Tensor grid, Tensor params) -> ()",
    "sample_": "(Tensor cdf, Tensor(a!) rng, Tensor grid, Tensor params, SymInt n, Tensor? group) -> Tensor",
    "advance_": "(Tensor(a!) ring, Tensor(b!) count, Tensor(c!) previous_count, Tensor(d!) previous_cdf, Tensor(e!) mmse, Tensor(f!) cdf, Tensor(g!) stats, Tensor(h!) counters, Tensor(i!) rng, Tensor grid, Tensor params, Tensor sigma, Tensor error, Tensor? mask, Tensor? group, SymInt n, Tensor? next_group) -> Tensor",
    "denoising_error": "(Tensor denoised, Tensor target) -> Tensor",
    "denoising_error_backward": "(Tensor grad_error, Tensor denoised, Tensor target) -> Tensor",
}


class Params(NamedTuple):
    """The constants in `params`: all float64, in this order."""

    log_min: float
    width: float
    warmup: float
    refresh_every: float
    min_count: float
    floor: float
    reach: float
    gate_power: float
    pivot_rule: float
    pivot_value: float
    pivot_span: float
    stratified: float
    rank: float
    world: float
    signal: float


PARAMS = Params._fields
GRID_ROWS = ("edges", "sigma", "weight", "bound")
COUNTERS = (
    "steps",
    "status",
    "refreshes",
    "waits",
    "degenerates",
    "masked",
    "bad_group",
    "nonfinite_sigma",
    "out_of_range",
    "nonfinite_error",
    "negative_error",
    "recomputed",
)
SKIP_CAUSES = COUNTERS[COUNTERS.index("masked") :]
STATS = ("pivot", "kept", "variance", "sharpness", "information", "drift")
MOMENTS = ("count", "rest", "largest")
STATUSES = ("warm-up", "waiting for losses", "active", "degenerate profile kept out")
PIVOT_RULES = ("fixed", "onset", "power_law")
CURVES = ("entropy", "rescaled", "mmse", "length")
SIGNALS = ("learnable", *CURVES)


class Layout(NamedTuple):
    """How a tensor lies in memory, always as one contiguous block."""

    dtype: torch.dtype
    shape: tuple[str | int, ...]
    """Sizes: G groups, K bins, C losses that the ring of a bin holds."""
    start: float | None
    """Its value before anything has happened; None if that depends on the options."""
    holds: str

    def sizes(self, **known: int) -> tuple[int, ...]:
        """The shape in numbers, given those of its letters."""
        known |= {f"{letter} + 1": size + 1 for letter, size in known.items()}
        return tuple(known[size] if isinstance(size, str) else size for size in self.shape)


_F64, _I64 = torch.float64, torch.int64
LAYOUT = {
    "ring": Layout(torch.float32, ("G", "K", "C"), -1, "the last C losses of every bin; -1 where there is none yet"),
    "count": Layout(_I64, ("G", "K"), 0, "losses ever written; the next slot is count % C"),
    "previous_count": Layout(_I64, ("G", 2, "K"), 0, "`count` at the refresh before the last, and at the last"),
    "previous_cdf": Layout(_F64, ("G", "K + 1"), None, "the table that the last refresh found"),
    "mmse": Layout(_F64, ("G", "K"), -1, "estimate of the last refresh; -1 before the first"),
    "cdf": Layout(_F64, ("G", "K + 1"), None, "the table that is sampled from"),
    "stats": Layout(_F64, ("G", len(STATS)), 0, "STATS: what the last refresh found"),
    "counters": Layout(_I64, ("G", len(COUNTERS)), 0, "COUNTERS: steps, refreshes, skipped samples by cause"),
    "rng": Layout(_I64, (2,), None, "seed and draw offset of the Philox stream"),
    "grid": Layout(_F64, (len(GRID_ROWS), "K + 1"), None, "GRID_ROWS, constant; rows of K values end in a 0"),
    "params": Layout(_F64, (len(PARAMS),), None, "PARAMS, constant"),
}
"""The state of a schedule: what the ops read and change."""

MOMENTS_LAYOUT = Layout(
    _F64, ("G", "K", len(MOMENTS)), None, "losses in every ring, the sum of all but the largest, the largest"
)
"""Of the tensor that `bin_stats` makes and `refresh_` takes."""

MAX_DRAW = 2**32
"""The most samples of one draw: beyond, the counter of the random stream would repeat."""

SHUFFLE_BLOCKS = 8
"""Philox blocks with the keys of a shuffle of strata, two rounds each."""

NO_RANK = 2**32 - 1
"""In place of the rank in the counter, for what all ranks must find alike whatever their seeds."""

EDGE_TOLERANCE = 1e-5
"""Relative distance outside the grid that still counts as rounding and belongs to the end bin."""

SAME_RATE = 1e-9
"""Relative distance at which two rates, or two mmse, differ by rounding only."""

INFLUENCE = 1 / 16
"""How much the largest of many losses can add to their mean, as a share of it."""

CERTAIN = 0.9
"""Largest share of the noise in an error from which the variance of the data is still told."""

NARROWEST = 0.25
"""Standard deviation in log sigma below which nothing is gained by drawing a narrower band."""

TINY = 1e-300
"""Floor of every logarithm's argument."""
