"""Whether a network does better on what it trains on than on samples that it never saw: memory, not information."""

from __future__ import annotations

import torch
from torch import Tensor

from ..state.measured import mmse_at
from ..state.profile import Profile, mean_and_error, moments_of

FEWEST = 16
"""Losses of a bin, on either side, from which its mean is compared."""

BEYOND = 4.0
"""Standard errors by which two means of equal expectation part in one bin of 30,000."""

MUCH = 0.8
"""Ratio of the training error to the held-out one from which the difference matters."""


def parted(ring: Tensor, count: Tensor, sigma: Tensor, held_out: Profile) -> tuple[int, int, float]:
    """Bins that can be compared, those where training is better beyond chance, and the median ratio in these, else 1.

    Args:
        ring: [K, C] losses.
        count: [K] losses ever written.
        sigma: [K] centres of the bins.
        held_out: profile of errors on other samples, on any grid.
    """
    number, mean, error = mean_and_error(moments_of(ring, count))
    wanted, unsure = mmse_at(held_out, sigma), _relative_error(held_out, sigma)
    known = (number >= FEWEST) & unsure.isfinite() & (wanted > 0)
    gap = (wanted - mean) / (error.square() + (unsure * wanted).square()).sqrt()
    better = known & (gap > BEYOND) & (mean < MUCH * wanted)
    ratio = float((mean / wanted)[better].median()) if bool(better.any()) else 1.0
    return int(known.sum()), int(better.sum()), ratio


def _relative_error(profile: Profile, sigma: Tensor) -> Tensor:
    """The standard error over the mean in the bin around each level; infinite beyond the bins and of too few losses."""
    edges, count = profile.edges.cpu().double(), profile.count.cpu()
    k = torch.bucketize(sigma, edges, right=True) - 1
    inside = (k >= 0) & (k < len(count))
    k = k.clamp(0, len(count) - 1)
    error = (profile.standard_error / profile.mean).cpu()
    return torch.where(inside & (count[k] >= FEWEST), error[k].nan_to_num(torch.inf), torch.inf)
