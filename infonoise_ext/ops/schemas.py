"""Every op's schema, one line each, and the layout of the tensors they share.

Sizes: B batch, K bins, C ring capacity, G groups.

=========== ======= ============== ==================================================================
tensor      dtype   shape          holds
=========== ======= ============== ==================================================================
``ring``    float32 [G, K, C]      the last C losses of every bin; -1 where there is none yet
``count``   int64   [G, K]         losses ever written; the next slot is ``count % C``
``mmse``    float64 [G, K]         moving average of the ring means; -1 where there is none yet
``cdf``     float64 [G, K + 1]     the table that is sampled from
``stats``   float64 [G, 5]         `STATS`: what the last refresh found
``counters`` int64  [G, 12]        `COUNTERS`: steps, refreshes, skipped samples by cause
``rng``     int64   [2]            seed and draw offset of the Philox stream
``grid``    float64 [4, K + 1]     `GRID_ROWS`, constant; rows of K values end in a 0
``params``  float64 [17]           `PARAMS`, constant
=========== ======= ============== ==================================================================

The same layouts stand in ``csrc/core.h``; a test compares them.
"""

from __future__ import annotations

NAMESPACE = "infonoise"

SCHEMAS = {
    "observe_": "(Tensor(a!) ring, Tensor(b!) count, Tensor(c!) counters, Tensor grid, Tensor sigma, Tensor error, Tensor? mask, Tensor? group) -> ()",
    "bin_stats": "(Tensor ring, Tensor count) -> Tensor",
    "refresh_": "(Tensor moments, Tensor(a!) mmse, Tensor(b!) cdf, Tensor(c!) stats, Tensor(d!) counters, Tensor grid, Tensor params) -> ()",
    "sample_": "(Tensor cdf, Tensor(a!) rng, Tensor grid, Tensor params, SymInt n, Tensor? group) -> Tensor",
    "icdf": "(Tensor cdf, Tensor grid, Tensor params, Tensor u, Tensor? group) -> Tensor",
    "advance_": "(Tensor(a!) ring, Tensor(b!) count, Tensor(c!) mmse, Tensor(d!) cdf, Tensor(e!) stats, Tensor(f!) counters, Tensor(g!) rng, Tensor grid, Tensor params, Tensor sigma, Tensor error, Tensor? mask, Tensor? group, SymInt n, Tensor? next_group) -> Tensor",
    "denoising_error": "(Tensor denoised, Tensor target) -> Tensor",
    "denoising_error_backward": "(Tensor grad_error, Tensor denoised, Tensor target) -> Tensor",
}

PARAMS = (
    "log_min",
    "width",
    "warmup",
    "refresh_every",
    "min_count",
    "coverage",
    "ema",
    "smooth",
    "floor",
    "gate_power",
    "pivot_rule",
    "pivot_value",
    "pivot_span",
    "stratified",
    "rank",
    "world",
    "signal",
)
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
STATS = ("pivot", "coverage", "drift", "information", "kept")
MOMENTS = ("count", "sum", "squares")
STATUSES = ("warm-up", "waiting for coverage", "active", "degenerate profile kept out")
PIVOT_RULES = ("fixed", "onset", "power_law")
SIGNALS = ("entropy", "rescaled", "mmse", "length")

EDGE_TOLERANCE = 1e-5
"""Relative distance outside the grid that still counts as rounding and belongs to the end bin."""

SAME_RATE = 1e-9
"""Relative distance at which two rates, or two mmse, differ by rounding only."""

TINY = 1e-300
"""Floor of every logarithm's argument."""
