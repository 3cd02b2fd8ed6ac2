"""`sample_`: Philox uniforms and the exact inverse of the table."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backward import refuse_in_backward
from ..checks import check_draw, check_state
from .common import LOG_MIN, ONE_PROGRAM, RANK, STRATIFIED, WIDTH, WORLD, last_at_most, on_device, options, padded

BLOCK = 256


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
def uniforms(params, seed, offset, start, n, BLOCK: tl.constexpr):
    """The u of the samples that start at `start`, a multiple of BLOCK, as float64."""
    rank = tl.load(params + RANK)
    block = (start // 4 + tl.arange(0, BLOCK // 4)).to(tl.uint32)
    same = tl.zeros_like(block)
    w0, w1, w2, w3 = philox(
        block, same + rank.to(tl.int64).to(tl.uint32), same + low_word(offset), same + low_word(offset >> 32),
        low_word(seed), low_word(seed >> 32),
    )  # fmt: skip
    words = tl.interleave(tl.interleave(w0, w2), tl.interleave(w1, w3))
    u = (words.to(tl.float64) + 0.5) * 2.0**-32
    i = (start + tl.arange(0, BLOCK)).to(tl.float64)
    world = tl.load(params + WORLD)
    turn = (rank.to(tl.int64) + offset) % world.to(tl.int64)
    strata = (turn.to(tl.float64) + i * world + u) / (world * n)
    return tl.where(tl.load(params + STRATIFIED) > 0, strata, u)


@triton.jit
def invert(cdf, grid, params, u, group, group_stride, G, i, live, K: tl.constexpr, KP: tl.constexpr, LOG: tl.constexpr):
    """Sigma, float32, of the float64 uniforms u of the samples i."""
    table = cdf + tl.zeros_like(i).to(tl.int64)
    if group is not None:
        owner = tl.load(group + i.to(tl.int64) * group_stride, mask=live, other=0).to(tl.int64)
        table = cdf + tl.minimum(tl.maximum(owner, 0), G - 1) * (K + 1)
    k = last_at_most(table, u, K, KP, LOG)
    low = tl.load(table + k)
    mass = tl.load(table + k + 1) - low
    fraction = tl.where(mass > 0, (u - low) / tl.where(mass > 0, mass, 1.0), 1.0)
    fraction = tl.minimum(tl.maximum(fraction, 0.0), 1.0)
    sigma = tl.exp(tl.load(params + LOG_MIN) + tl.load(params + WIDTH) * (k + fraction)).to(tl.float32)
    first, last = tl.load(grid).to(tl.float32), tl.load(grid + K).to(tl.float32)
    return tl.minimum(tl.maximum(sigma, first), last)


@triton.jit
def draw(
    cdf, grid, params, seed, offset, out, group, group_stride, G, start, n,
    K: tl.constexpr, KP: tl.constexpr, LOG: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A block of samples."""
    u = uniforms(params, seed, offset, start, n, BLOCK)
    i = start + tl.arange(0, BLOCK)
    sigma = invert(cdf, grid, params, u, group, group_stride, G, i, i < n, K, KP, LOG)
    tl.store(out + i, sigma, mask=i < n)


@triton.jit(do_not_specialize=["G", "n", "last"])
def sample_kernel(
    cdf, rng, grid, params, out, group, group_stride, G, n, last,
    K: tl.constexpr, KP: tl.constexpr, LOG: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Blocks over the programs; if there is but one, it moves the stream on at the end."""
    programs = tl.num_programs(0)
    seed, offset = tl.load(rng), tl.load(rng + 1)
    for start in range(tl.program_id(0) * BLOCK, n, programs * BLOCK):
        draw(cdf, grid, params, seed, offset, out, group, group_stride, G, start, n, K, KP, LOG, BLOCK)
    tl.debug_barrier()
    if last:
        tl.store(rng + 1, offset + 1)


def sample_(cdf: Tensor, rng: Tensor, grid: Tensor, params: Tensor, n: int, group: Tensor | None) -> Tensor:
    """Draw n sigmas; the offset rises by one unless n is 0: one launch, two for a large n."""
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
    n = len(out)
    sample_kernel[(1 if move else triton.cdiv(n, BLOCK),)](
        cdf, rng, grid, params, out, group, 0 if group is None else group.stride(0), len(cdf), n, int(move),
        **padded(cdf.shape[1] - 1), BLOCK=BLOCK, **options(),
    )  # fmt: skip
