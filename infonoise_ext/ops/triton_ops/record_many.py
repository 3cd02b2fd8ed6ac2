"""Recording a large batch by many programs, in batch order all the same.

Each program ranks the samples of its chunk within their rings and leaves a histogram; a prefix sum
over the chunks says where each chunk's samples go; then every sample is written at its place.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .common import options, padded
from .record import BLOCK, TILE, classify, ranks

CHUNK = 1024
SCRATCH = 2**25
"""Entries of the histograms, [chunks, G K] int32, above which the chunks grow."""


@triton.jit(do_not_specialize=["G", "B", "chunk"])
def rank_kernel(
    counters, grid, sigma, error, mask, group, sigma_stride, error_stride, mask_stride, group_stride, G, B,
    bins, rank, loss, histogram, chunk,
    K: tl.constexpr, KP: tl.constexpr, LOG: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """A chunk a program: ring, loss and rank within the chunk of each sample, samples of each ring."""
    strides = (sigma_stride, error_stride, mask_stride, group_stride)
    first = tl.program_id(0) * chunk
    last = tl.minimum(first + chunk, B)
    row = histogram + tl.program_id(0).to(tl.int64) * G * K
    for start in range(first, last, BLOCK):
        i = start + tl.arange(0, BLOCK)
        live = i < last
        bin_, e = classify(sigma, error, mask, group, strides, counters, grid, G, i, live, K, KP, LOG)
        here, total = ranks(bin_, tl.minimum(last - start, BLOCK), BLOCK, TILE)
        good = bin_ >= 0
        place = tl.where(good, bin_, 0)
        before = tl.load(row + place, mask=good, other=0)
        tl.debug_barrier()
        tl.store(row + place, before + total, mask=good & (here == 0))
        tl.store(bins + i, bin_, mask=live)
        tl.store(rank + i, before + here, mask=live)
        tl.store(loss + i, e, mask=live)
        tl.debug_barrier()


@triton.jit(do_not_specialize=["rings", "chunks"])
def prefix_kernel(histogram, total, count, rings, chunks, BLOCK: tl.constexpr):
    """Histogram to exclusive prefix over the chunks, the sum to `total` [G K] and to the counts."""
    b = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = b < rings
    running = tl.zeros((BLOCK,), dtype=tl.int32)
    place = histogram + b
    for _ in range(chunks):
        here = tl.load(place, mask=live, other=0)
        tl.debug_barrier()
        tl.store(place, running, mask=live)
        running += here
        place += rings
    written = tl.load(count + b, mask=live, other=0)
    tl.debug_barrier()
    tl.store(total + b, running, mask=live)
    tl.store(count + b, written + running, mask=live)


@triton.jit(do_not_specialize=["rings", "B", "chunk"])
def write_kernel(
    ring, count, bins, rank, loss, histogram, total, rings, B, chunk, C: tl.constexpr, BLOCK: tl.constexpr
):
    """Every sample to its slot; `count` already includes this batch."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    bin_ = tl.load(bins + i, mask=i < B, other=-1)
    good = bin_ >= 0
    place = tl.where(good, bin_, 0).to(tl.int64)
    here = tl.load(rank + i, mask=good, other=0)
    here += tl.load(histogram + (i // chunk).to(tl.int64) * rings + place, mask=good, other=0)
    all_ = tl.load(total + place, mask=good, other=0)
    start = tl.load(count + place, mask=good, other=0) - all_
    e = tl.load(loss + i, mask=good, other=0.0)
    tl.store(ring + place * C + (start + here) % C, e, mask=good & (here >= all_ - C))


def record_many(
    ring: Tensor,
    count: Tensor,
    counters: Tensor,
    grid: Tensor,
    inputs: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    strides: tuple[int, ...],
) -> None:
    """Four launches: clear the histograms, rank, prefix, write."""
    groups, bins, capacity = ring.shape
    rings, batch = groups * bins, inputs[0].numel()
    chunk = max(CHUNK, triton.next_power_of_2(triton.cdiv(batch * rings, SCRATCH)))
    chunks = triton.cdiv(batch, chunk)
    histogram = torch.zeros((chunks, rings), dtype=torch.int32, device=ring.device)
    places, rank = torch.empty((2, batch), dtype=torch.int32, device=ring.device)
    loss = torch.empty(batch, dtype=torch.float32, device=ring.device)
    total = torch.empty(rings, dtype=torch.int32, device=ring.device)
    rank_kernel[(chunks,)](
        counters, grid, *inputs, *strides, groups, batch, places, rank, loss, histogram, chunk,
        **padded(bins), BLOCK=BLOCK, TILE=TILE, **options(),
    )  # fmt: skip
    prefix_kernel[(triton.cdiv(rings, 128),)](histogram, total, count, rings, chunks, BLOCK=128, **options())
    write_kernel[(triton.cdiv(batch, 256),)](
        ring, count, places, rank, loss, histogram, total, rings, batch, chunk, C=capacity, BLOCK=256, **options()
    )  # fmt: skip
