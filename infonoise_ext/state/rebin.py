"""Moves a saved state to another grid or ring capacity, losing no loss that fits."""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops.schemas import TINY
from .config import InfoNoiseConfig
from .table import Table


def rebin(
    tensors: dict[str, Tensor], old_edges: Tensor, new_edges: Tensor, config: InfoNoiseConfig
) -> dict[str, Tensor]:
    """The state tensors on `new_edges` with rings of `config.capacity`.

    Losses keep no sigma of their own, so those of an old bin go to the new bin that holds its centre
    and, where bins get finer, to every new bin whose centre it holds. Estimates are interpolated,
    log mmse linear in log sigma, and the table is the old cdf at the new edges.
    """
    out = dict(tensors)
    sources = _sources(old_edges, new_edges)
    rings = [[_merged(ring, count, bins, config.capacity) for bins in sources]
             for ring, count in zip(tensors["ring"], tensors["count"], strict=True)]  # fmt: skip
    out["ring"] = torch.stack([torch.stack([losses for losses, _ in row]) for row in rings])
    out["count"] = torch.tensor([[n for _, n in row] for row in rings])
    out["previous_count"] = torch.stack((out["count"], out["count"]), 1)  # which levels they had is not known
    out["mmse"] = torch.stack([_interpolated(row, old_edges, new_edges) for row in tensors["mmse"]])
    out["cdf"] = torch.stack([_resampled(row, old_edges, new_edges, config.floor) for row in tensors["cdf"]])
    out["previous_cdf"] = out["cdf"].clone()
    return out


def _centres(edges: Tensor) -> Tensor:
    logs = edges.log()
    return (logs[1:] + logs[:-1]) / 2


def _sources(old_edges: Tensor, new_edges: Tensor) -> list[list[int]]:
    """For each new bin, the old bins whose losses it takes."""
    old, new = _centres(old_edges), _centres(new_edges)
    home = torch.bucketize(old, new_edges.log(), right=True) - 1  # new bin of each old centre
    holder = torch.bucketize(new, old_edges.log(), right=True) - 1  # old bin of each new centre
    sources = [[j for j, k in enumerate(home.tolist()) if k == i] for i in range(len(new))]
    for i, j in enumerate(holder.tolist()):
        if 0 <= j < len(old) and j not in sources[i]:
            sources[i].append(j)
    return sources


def _in_order(ring: Tensor, count: int) -> Tensor:
    """The losses of one ring, oldest first."""
    capacity = len(ring)
    return ring[:count] if count <= capacity else ring.roll(-(count % capacity))


def _merged(ring: Tensor, count: Tensor, bins: list[int], capacity: int) -> tuple[Tensor, int]:
    """The last `capacity` losses of some bins, taken in turn from the newest back, and how many."""
    lists = [_in_order(ring[j], int(count[j])).flip(0).tolist() for j in bins]
    depth = max(map(len, lists), default=0)
    newest_first = [losses[i] for i in range(depth) for losses in lists if i < len(losses)][:capacity]
    out = torch.full((capacity,), -1.0, dtype=torch.float32)
    out[: len(newest_first)] = torch.tensor(newest_first[::-1], dtype=torch.float32)
    return out, len(newest_first)


def _interpolated(mmse: Tensor, old_edges: Tensor, new_edges: Tensor) -> Tensor:
    """Estimates at the new centres that lie between estimated old ones; -1 elsewhere."""
    known = mmse >= 0
    out = torch.full((len(new_edges) - 1,), -1.0, dtype=torch.float64)
    if not bool(known.any()):
        return out
    x, y, at = _centres(old_edges)[known], mmse[known].clamp(min=TINY).log(), _centres(new_edges)
    right = torch.bucketize(at, x).clamp(0, len(x) - 1)
    left = (right - 1).clamp(min=0)
    gap = (x[right] - x[left]).clamp(min=TINY)
    inside = y[left] + (y[right] - y[left]) * ((at - x[left]) / gap).clamp(0, 1)
    value = (inside + 2 * (at - x[0]).clamp(max=0)).exp()  # below the lowest centre proportional to sigma^2
    reach = (old_edges[-1] / old_edges[0]).log() / (len(old_edges) - 1) / 2 * 1.01
    return torch.where((at >= x[0] - reach) & (at <= x[-1] + reach), value, out)


def _resampled(cdf: Tensor, old_edges: Tensor, new_edges: Tensor, floor: float) -> Tensor:
    """The table at the new edges, truncated and renormalised; the floor again if anything is lost."""
    mass, bins = Table.trusted(old_edges, cdf).mass(new_edges), len(new_edges) - 1
    total = mass.sum()
    share = mass / total if bool(total > 0) else torch.full_like(mass, 1 / bins)
    room = 1 + 1e-6
    if new_edges[0] * room < old_edges[0] or new_edges[-1] > old_edges[-1] * room or not bool(total > 0):
        share = (1 - floor) * share + floor / bins
    return Table.from_mass(new_edges, share).cdf
