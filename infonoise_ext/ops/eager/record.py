"""`observe_` and `bin_stats`: losses into FIFO rings, and the moments of the rings."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backward import count_recomputed_, in_backward
from ..checks import check_batch
from ..schemas import COUNTERS, EDGE_TOLERANCE, SKIP_CAUSES
from .common import row


def observe_(
    ring: Tensor,
    count: Tensor,
    counters: Tensor,
    grid: Tensor,
    sigma: Tensor,
    error: Tensor,
    mask: Tensor | None,
    group: Tensor | None,
) -> None:
    """Append each loss to the FIFO ring of its bin: stable sort by bin, rank within the bin."""
    check_batch(ring, sigma, error, mask, group)
    if in_backward():
        count_recomputed_(counters, sigma, group)
        return
    batch = sigma.numel()
    groups, bins, capacity = ring.shape
    sigma, error = sigma.detach().float(), error.detach().float()
    edges = row(grid, "edges")
    wide = sigma.double()
    inside = (wide >= edges[0] * (1 - EDGE_TOLERANCE)) & (wide <= edges[-1] * (1 + EDGE_TOLERANCE))
    bin_ = torch.bucketize(wide, edges[1:-1].contiguous(), right=True)  # [B]
    owner = torch.zeros_like(bin_) if group is None else group.long()
    known = (owner >= 0) & (owner < groups)
    owner = torch.where(known, owner, 0)
    causes = torch.stack(
        (
            torch.zeros_like(known) if mask is None else ~mask,
            ~known,
            ~sigma.isfinite(),
            ~inside,
            ~error.isfinite(),
            error < 0,
        )
    )  # [6, B], in the order of SKIP_CAUSES, which ends with what was recomputed
    good = ~causes.any(0)
    _count_skips(counters, causes, owner)
    slot = torch.where(good, owner * bins + bin_, groups * bins)  # skipped samples go to a spare bin
    ordered, order = torch.sort(slot, stable=True)
    total = torch.zeros(groups * bins + 1, dtype=torch.int64, device=ring.device)
    total.scatter_add_(0, slot, torch.ones_like(slot))
    rank = torch.arange(batch, device=ring.device) - (total.cumsum(0) - total)[ordered]
    last = rank >= total[ordered] - capacity
    spare = ordered == groups * bins
    flat_count = torch.cat((count.view(-1), count.new_zeros(1)))
    position = ordered * capacity + (flat_count[ordered] + rank) % capacity
    position = torch.where(last & ~spare, position, ring.numel())
    padded = torch.cat((ring.view(-1), ring.new_zeros(1)))
    padded.scatter_(0, position, error[order])
    ring.view(-1).copy_(padded[:-1])
    count.view(-1).add_(total[:-1])


def _count_skips(counters: Tensor, causes: Tensor, owner: Tensor) -> None:
    first = causes & (causes.long().cumsum(0) == 1)  # the first cause of each sample
    start = COUNTERS.index(SKIP_CAUSES[0])
    columns = counters[:, start : start + len(causes)]  # [G, 6]
    columns += torch.zeros_like(columns.t()).scatter_add(1, owner.expand(len(first), -1), first.long()).t()


def bin_stats(ring: Tensor, count: Tensor) -> Tensor:
    """Number, sum and sum of squares of the losses in each ring: float64 [G, K, 3]."""
    capacity = ring.shape[-1]
    filled = count.clamp(max=capacity)
    held = torch.arange(capacity, device=ring.device) < filled.unsqueeze(-1)  # [G, K, C]
    losses = torch.where(held, ring, 0.0).double()
    return torch.stack((filled.double(), losses.sum(-1), losses.square().sum(-1)), -1)
