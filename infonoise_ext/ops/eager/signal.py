"""What a schedule equalises, from the entropy rate."""

from __future__ import annotations

import torch
from torch import Tensor

from ..schemas import SAME_RATE


def rise(mmse: Tensor, width: Tensor) -> Tensor:
    """By how much mmse rises over each bin: isotonic first, then at the edges between the centres."""
    iso = (mmse.cummax(-1).values + mmse.flip(-1).cummin(-1).values.flip(-1)) / 2
    below, above = iso[..., :1] * (-2 * width).exp(), iso[..., -1:]
    roots = torch.cat((below, iso, above), -1).sqrt()
    edges = roots[..., :-1] * roots[..., 1:]
    low, high = edges[..., :-1], edges[..., 1:]
    return torch.where(high > low * (1 + SAME_RATE), high - low, 0.0)


def signal(rho: Tensor, sigma: Tensor, width: Tensor, which: Tensor) -> Tensor:
    """What a schedule or a grid equalises, of every bin, but for a constant factor.

    Args:
        rho: [..., K] entropy rate per unit log sigma, gaps filled.
        sigma: [K] bin centres.
        width: of a bin in log sigma, 0-dimensional float64.
        which: index in `SIGNALS`, 0-dimensional.

    Returns:
        [..., K]: rho, rho sigma, the rise of mmse over the bin, or the square root of that rise.
    """
    risen = rise(rho * sigma.square(), width)
    signals = torch.stack((rho, rho * sigma, risen, risen.sqrt()))
    return signals.index_select(0, which.long().view(1)).squeeze(0)
