"""`observe_` and `bin_stats`: losses into FIFO rings, and the moments of the rings."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backward import count_recomputed_, in_backward
from ..checks import check_batch
from ..schemas import COUNTERS, EDGE_TOLERANCE, SKIP_CAUSES
from .common import row

_FIRST_CAUSE = COUNTERS.index(SKIP_CAUSES[0])


def bin_of(sigma: Tensor, edges: Tensor) -> Tensor:
    """The bin with edges[k] <= sigma < edges[k + 1], clamped to the end bins: [B]."""
    return torch.bucketize(sigma, edges[1:-1].contiguous(), right=True)


def skip_cause(sigma: Tensor, error: Tensor, mask: Tensor | None, known: Tensor, edges: Tensor) -> Tensor:
    """Why a sample is not recorded, as its first cause alone: bool [6, B], in the order of `SKIP_CAUSES`."""
    wide = sigma.double()
    inside = (wide >= edges[0] * (1 - EDGE_TOLERANCE)) & (wide <= edges[-1] * (1 + EDGE_TOLERANCE))
    masked = torch.zeros_like(known) if mask is None else ~mask
    causes = torch.stack((masked, ~known, ~sigma.isfinite(), ~inside, ~error.isfinite(), error < 0))
    return causes & (causes.long().cumsum(0) == 1)


def record(
    ring: Tensor, count: Tensor, counters: Tensor, grid: Tensor, sigma: Tensor, error: Tensor,
    mask: Tensor | None, group: Tensor | None,
) -> None:  # fmt: skip
    """Append each loss to the FIFO ring of its bin: stable sort by bin, rank within the bin."""
    groups, bins, capacity = ring.shape
    edges = row(grid, "edges")
    k = bin_of(sigma.double(), edges)
    owner = torch.zeros_like(k) if group is None else group.long()
    known = (owner >= 0) & (owner < groups)
    owner = torch.where(known, owner, 0)
    causes = skip_cause(sigma, error, mask, known, edges)
    columns = counters[:, _FIRST_CAUSE : _FIRST_CAUSE + len(causes)]  # [G, 6]
    columns += torch.zeros_like(columns.t()).scatter_add(1, owner.expand(len(causes), -1), causes.long()).t()
    slot = torch.where(causes.any(0), groups * bins, owner * bins + k)  # skipped samples go to a spare bin
    ordered, order = torch.sort(slot, stable=True)
    total = torch.zeros(groups * bins + 1, dtype=torch.int64, device=ring.device)
    total.scatter_add_(0, slot, torch.ones_like(slot))
    rank = torch.arange(sigma.numel(), device=ring.device) - (total.cumsum(0) - total)[ordered]
    last = rank >= total[ordered] - capacity
    spare = ordered == groups * bins
    flat_count = torch.cat((count.view(-1), count.new_zeros(1)))
    position = ordered * capacity + (flat_count[ordered] + rank) % capacity
    position = torch.where(last & ~spare, position, ring.numel())
    padded = torch.cat((ring.view(-1), ring.new_zeros(1)))
    padded.scatter_(0, position, error[order])
    ring.view(-1).copy_(padded[:-1])
    count.view(-1).add_(total[:-1])


def observe_(
    ring: Tensor, count: Tensor, counters: Tensor, grid: Tensor, sigma: Tensor, error: Tensor,
    mask: Tensor | None, group: Tensor | None,
) -> None:  # fmt: skip
    """Record a batch; in backward only count it."""
    check_batch(ring, sigma, error, mask, group)
    if in_backward():
        count_recomputed_(counters, sigma, group)
    else:
        record(ring, count, counters, grid, sigma.detach().float(), error.detach().float(), mask, group)


def bin_stats(ring: Tensor, count: Tensor) -> Tensor:
    """Number of losses in each ring, the sum of all but the largest, and the largest: float64 [G, K, 3]."""
    capacity = ring.shape[-1]
    filled = count.clamp(max=capacity)
    held = torch.arange(capacity, device=ring.device) < filled.unsqueeze(-1)  # [G, K, C]
    losses = torch.where(held, ring, 0.0).double()
    top = losses.argmax(-1, keepdim=True)
    largest = losses.gather(-1, top)
    return torch.stack((filled.double(), losses.scatter(-1, top, 0.0).sum(-1), largest.squeeze(-1)), -1)
