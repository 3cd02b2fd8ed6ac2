"""Recording by one program, which walks the batch in blocks and appends to the FIFO rings in batch order."""

from __future__ import annotations

import triton
import triton.language as tl

from .common import EDGE_HIGH, EDGE_LOW, FIRST_CAUSE, N_COUNTERS, last_at_most

BLOCK = 256
TILE = 16


@triton.jit
def classify(
    sigma, error, mask, group, strides, counters, grid, G, i, live, K: tl.constexpr, KP: tl.constexpr, LOG: tl.constexpr
):
    """Ring [int32, -1 if skipped] and float32 loss of the samples i; counts the skipped by cause."""
    i = i.to(tl.int64)
    s = tl.load(sigma + i * strides[0], mask=live, other=1.0).to(tl.float32)
    e = tl.load(error + i * strides[1], mask=live, other=0.0).to(tl.float32)
    owner = tl.zeros_like(i)
    if group is not None:
        owner = tl.load(group + i * strides[3], mask=live, other=0).to(tl.int64)
    known = (owner >= 0) & (owner < G)
    owner = tl.where(known, owner, 0)
    wide = s.to(tl.float64)
    inside = (wide >= tl.load(grid) * EDGE_LOW) & (wide <= tl.load(grid + K) * EDGE_HIGH)
    cause = tl.where(e < 0, 5, 6)
    cause = tl.where(tl.abs(e) < float("inf"), cause, 4)
    cause = tl.where(inside, cause, 3)
    cause = tl.where(tl.abs(s) < float("inf"), cause, 2)
    cause = tl.where(known, cause, 1)
    if mask is not None:
        cause = tl.where(tl.load(mask + i * strides[2], mask=live, other=0) != 0, cause, 0)
    skipped = live & (cause < 6)
    place = counters + owner * N_COUNTERS + FIRST_CAUSE + tl.where(skipped, cause, 0)
    tl.atomic_add(place, tl.where(skipped, 1, 0).to(tl.int64), mask=skipped, sem="relaxed")
    k = last_at_most(grid, wide, K, KP, LOG)
    return tl.where(live & (cause == 6), owner.to(tl.int32) * K + k, -1), e


@triton.jit
def ranks(bin_, size, BLOCK: tl.constexpr, TILE: tl.constexpr):
    """How many earlier samples of the block share a sample's ring, and how many do in all, of `size`."""
    i = tl.arange(0, BLOCK)
    rows = tl.reshape(bin_, (BLOCK // TILE, TILE))
    packed = tl.zeros((BLOCK, TILE), tl.int32)  # both counts in one, total below 2^16
    for row in range(tl.cdiv(size, TILE)):  # a tile at a time: all pairs at once overflow the registers
        here = row == tl.arange(0, BLOCK // TILE)
        others = tl.sum(tl.where(here[:, None], rows, 0), 0)
        j = row * TILE + tl.arange(0, TILE)
        both = tl.where(j[None, :] < i[:, None], 65537, 1)
        packed += tl.where(bin_[:, None] == others[None, :], both, 0)
    counts = tl.sum(packed, 1)
    return counts >> 16, counts & 65535


@triton.jit
def record(
    ring, count, counters, grid, sigma, error, mask, group, strides, G, B,
    K: tl.constexpr, KP: tl.constexpr, LOG: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """The whole batch, by one program."""
    for start in range(0, B, BLOCK):
        i = start + tl.arange(0, BLOCK)
        bin_, e = classify(sigma, error, mask, group, strides, counters, grid, G, i, i < B, K, KP, LOG)
        rank, total = ranks(bin_, tl.minimum(B - start, BLOCK), BLOCK, TILE)
        good = bin_ >= 0
        place = tl.where(good, bin_, 0).to(tl.int64)
        written = tl.load(count + place, mask=good, other=0)
        tl.debug_barrier()
        tl.store(ring + place * C + (written + rank) % C, e, mask=good & (rank >= total - C))
        tl.store(count + place, written + total, mask=good & (rank == 0))
        tl.debug_barrier()


@triton.jit(do_not_specialize=["G", "B"])
def observe_kernel(
    ring, count, counters, grid, sigma, error, mask, group, sigma_stride, error_stride, mask_stride, group_stride, G, B,
    K: tl.constexpr, KP: tl.constexpr, LOG: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """One program."""
    strides = (sigma_stride, error_stride, mask_stride, group_stride)
    record(ring, count, counters, grid, sigma, error, mask, group, strides, G, B, K, KP, LOG, C, BLOCK, TILE)
