"""The density that training scripts of SD3 and Flux have in common, as places in their table of timesteps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..curves.arguments import choice

_SCHEMES = ("none", "logit_normal", "mode", "sigma_sqrt", "cosmap")
_POINTS = 2**20


def places(args: Any) -> Tensor:
    """Quantiles u in [0, 1] of the places that a script draws: entry int(u N) of its table, which descends.

    So a positive `logit_mean` is a later place, and less noise.

    Args:
        args: the script's: `weighting_scheme`, `logit_mean`, `logit_std`, `mode_scale`; what it lacks has the
            default of the scripts.

    Raises:
        ValueError: an unknown scheme.

    Source:
        SD3 (arXiv 2403.03206) Eq. 19 and 20.
    """
    scheme = choice("weighting_scheme", getattr(args, "weighting_scheme", None) or "none", _SCHEMES)
    u = (torch.arange(_POINTS, dtype=torch.float64) + 0.5) / _POINTS
    if scheme == "logit_normal":
        mean, std = option(args, "logit_mean", 0.0), option(args, "logit_std", 1.0)
        return (mean + std * torch.special.ndtri(u)).sigmoid()
    if scheme == "mode":
        return 1 - u - option(args, "mode_scale", 1.29) * ((math.pi / 2 * u).cos().square() - 1 + u)
    return u


def option(args: Any, name: str, default: Any = None) -> Any:
    """An option of a script, or the default where it has none or None."""
    value = getattr(args, name, None)
    return default if value is None else value
