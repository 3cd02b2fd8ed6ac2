"""The moments of the rings, for `bin_stats` and `advance_`."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .common import N_MOMENTS, STEPS, is_due, options

RINGS = 16
SLOTS = 64


@triton.jit
def ring_moments(ring, count, out, first, rings, C: tl.constexpr, RINGS: tl.constexpr, SLOTS: tl.constexpr):
    """Number, sum and sum of squares of RINGS rings, float64, in a fixed order."""
    b = (first + tl.arange(0, RINGS)).to(tl.int64)
    live = b < rings
    filled = tl.minimum(tl.load(count + b, mask=live, other=0), C)
    total = tl.zeros((RINGS, SLOTS), dtype=tl.float64)
    squares = tl.zeros((RINGS, SLOTS), dtype=tl.float64)
    for start in range(0, C, SLOTS):
        slot = start + tl.arange(0, SLOTS)
        held = slot[None, :] < filled[:, None]
        x = tl.load(ring + b[:, None] * C + slot[None, :], mask=held, other=0.0).to(tl.float64)
        total += x
        squares += x * x
    place = out + b * N_MOMENTS
    tl.store(place, filled.to(tl.float64), mask=live)
    tl.store(place + 1, tl.sum(total, 1), mask=live)
    tl.store(place + 2, tl.sum(squares, 1), mask=live)


@triton.jit(do_not_specialize=["rings"])
def moments_kernel(
    ring, count, out, counters, params, rings, C: tl.constexpr, RINGS: tl.constexpr, SLOTS: tl.constexpr
):
    """RINGS rings a program; given counters, only if the step being made makes a refresh due."""
    due = True
    if counters is not None:
        due = is_due(params, tl.load(counters + STEPS) + 1)
    if due:
        ring_moments(ring, count, out, tl.program_id(0) * RINGS, rings, C, RINGS, SLOTS)


def launch_moments(
    ring: Tensor, count: Tensor, out: Tensor, counters: Tensor | None = None, params: Tensor | None = None
) -> None:
    """One launch."""
    rings = count.numel()
    moments_kernel[(triton.cdiv(rings, RINGS),)](
        ring, count, out, counters, params, rings, C=ring.shape[-1], RINGS=RINGS, SLOTS=SLOTS, **options()
    )
