"""Layout constants, the search of a table and the launch options that the kernels share.

A rule of every kernel here: memory that one program both reads and writes has a barrier between,
because Triton may give one element to several threads, and each of them loads it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..schemas import COUNTERS, GRID_ROWS, MOMENTS, NO_RANK, PARAMS, SAME_RATE, SHUFFLE_BLOCKS, STATS, TINY

N_COUNTERS = tl.constexpr(len(COUNTERS))
N_MOMENTS = tl.constexpr(len(MOMENTS))
N_STATS = tl.constexpr(len(STATS))
STEPS = tl.constexpr(COUNTERS.index("steps"))
CLOSE = tl.constexpr(SAME_RATE)
SMALLEST = tl.constexpr(TINY)
INF = tl.constexpr(float("inf"))
ROW_SIGMA = tl.constexpr(GRID_ROWS.index("sigma"))
ROW_WEIGHT = tl.constexpr(GRID_ROWS.index("weight"))
ROW_BOUND = tl.constexpr(GRID_ROWS.index("bound"))
LOG_MIN = tl.constexpr(PARAMS.index("log_min"))
WIDTH = tl.constexpr(PARAMS.index("width"))
WARMUP = tl.constexpr(PARAMS.index("warmup"))
REFRESH_EVERY = tl.constexpr(PARAMS.index("refresh_every"))
STRATIFIED = tl.constexpr(PARAMS.index("stratified"))
RANK = tl.constexpr(PARAMS.index("rank"))
WORLD = tl.constexpr(PARAMS.index("world"))
SHUFFLES = tl.constexpr(SHUFFLE_BLOCKS)
ALL_RANKS = tl.constexpr(NO_RANK)

ONE_PROGRAM = 2048
"""Up to this many samples one program does a whole call; above, many programs share it."""
MAX_BINS = 4096


@triton.jit
def larger(a, b):
    """For scans."""
    return tl.maximum(a, b)


@triton.jit
def smaller(a, b):
    """For scans."""
    return tl.minimum(a, b)


@triton.jit
def safe_log(x):
    """Log of x, or of the smallest argument."""
    return tl.log(tl.where(x > SMALLEST, x, tl.full(x.shape, SMALLEST, tl.float64)))


@triton.jit
def last_at_most(table, x, K: tl.constexpr, KP: tl.constexpr, LOG: tl.constexpr):
    """The last k < K with table[k] <= x, 0 if there is none; KP = 2^LOG >= K."""
    k = tl.zeros_like(x).to(tl.int32)
    for j in tl.static_range(LOG):
        next_k = k + (KP >> (j + 1))
        inside = next_k < K
        value = tl.load(table + next_k, mask=inside, other=0.0)
        k = tl.where(inside & (value <= x), next_k, k)
    return k


@triton.jit
def is_due(params, steps):
    """Whether a refresh is due after this many steps."""
    past = steps - tl.load(params + WARMUP).to(tl.int64)
    every = tl.load(params + REFRESH_EVERY).to(tl.int64)
    return (past >= 0) & (past % every == 0)


def padded(bins: int) -> dict[str, int]:
    """The constants of a grid: K, its power of two KP = 2^LOG."""
    if bins > MAX_BINS:
        raise ValueError(f"bins is {bins}, but must be at most {MAX_BINS} for the Triton backend")
    power = max(16, triton.next_power_of_2(bins))
    return {"K": bins, "KP": power, "LOG": power.bit_length() - 1}


def strides_of(*vectors: Tensor | None) -> tuple[int, ...]:
    """The stride of each vector, 0 for None."""
    return tuple(0 if x is None else x.stride(0) for x in vectors)


def options(bins: int = 0) -> dict[str, Any]:
    """Launch options: fused multiply-adds off on every Triton; warps for a table of so many bins."""
    warps = min(16, max(4, triton.next_power_of_2(bins) // 64))
    return {"num_warps": warps, "num_stages": 1, "enable_fp_fusion": False}


def on_device(x: Tensor) -> AbstractContextManager[Any]:
    """Launches go to the device of x."""
    if x.device.type == "cpu":
        if isinstance(is_due, triton.JITFunction):
            raise RuntimeError(
                "backend 'triton' serves CPU tensors only through Triton's interpreter: set TRITON_INTERPRET=1 "
                "before the first use, or take backend='auto'"
            )
        return nullcontext()
    return torch.get_device_module(x.device).device_of(x)
