"""`sample_`: Philox uniforms and the exact inverse of the table."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backward import refuse_in_backward
from ..checks import check_draw
from .common import param, row

_MASK32 = 0xFFFFFFFF


def philox(counter: Tensor, seed: Tensor) -> Tensor:
    """Philox4x32-10 over int64 columns: counter [4, N] and seed [] give words [4, N] below 2^32."""
    pair = torch.arange(2, device=counter.device).unsqueeze(-1)
    multiplier = torch.where(pair == 0, 0xD2511F53, 0xCD9E8D57)
    step = torch.where(pair == 0, 0x9E3779B9, 0xBB67AE85)
    key = torch.stack((seed & _MASK32, (seed >> 32) & _MASK32)).unsqueeze(-1)
    even, odd = counter[0::2], counter[1::2]  # words 0, 2 and words 1, 3
    for i in range(10):
        product = even * multiplier
        high = ((product >> 32) & _MASK32).flip(0)
        even = high ^ odd ^ ((key + i * step) & _MASK32)
        odd = (product & _MASK32).flip(0)
    return torch.stack((even[0], odd[0], even[1], odd[1]))


def uniforms(rng: Tensor, params: Tensor, n: int) -> Tensor:
    """The u in (0, 1) of a draw, float64 [n]; stratified, one in each of this rank's n strata."""
    blocks = (n + 3) // 4
    seed, offset = rng[0], rng[1]
    block = torch.arange(blocks, device=rng.device)
    rank = param(params, "rank").long()
    counter = torch.stack(torch.broadcast_tensors(block, rank, offset & _MASK32, (offset >> 32) & _MASK32))
    words = philox(counter, seed).t().reshape(-1)[:n]
    u = (words.double() + 0.5) * 2.0**-32
    world = param(params, "world")
    turn = (rank + offset) % world.long()
    strata = (turn + torch.arange(n, device=rng.device) * world + u) / (world * n)
    return torch.where(param(params, "stratified") > 0, strata, u)


def invert(cdf: Tensor, grid: Tensor, params: Tensor, u: Tensor, group: Tensor | None) -> Tensor:
    """Sigma [n] float32 of the uniforms u [n]: the exact inverse of the density constant in log sigma."""
    bins = cdf.shape[-1] - 1
    if group is None:
        k = (torch.searchsorted(cdf[0], u, right=True) - 1).clamp(0, bins - 1)
        low, high = cdf[0][k], cdf[0][k + 1]
    else:
        owner = group.long().clamp(0, len(cdf) - 1)
        table = cdf[owner]  # [n, K + 1]
        k = (torch.searchsorted(table, u.unsqueeze(-1), right=True).squeeze(-1) - 1).clamp(0, bins - 1)
        low, high = cdf[owner, k], cdf[owner, k + 1]
    mass = high - low
    fraction = torch.where(mass > 0, (u - low) / mass, 1.0).clamp(0, 1)
    sigma = (param(params, "log_min") + param(params, "width") * (k + fraction)).exp().float()
    edges = row(grid, "edges").float()
    return torch.minimum(torch.maximum(sigma, edges[0]), edges[-1])


def sample_(cdf: Tensor, rng: Tensor, grid: Tensor, params: Tensor, n: int, group: Tensor | None) -> Tensor:
    """Draw n sigmas; the offset rises by one unless n is 0."""
    check_draw(cdf, n, group)
    refuse_in_backward("sample", n)
    out = invert(cdf, grid, params, uniforms(rng, params, n), group)
    rng[1] += int(n > 0)
    return out
