"""`sample_` and `icdf`: the fixed random stream and the exact inverse of the table."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .params import Params


def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Four random 32-bit words: Philox4x32-10 of Salmon et al., SC 2011."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & 0xFFFFFFFF, (a >> 32) ^ c3 ^ k1, a & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniforms(seed: int, offset: int, rank: int, n: int) -> list[float]:
    """The u in (0, 1) of draw `offset` on `rank`."""
    seed, offset = seed % 2**64, offset % 2**64
    words: list[int] = []
    for block in range((n + 3) // 4):
        counter = (block, rank, offset & 0xFFFFFFFF, offset >> 32)
        words.extend(philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32)))
    return [(word + 0.5) * 2.0**-32 for word in words[:n]]


def quantile(u: float, cdf: list[float], log_min: float, width: float) -> float:
    """Exact inverse of the piecewise-constant density in log sigma."""
    u = min(max(u, 0.0), 1.0)
    inside = [k for k in range(len(cdf) - 1) if cdf[k] <= u]
    k = inside[-1]
    mass = cdf[k + 1] - cdf[k]
    return math.exp(log_min + width * (k + ((u - cdf[k]) / mass if mass > 0 else 1.0)))


def icdf(cdf: Tensor, grid: Tensor, params: Tensor, u: Tensor, group: Tensor | None) -> Tensor:
    """Sigma [n] float32 of the uniforms u [n]."""
    p, edges = Params.of(params), grid[0].tolist()
    out = torch.empty(u.numel(), dtype=torch.float32)
    for i, value in enumerate(u.double().tolist()):
        row = cdf[0 if group is None else int(group[i])].tolist()
        sigma = quantile(value, row, p.log_min, p.width)
        out[i] = min(max(sigma, edges[0]), edges[-1])
    return out


def sample_(cdf: Tensor, rng: Tensor, grid: Tensor, params: Tensor, n: int, group: Tensor | None) -> Tensor:
    """Draw n sigmas; the offset rises by one unless n is 0."""
    p = Params.of(params)
    u = uniforms(int(rng[0]), int(rng[1]), int(p.rank), n)
    if p.stratified:
        turn = (p.rank + int(rng[1])) % p.world
        u = [(turn + i * p.world + x) / (p.world * n) for i, x in enumerate(u)]
    if n:
        rng[1] += 1
    return icdf(cdf, grid, params, torch.tensor(u, dtype=torch.float64), group)
