"""`sample_`: the fixed random stream and the exact inverse of the table."""

from __future__ import annotations

import math
from collections import Counter

import torch
from torch import Tensor

from ..schemas import GRID_ROWS, NO_RANK, SHUFFLE_BLOCKS, Params


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Four random 32-bit words: Philox4x32-10 of Salmon et al., SC 2011."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & 0xFFFFFFFF, (a >> 32) ^ c3 ^ k1, a & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def shuffle(x: int, n: int, keys: list[int]) -> int:
    """Where a permutation of [0, n) takes x: swap-or-not of Hoang, Morris and Rogaway, CRYPTO 2012.

    A round pairs x with k - x modulo n and swaps the two if a bit of the larger one says so. n is at most 2^32.
    """
    for key, slope in zip(keys[::2], keys[1::2], strict=True):
        product = key * n
        other = ((product >> 32) - x) % n
        if (slope * max(x, other) + product) >> 31 & 1:
            x = other
    return x


def shuffle_keys(seed: int, rank: int, offset: int, group: int) -> list[int]:
    """Of a group's shuffle in draw `offset`: words of the last Philox blocks, which no sample uses."""
    blocks = (2**32 - 1 - group * SHUFFLE_BLOCKS - j for j in range(SHUFFLE_BLOCKS))
    return [word for block in blocks for word in philox((block, rank, *_halves(offset)), _halves(seed))]


def uniforms(p: Params, seed: int, offset: int, owner: list[int]) -> list[float]:
    """The u in (0, 1) of draw `offset`, given each sample's group.

    Stratified, the m samples of a group lie one in each m-th of (0, 1), in an order that a shuffle decides anew. The
    ranks divide each m-th into `world` parts, which another shuffle, the same on all ranks, hands out.
    """
    words: list[int] = []
    for block in range((len(owner) + 3) // 4):
        words.extend(philox((block, int(p.rank), *_halves(offset)), _halves(seed)))
    u = [(word + 0.5) * 2.0**-32 for word in words[: len(owner)]]
    if not p.stratified:
        return u
    world = int(p.world)
    turn = shuffle(int(p.rank) % world, world, shuffle_keys(0, NO_RANK, offset, 0))
    sizes = Counter(owner)
    keys = {g: shuffle_keys(seed, int(p.rank), offset, g) for g in sizes}
    before: Counter[int] = Counter()
    for i, g in enumerate(owner):
        stratum = shuffle(before[g], sizes[g], keys[g])
        u[i] = (stratum * p.world + turn + u[i]) / (p.world * sizes[g])
        before[g] += 1
    return u


def _halves(x: int) -> tuple[int, int]:
    """The low and the high 32 bits of an int64."""
    return x & 0xFFFFFFFF, x >> 32 & 0xFFFFFFFF


def invert(p: Params, cdf: list[float], u: float) -> float:
    """Exact inverse of the piecewise-constant density in log sigma."""
    k = max(k for k in range(len(cdf) - 1) if cdf[k] <= u)
    mass = cdf[k + 1] - cdf[k]
    return math.exp(p.log_min + p.width * (k + ((u - cdf[k]) / mass if mass > 0 else 1.0)))


def sample_(cdf: Tensor, rng: Tensor, grid: Tensor, params: Tensor, n: int, group: Tensor | None) -> Tensor:
    """Draw n sigmas; the offset rises by one unless n is 0."""
    p, tables, edges = Params(*params.tolist()), cdf.tolist(), grid[GRID_ROWS.index("edges")].tolist()
    owner = [0] * n if group is None else group.tolist()
    u = uniforms(p, int(rng[0]), int(rng[1]), owner)
    sigma = [invert(p, tables[g], x) for g, x in zip(owner, u, strict=True)]
    rng[1] += int(n > 0)
    return torch.tensor([min(max(s, edges[0]), edges[-1]) for s in sigma], dtype=torch.float32)
