"""`observe_` and `bin_stats`: losses into FIFO rings, the same for every number of programs, and their moments.

One program walks an ordinary batch in blocks. For a large one each program ranks the samples of its chunk within
their rings and leaves a histogram; a prefix sum over the chunks says where each chunk's samples go; then every
sample is written at its place. Either way in batch order.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backward import count_recomputed_, in_backward
from ..checks import check_batch, check_state
from ..schemas import COUNTERS, EDGE_TOLERANCE, MOMENTS, SKIP_CAUSES
from .common import INF, N_COUNTERS, ONE_PROGRAM, last_at_most, on_device, options, padded, strides_of
from .moments import launch_moments

BLOCK = 256
TILE = 16
CHUNK = 1024
CHUNKS = 2048
"""More, and the prefix over them takes longer than the chunks themselves."""
SCRATCH = 2**25
"""Entries of the histograms, [chunks, G K] int32, above which the chunks grow."""
EDGE_LOW = tl.constexpr(1 - EDGE_TOLERANCE)
EDGE_HIGH = tl.constexpr(1 + EDGE_TOLERANCE)
FIRST_CAUSE = tl.constexpr(COUNTERS.index(SKIP_CAUSES[0]))
GOOD = tl.constexpr(SKIP_CAUSES.index("recomputed"))  # the causes end with what no kernel sees


@triton.jit
def bin_of(sigma, edges, K: tl.constexpr, KP: tl.constexpr, LOG: tl.constexpr):
    """The bin with edges[k] <= sigma < edges[k + 1], clamped to the end bins."""
    return last_at_most(edges, sigma, K, KP, LOG)


@triton.jit
def skip_cause(sigma, error, known, low, high):
    """Why a sample is not recorded, as an index in SKIP_CAUSES but for the mask; GOOD when it is."""
    wide = sigma.to(tl.float64)
    cause = tl.where(error < 0, 5, GOOD)
    cause = tl.where(tl.abs(error) < INF, cause, 4)
    cause = tl.where((wide >= low * EDGE_LOW) & (wide <= high * EDGE_HIGH), cause, 3)
    cause = tl.where(tl.abs(sigma) < INF, cause, 2)
    return tl.where(known, cause, 1)


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
    cause = skip_cause(s, e, known, tl.load(grid), tl.load(grid + K))
    if mask is not None:
        cause = tl.where(tl.load(mask + i * strides[2], mask=live, other=0) != 0, cause, 0)
    skipped = live & (cause < GOOD)
    place = counters + owner * N_COUNTERS + FIRST_CAUSE + tl.where(skipped, cause, 0)
    tl.atomic_add(place, tl.where(skipped, 1, 0).to(tl.int64), mask=skipped, sem="relaxed")
    k = bin_of(s.to(tl.float64), grid, K, KP, LOG)
    return tl.where(live & (cause == GOOD), owner.to(tl.int32) * K + k, -1), e


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
        tl.store(ring + place * C + (written + rank).to(tl.uint64) % C, e, mask=good & (rank >= total - C))
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
def prefix_kernel(histogram, total, count, rings, chunks, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Histogram to exclusive prefix over the chunks, ROWS at a time; the sum to `total` [G K] and to the counts."""
    b = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = b < rings
    running = tl.zeros((BLOCK,), dtype=tl.int32)
    for start in range(0, chunks, ROWS):
        row = start + tl.arange(0, ROWS)
        place = histogram + row[:, None].to(tl.int64) * rings + b[None, :]
        inside = (row < chunks)[:, None] & live[None, :]
        here = tl.load(place, mask=inside, other=0)
        tl.store(place, running[None, :] + tl.cumsum(here, 0) - here, mask=inside)
        running += tl.sum(here, 0)
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
    tl.store(ring + place * C + (start + here).to(tl.uint64) % C, e, mask=good & (here >= all_ - C))


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
    fewest = max(triton.cdiv(batch * rings, SCRATCH), triton.cdiv(batch, CHUNKS))
    chunk = max(CHUNK, triton.next_power_of_2(fewest))
    chunks = triton.cdiv(batch, chunk)
    histogram = torch.zeros((chunks, rings), dtype=torch.int32, device=ring.device)
    places, rank = torch.empty((2, batch), dtype=torch.int32, device=ring.device)
    loss = torch.empty(batch, dtype=torch.float32, device=ring.device)
    total = torch.empty(rings, dtype=torch.int32, device=ring.device)
    rank_kernel[(chunks,)](
        counters, grid, *inputs, *strides, groups, batch, places, rank, loss, histogram, chunk,
        **padded(bins), BLOCK=BLOCK, TILE=TILE, **options(),
    )  # fmt: skip
    prefix_kernel[(triton.cdiv(rings, 32),)](histogram, total, count, rings, chunks, ROWS=64, BLOCK=32, **options())
    write_kernel[(triton.cdiv(batch, 256),)](
        ring, count, places, rank, loss, histogram, total, rings, batch, chunk, C=capacity, BLOCK=256, **options()
    )  # fmt: skip


def observe_(
    ring: Tensor, count: Tensor, counters: Tensor, grid: Tensor, sigma: Tensor, error: Tensor,
    mask: Tensor | None, group: Tensor | None,
) -> None:  # fmt: skip
    """Append each loss to the FIFO ring of its bin: one launch, four for a large batch."""
    check_state(ring=ring, count=count, counters=counters, grid=grid)
    check_batch(ring, sigma, error, mask, group)
    if in_backward():
        count_recomputed_(counters, sigma, group)
        return
    groups, bins, capacity = ring.shape
    batch = sigma.numel()
    if batch == 0:
        return
    inputs = (sigma, error, mask, group)
    with on_device(ring):
        if batch > ONE_PROGRAM:
            record_many(ring, count, counters, grid, inputs, strides_of(*inputs))
            return
        observe_kernel[(1,)](
            ring, count, counters, grid, *inputs, *strides_of(*inputs), groups, batch,
            **padded(bins), C=capacity, BLOCK=BLOCK, TILE=TILE, **options(),
        )  # fmt: skip


def bin_stats(ring: Tensor, count: Tensor) -> Tensor:
    """Number of losses in each ring, the sum of all but the largest, and the largest, float64 [G, K, 3]: one launch."""
    check_state(ring=ring, count=count)
    out = torch.empty((*count.shape, len(MOMENTS)), dtype=torch.float64, device=ring.device)
    with on_device(ring):
        launch_moments(ring, count, out)
    return out
