"""`sample_`: Philox uniforms and the exact inverse of the table."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backward import refuse_in_backward
from ..checks import check_draw
from ..schemas import NO_RANK, SHUFFLE_BLOCKS
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


def words_of(seed: Tensor, rank: Tensor, offset: Tensor, block: Tensor) -> Tensor:
    """The words of Philox blocks [N], four a block: [4 N]."""
    counter = torch.stack(torch.broadcast_tensors(block, rank, offset & _MASK32, (offset >> 32) & _MASK32))
    return philox(counter, seed).t().reshape(-1)


def shuffle(x: Tensor, n: Tensor, keys: Tensor, owner: Tensor | None = None) -> Tensor:
    """Where the permutations of [0, n) take x, both int64, with the keys [G, rounds, 2] of the owners: swap-or-not."""
    for i in range(keys.shape[1]):
        key, slope = (keys[0, i] if owner is None else keys[owner, i]).unbind(-1)
        product = key * n
        other = (((product >> 32) & _MASK32) - x).remainder(n)
        swaps = ((slope * torch.maximum(x, other) + product) >> 31) & 1
        x = torch.where(swaps > 0, other, x)
    return x


def strata(rng: Tensor, params: Tensor, u: Tensor, owner: Tensor | None, groups: int) -> Tensor:
    """u [n] moved into the strata: of a group's m samples one in each m-th of (0, 1), shuffled."""
    n, device = len(u), rng.device
    if owner is None:
        place, size = torch.arange(n, device=device), torch.tensor(max(n, 1), device=device)
    else:
        ordered, order = torch.sort(owner, stable=True)
        sizes = torch.zeros(groups, dtype=torch.int64, device=device).scatter_add(0, owner, torch.ones_like(owner))
        first = (sizes.cumsum(0) - sizes)[ordered]
        place = torch.empty_like(owner).scatter_(0, order, torch.arange(n, device=device) - first)
        size = sizes[owner]
    rank, offset = param(params, "rank").long(), rng[1]
    last = _MASK32 - torch.arange(groups * SHUFFLE_BLOCKS, device=device)
    keys = words_of(rng[0], rank, offset, last).view(groups, -1, 2)
    stratum = shuffle(place, size, keys, owner)
    common = words_of(torch.zeros_like(offset), torch.full_like(rank, NO_RANK), offset, last[:SHUFFLE_BLOCKS])
    world = param(params, "world")
    turn = shuffle(rank % world.long(), world.long(), common.view(1, -1, 2))
    return (stratum.double() * world + turn + u) / (world * size)


def uniforms(rng: Tensor, params: Tensor, n: int, owner: Tensor | None = None, groups: int = 1) -> Tensor:
    """The u in (0, 1) of a draw, float64 [n], within the strata of each group if the schedule is stratified."""
    block = torch.arange((n + 3) // 4, device=rng.device)
    words = words_of(rng[0], param(params, "rank").long(), rng[1], block)[:n]
    u = (words.double() + 0.5) * 2.0**-32
    stratified = param(params, "stratified") > 0
    if u.device.type == "cpu" and not torch.compiler.is_compiling() and not bool(stratified):
        return u
    return torch.where(stratified, strata(rng, params, u, owner, groups), u)


def invert(cdf: Tensor, grid: Tensor, params: Tensor, u: Tensor, owner: Tensor | None) -> Tensor:
    """Sigma [n] float32 of the uniforms u [n]: the exact inverse of the density constant in log sigma."""
    bins = cdf.shape[-1] - 1
    if owner is None:
        k = (torch.searchsorted(cdf[0], u, right=True) - 1).clamp(0, bins - 1)
        low, high = cdf[0][k], cdf[0][k + 1]
    else:
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
    owner = None if group is None else group.long().clamp(0, len(cdf) - 1)
    out = invert(cdf, grid, params, uniforms(rng, params, n, owner, len(cdf)), owner)
    rng[1] += int(n > 0)
    return out
