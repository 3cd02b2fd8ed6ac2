"""From the moments of the rings to the mmse of every bin: pooled until known, bounded in the influence of one loss."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schemas import CERTAIN, INFLUENCE, TINY
from .common import param, row

AT_ONCE = 2**20
"""Pairs of bins that are looked at together, so that many bins take little memory."""


def merged(within: Tensor, moments: Tensor) -> Tensor:
    """Moments [..., 3] of the union of those bins of `moments` [..., K, 3] that are `within` [..., K]."""
    count, rest, largest = (torch.where(within, x, 0.0) for x in moments.unbind(-1))
    top = largest.argmax(-1, keepdim=True)
    others = rest.sum(-1) + largest.scatter(-1, top, 0.0).sum(-1)
    return torch.stack((count.sum(-1), others, largest.gather(-1, top).squeeze(-1)), -1)


def mean(moments: Tensor) -> Tensor:
    """The mean, to which the largest loss adds no more than about a sixteenth: [...] of [..., 3]."""
    count, rest, largest = moments.unbind(-1)
    most = rest / (count - 1).clamp(min=1) * (1 + INFLUENCE * count)
    return (rest + torch.where(count < 2, largest, torch.minimum(largest, most))) / count.clamp(min=1)


def gaussian_mmse(variance: Tensor, sigma: Tensor) -> Tensor:
    """Of Gaussian data of that variance [...]: no data of the variance have more."""
    return variance / (1 + variance / sigma.square())


def variance(moments: Tensor, grid: Tensor, params: Tensor) -> Tensor:
    """Of an element of the data: that of Gaussian data with the mean error of the highest `min_count` losses: [G]."""
    count = moments[..., 0]
    above = count.flip(-1).cumsum(-1).flip(-1) - count  # in the bins above
    within = above < param(params, "min_count")
    pool = merged(within, moments)
    inverse = torch.where(within, count / row(grid, "sigma").square(), 0.0).sum(-1)
    error = torch.minimum(mean(pool), row(grid, "bound")[-1])
    share = error * inverse / pool[..., 0].clamp(min=1)
    return error / (1 - share.clamp(max=CERTAIN))


def pooled(moments: Tensor, params: Tensor) -> Tensor:
    """Moments of each bin and of as many neighbours, the same to both sides, as `min_count` losses take: [G, K, 3]."""
    groups, bins, _ = moments.shape
    index = torch.arange(bins, device=moments.device)
    total = torch.nn.functional.pad(moments[..., 0].cumsum(-1), (1, 0))
    pools = []
    for k in index.unsqueeze(-1).split(max(1, AT_ONCE // (groups * bins))):
        number = total[:, (k + index + 1).clamp(max=bins)] - total[:, (k - index).clamp(min=0)]
        short = number < param(params, "min_count")
        reach = short.sum(-1, keepdim=True)  # [G, rows, 1]
        pools.append(merged((k - index).abs() <= reach, moments.unsqueeze(-3)))
    return torch.cat(pools, 1)


def estimate(moments: Tensor, grid: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """The mmse of every bin [G, K], and the variance of the data [G].

    Bins are pooled by their error relative to Gaussian data, which hardly changes from one bin to the next. The mmse
    does not fall as sigma rises, so that a bin has no more than any above it.
    """
    found = variance(moments, grid, params)
    gaussian = gaussian_mmse(found.unsqueeze(-1), row(grid, "sigma"))
    unit = torch.where(gaussian > TINY, gaussian, 1.0)
    count, rest, largest = moments.unbind(-1)
    relative = mean(pooled(torch.stack((count, rest / unit, largest / unit), -1), params))
    bounded = torch.minimum(relative * gaussian, row(grid, "bound"))
    return bounded.flip(-1).cummin(-1).values.flip(-1), found
