"""The moments of the rings, for `bin_stats` and `advance_`."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .common import N_MOMENTS, STEPS, is_due, options

RINGS = 16
SLOTS = 64


@triton.jit
def all_but_largest(rest, largest, other_rest, other_largest):
    """Of two sets of losses as of one: the sum of all but the largest, and the largest."""
    return rest + other_rest + tl.minimum(largest, other_largest).to(tl.float64), tl.maximum(largest, other_largest)


@triton.jit
def ring_moments(ring, count, out, first, rings, C: tl.constexpr, RINGS: tl.constexpr, SLOTS: tl.constexpr):
    """Number of the losses of RINGS rings, the sum of all but the largest, the largest, in a fixed order."""
    b = (first + tl.arange(0, RINGS)).to(tl.int64)
    live = b < rings
    filled = tl.minimum(tl.load(count + b, mask=live, other=0), C)
    rest = tl.zeros((RINGS, SLOTS), dtype=tl.float64)
    largest = tl.zeros((RINGS, SLOTS), dtype=tl.float32)
    for start in range(0, C, SLOTS):
        slot = start + tl.arange(0, SLOTS)
        held = slot[None, :] < filled[:, None]
        x = tl.load(ring + b[:, None] * C + slot[None, :], mask=held, other=0.0)
        rest += tl.minimum(x, largest).to(tl.float64)
        largest = tl.maximum(x, largest)
    rest, largest = tl.reduce((rest, largest), 1, all_but_largest)
    place = out + b * N_MOMENTS
    tl.store(place, filled.to(tl.float64), mask=live)
    tl.store(place + 1, rest, mask=live)
    tl.store(place + 2, largest.to(tl.float64), mask=live)


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
