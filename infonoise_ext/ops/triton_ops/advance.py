"""`advance_`: observe, draw from the old table, count the step, refresh if due; decided on the device."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backward import refuse_in_backward
from ..checks import check_batch, check_draw, check_state
from ..schemas import MOMENTS
from .common import N_COUNTERS, ONE_PROGRAM, STEPS, is_due, on_device, options, padded, strides_of
from .draw import BLOCK as DRAW
from .draw import draw, find_places, launch_sample, places_of
from .moments import RINGS, SLOTS, launch_moments, ring_moments
from .record import BLOCK, TILE, record, record_many
from .refresh import refresh_group


@triton.jit
def count_step(counters):
    """The number of steps with this one; every thread of the program gets the same."""
    steps = tl.load(counters + STEPS) + 1
    tl.debug_barrier()
    tl.store(counters + STEPS, steps)
    return steps


@triton.jit(do_not_specialize=["G", "B", "n"])
def step_kernel(
    ring, count, previous_count, previous_cdf, mmse, cdf, stats, counters, rng, grid, params, sigma, error, mask, group,
    sigma_stride, error_stride, mask_stride, group_stride, next_group, next_stride, places, out, moments, G, B, n,
    K: tl.constexpr, KP: tl.constexpr, LOG: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
    DRAW: tl.constexpr, RINGS: tl.constexpr, SLOTS: tl.constexpr, REFRESH: tl.constexpr,
):  # fmt: skip
    """One program: record the batch, draw the next and, of a single group, refresh if due."""
    strides = (sigma_stride, error_stride, mask_stride, group_stride)
    record(ring, count, counters, grid, sigma, error, mask, group, strides, G, B, K, KP, LOG, C, BLOCK, TILE)
    seed, offset = tl.load(rng), tl.load(rng + 1)
    if next_group is not None:
        find_places(params, next_group, next_stride, places, G, n, 0, 1, DRAW)
    for start in range(0, n, DRAW):
        draw(cdf, grid, params, seed, offset, out, next_group, next_stride, places, G, start, n, K, KP, LOG, DRAW)
    tl.debug_barrier()
    if n > 0:
        tl.store(rng + 1, offset + 1)
    if REFRESH:  # noqa: SIM102 (a constant: without it nothing below is compiled)
        if is_due(params, count_step(counters)):
            for first in range(0, K, RINGS):
                ring_moments(ring, count, moments, first, K, C, RINGS, SLOTS)
            tl.debug_barrier()
            refresh_group(
                moments, moments, count, previous_count, previous_cdf, mmse, cdf, stats, counters, grid, params, 0, 1,
                K, KP,
            )  # fmt: skip


@triton.jit(do_not_specialize=["G", "n"])
def finish_kernel(
    moments, everyone, count, previous_count, previous_cdf, mmse, cdf, stats, counters, rng, grid, params, G, n,
    K: tl.constexpr, KP: tl.constexpr,
):  # fmt: skip
    """A group a program: count the step, refresh if due; the first moves the stream on, given n."""
    g = tl.program_id(0).to(tl.int64)
    if (g == 0) & (n > 0):
        offset = tl.load(rng + 1)
        tl.debug_barrier()
        tl.store(rng + 1, offset + 1)
    if is_due(params, count_step(counters + g * N_COUNTERS)):
        refresh_group(
            moments, everyone, count, previous_count, previous_cdf, mmse, cdf, stats, counters, grid, params, g, G,
            K, KP,
        )  # fmt: skip


def advance_(
    ring: Tensor, count: Tensor, previous_count: Tensor, previous_cdf: Tensor, mmse: Tensor, cdf: Tensor, stats: Tensor,
    counters: Tensor, rng: Tensor, grid: Tensor, params: Tensor, sigma: Tensor, error: Tensor, mask: Tensor | None,
    group: Tensor | None, n: int, next_group: Tensor | None,
) -> Tensor:  # fmt: skip
    """One launch for an ordinary batch of one group, three of several; seven for a large batch, eight with groups."""
    check_state(
        ring=ring, count=count, previous_count=previous_count, previous_cdf=previous_cdf, mmse=mmse, cdf=cdf,
        stats=stats, counters=counters, rng=rng, grid=grid, params=params,
    )  # fmt: skip
    check_batch(ring, sigma, error, mask, group)
    groups, bins, capacity = ring.shape
    check_draw(cdf, n, next_group, "next_group")
    refuse_in_backward("advance", sigma.numel() + n)
    batch = sigma.numel()
    inputs = (sigma, error, mask, group)
    strides = strides_of(*inputs)
    out = torch.empty(n, dtype=torch.float32, device=ring.device)
    moments = torch.empty((groups, bins, len(MOMENTS)), dtype=torch.float64, device=ring.device)
    large = max(batch, n) > ONE_PROGRAM
    with on_device(ring):
        if large:
            if batch:
                record_many(ring, count, counters, grid, inputs, strides)
            if n:
                launch_sample(cdf, rng, grid, params, out, next_group, move=False)
        else:
            step_kernel[(1,)](
                ring, count, previous_count, previous_cdf, mmse, cdf, stats, counters, rng, grid, params,
                *inputs, *strides,
                next_group, *strides_of(next_group), places_of(next_group, groups), out, moments, groups, batch, n,
                **padded(bins), C=capacity, BLOCK=BLOCK, TILE=TILE, DRAW=DRAW, RINGS=RINGS, SLOTS=SLOTS,
                REFRESH=groups == 1, **options(2 * bins if groups == 1 else 0),
            )  # fmt: skip
        if large or groups > 1:
            launch_moments(ring, count, moments, counters, params)
            finish_kernel[(groups,)](
                moments, torch.empty_like(moments) if groups > 1 else moments, count, previous_count, previous_cdf,
                mmse, cdf, stats, counters, rng, grid, params, groups, n if large else 0,
                K=bins, KP=padded(bins)["KP"], **options(bins),
            )  # fmt: skip
    return out
