"""`sample_`: Philox uniforms and the exact inverse of the table."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backward import refuse_in_backward
from ..checks import check_draw, check_state
from .common import (
    ALL_RANKS,
    LOG_MIN,
    ONE_PROGRAM,
    RANK,
    SHUFFLES,
    STRATIFIED,
    WIDTH,
    WORLD,
    last_at_most,
    on_device,
    options,
    padded,
    strides_of,
)

BLOCK = 256
PLACES = 1024


@triton.jit
def philox(c0, c1, c2, c3, key0, key1):
    """Philox4x32-10 of Salmon et al., SC 2011, in uint32."""
    for _ in tl.static_range(10):
        a = c0.to(tl.uint64) * 0xD2511F53
        b = c2.to(tl.uint64) * 0xCD9E8D57
        c0 = (b >> 32).to(tl.uint32) ^ c1 ^ key0
        c1 = b.to(tl.uint32)
        c2 = (a >> 32).to(tl.uint32) ^ c3 ^ key1
        c3 = a.to(tl.uint32)
        key0 = key0 + 0x9E3779B9
        key1 = key1 + 0xBB67AE85
    return c0, c1, c2, c3


@triton.jit
def low_word(x):
    """The low 32 bits of an int64."""
    return (x & 0xFFFFFFFF).to(tl.uint32)


@triton.jit
def swap_or_not(x, n, key, slope):
    """A round of a shuffle of [0, n), in uint32."""
    product = key.to(tl.uint64) * n.to(tl.uint64)
    k = (product >> 32).to(tl.uint32)
    other = k - x + tl.where(k < x, n.to(tl.uint32), 0)
    swaps = (slope * tl.maximum(x, other) + product.to(tl.uint32)) >> 31
    return tl.where(swaps != 0, other, x)


@triton.jit
def shuffle(x, n, seed, rank, offset, group):
    """Where a group's permutation of [0, n) takes x, uint32; rank and group are uint32, n int64."""
    block = 0xFFFFFFFF - group * SHUFFLES
    same = tl.zeros_like(block)
    for _ in range(SHUFFLES):
        w0, w1, w2, w3 = philox(
            block, same + rank, same + low_word(offset), same + low_word(offset >> 32),
            low_word(seed), low_word(seed >> 32),
        )  # fmt: skip
        x = swap_or_not(swap_or_not(x, n, w0, w1), n, w2, w3)
        block -= 1
    return x


@triton.jit
def turn_of(params, offset):
    """Which part of each stratum is this rank's, as float64."""
    world = tl.load(params + WORLD).to(tl.int64)
    turn = (tl.load(params + RANK).to(tl.int64) % world).to(tl.uint32)
    return shuffle(turn, world, world * 0, turn * 0 + ALL_RANKS, offset, turn * 0).to(tl.float64)


@triton.jit
def uniforms(params, seed, offset, owner, places, start, n, BLOCK: tl.constexpr):
    """The u of the samples that start at `start`, a multiple of BLOCK, as float64, in strata if asked for."""
    rank = tl.load(params + RANK).to(tl.int64).to(tl.uint32)
    block = (start // 4 + tl.arange(0, BLOCK // 4)).to(tl.uint32)
    same = tl.zeros_like(block)
    w0, w1, w2, w3 = philox(
        block, same + rank, same + low_word(offset), same + low_word(offset >> 32),
        low_word(seed), low_word(seed >> 32),
    )  # fmt: skip
    words = tl.interleave(tl.interleave(w0, w2), tl.interleave(w1, w3))
    u = (words.to(tl.float64) + 0.5) * 2.0**-32
    if tl.load(params + STRATIFIED) > 0:
        i = start + tl.arange(0, BLOCK)
        if places is None:
            size = offset * 0 + n
            stratum = shuffle(i.to(tl.uint32), size, seed, rank, offset, rank * 0)
        else:
            size = tl.load(places + n + owner, mask=i < n, other=1).to(tl.int64)
            place = tl.load(places + i, mask=i < n, other=0).to(tl.uint32)
            stratum = shuffle(place, size, seed, rank, offset, owner.to(tl.uint32))
        world = tl.load(params + WORLD)
        u = (stratum.to(tl.float64) * world + turn_of(params, offset) + u) / (world * size.to(tl.float64))
    return u


@triton.jit
def owner_of(group, group_stride, G, i, live):
    """The table of each sample i: int64, in [0, G) whatever the group."""
    owner = tl.load(group + i.to(tl.int64) * group_stride, mask=live, other=0).to(tl.int64)
    return tl.minimum(tl.maximum(owner, 0), G - 1)


@triton.jit
def invert(cdf, grid, params, u, owner, K: tl.constexpr, KP: tl.constexpr, LOG: tl.constexpr):
    """Sigma, float32, of the float64 uniforms u, from the tables of their owners."""
    table = cdf + owner * (K + 1)
    k = last_at_most(table, u, K, KP, LOG)
    low = tl.load(table + k)
    mass = tl.load(table + k + 1) - low
    fraction = tl.where(mass > 0, (u - low) / tl.where(mass > 0, mass, 1.0), 1.0)
    fraction = tl.minimum(tl.maximum(fraction, 0.0), 1.0)
    sigma = tl.exp(tl.load(params + LOG_MIN) + tl.load(params + WIDTH) * (k + fraction)).to(tl.float32)
    first, last = tl.load(grid).to(tl.float32), tl.load(grid + K).to(tl.float32)
    return tl.minimum(tl.maximum(sigma, first), last)


@triton.jit
def find_places(params, group, group_stride, places, G, n, first, step, BLOCK: tl.constexpr):
    """Where strata are asked for: how many of its group come before each sample, int32 [n], then sizes of groups [G].

    Of every step-th group from `first` on. Ends with a barrier.
    """
    if tl.load(params + STRATIFIED) > 0:
        for g in range(first, G, step):
            before = tl.zeros((1,), tl.int32)
            for start in range(0, n, BLOCK):
                i = start + tl.arange(0, BLOCK)
                ours = (i < n) & (owner_of(group, group_stride, G, i, i < n) == g)
                here = ours.to(tl.int32)
                tl.store(places + i, before + tl.cumsum(here, 0) - here, mask=ours)
                before += tl.sum(here, 0)
            tl.store(places + n + g + tl.arange(0, 1), before)
    tl.debug_barrier()


@triton.jit(do_not_specialize=["G", "n"])
def places_kernel(params, group, group_stride, places, G, n, BLOCK: tl.constexpr):
    """A group a program."""
    find_places(params, group, group_stride, places, G, n, tl.program_id(0), tl.num_programs(0), BLOCK)


@triton.jit
def draw(
    cdf, grid, params, seed, offset, out, group, group_stride, places, G, start, n,
    K: tl.constexpr, KP: tl.constexpr, LOG: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A block of samples."""
    i = start + tl.arange(0, BLOCK)
    owner = tl.zeros_like(i).to(tl.int64)
    if group is not None:
        owner = owner_of(group, group_stride, G, i, i < n)
    u = uniforms(params, seed, offset, owner, places, start, n, BLOCK)
    sigma = invert(cdf, grid, params, u, owner, K, KP, LOG)
    tl.store(out + i, sigma, mask=i < n)


@triton.jit(do_not_specialize=["G", "n", "last"])
def sample_kernel(
    cdf, rng, grid, params, out, group, group_stride, places, G, n, last,
    K: tl.constexpr, KP: tl.constexpr, LOG: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Blocks over the programs; if there is but one, it finds the places and moves the stream on at the end."""
    programs = tl.num_programs(0)
    if group is not None:  # noqa: SIM102 (a constant: without groups nothing below is compiled)
        if last:
            find_places(params, group, group_stride, places, G, n, 0, 1, BLOCK)
    seed, offset = tl.load(rng), tl.load(rng + 1)
    for start in range(tl.program_id(0) * BLOCK, n, programs * BLOCK):
        draw(cdf, grid, params, seed, offset, out, group, group_stride, places, G, start, n, K, KP, LOG, BLOCK)
    tl.debug_barrier()
    if last:
        tl.store(rng + 1, offset + 1)


def sample_(cdf: Tensor, rng: Tensor, grid: Tensor, params: Tensor, n: int, group: Tensor | None) -> Tensor:
    """Draw n sigmas; the offset rises by one unless n is 0: one launch; of a large n two, with groups three."""
    check_state(cdf=cdf, rng=rng, grid=grid, params=params)
    check_draw(cdf, n, group)
    refuse_in_backward("sample", n)
    out = torch.empty(n, dtype=torch.float32, device=cdf.device)
    if n == 0:
        return out
    with on_device(cdf):
        launch_sample(cdf, rng, grid, params, out, group, move=n <= ONE_PROGRAM)
        if n > ONE_PROGRAM:
            rng[1:] += 1
    return out


def launch_sample(
    cdf: Tensor, rng: Tensor, grid: Tensor, params: Tensor, out: Tensor, group: Tensor | None, move: bool
) -> None:
    """Fill `out`; by one program, which moves the stream on, or by as many as there are blocks."""
    n, places = len(out), places_of(group, len(cdf))
    if group is not None and not move:
        places_kernel[(len(cdf),)](params, group, group.stride(0), places, len(cdf), n, BLOCK=PLACES, **options())
    sample_kernel[(1 if move else triton.cdiv(n, BLOCK),)](
        cdf, rng, grid, params, out, group, *strides_of(group), places, len(cdf), n, int(move),
        **padded(cdf.shape[1] - 1), BLOCK=BLOCK, **options(),
    )  # fmt: skip


def places_of(group: Tensor | None, groups: int) -> Tensor | None:
    """Memory for what `find_places` finds."""
    return None if group is None else torch.empty(len(group) + groups, dtype=torch.int32, device=group.device)
