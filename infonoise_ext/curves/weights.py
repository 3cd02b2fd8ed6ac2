"""Loss weights w(sigma): what the objective multiplies the error of a clean sample by."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Weight = Callable[[Tensor], Tensor]


def _number(name: str, value: float, *, positive: bool = False) -> float:
    """``value`` as a float; ValueError unless it is finite and, if asked, above zero."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or (positive and number <= 0.0):
        allowed = "a finite number above 0" if positive else "a finite number"
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return number


@dataclass(frozen=True)
class EDMWeight:
    """EDM's loss weight, w = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2.

    Calling it with sigma of any shape returns w of the same shape, dtype and device.

    Args:
        sigma_data: standard deviation of the data, in the units of sigma.

    Raises:
        ValueError: sigma_data is not a finite number above 0.

    Source:
        InfoNoise (arXiv 2602.18647) Eq. 52; EDM (arXiv 2206.00364) Table 1.
    """

    sigma_data: float

    def __post_init__(self) -> None:
        """Check the arguments."""
        sigma_data = _number("sigma_data", self.sigma_data, positive=True)
        object.__setattr__(self, "sigma_data", sigma_data)

    def __call__(self, sigma: Tensor) -> Tensor:
        """Return w(sigma), of sigma's shape, dtype and device."""
        # Eq. 52 written as a sum of inverse squares: no product that could under- or overflow.
        return sigma.reciprocal().square() + self.sigma_data**-2


@dataclass(frozen=True)
class UnitWeight:
    """The weight w = 1 of an objective that averages the plain error: what ``None`` means."""

    def __call__(self, sigma: Tensor) -> Tensor:
        """Return ones of sigma's shape, dtype and device."""
        return torch.ones_like(sigma)


def evaluate_weight(weight: Weight | None, sigma: Tensor) -> Tensor:
    """Call a weight on a table of sigma and check what it returns.

    Meant for construction time: the checks read the values, so they wait for the device.

    Args:
        weight: callable sigma -> w, or None for the unit weight. It is given a float64 tensor
            and may return a tensor or whatever ``torch.as_tensor`` takes.
        sigma: any shape.

    Returns:
        float64 w(sigma), of sigma's shape, on sigma's device, detached.

    Raises:
        ValueError: weight is not callable, or what it returns is no tensor, has another shape
            than sigma, or holds a value that is not finite and above 0.
    """
    weight = as_weight(weight)
    sigma = sigma.detach().to(torch.float64)
    value = weight(sigma)
    try:
        w = torch.as_tensor(value, dtype=torch.float64, device=sigma.device).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"weight must return a tensor, got {value!r}") from error
    if w.shape != sigma.shape:
        raise ValueError(f"weight must return the shape of sigma, {tuple(sigma.shape)}, got {tuple(w.shape)}")
    bad = ~(torch.isfinite(w) & (w > 0.0))
    if bool(bad.any()):
        raise ValueError(
            f"weight must return finite values above 0, got {w[bad][0].item()} at sigma = {sigma[bad][0].item()}"
        )
    return w


def as_weight(weight: Weight | None) -> Weight:
    """Return ``weight`` itself, or the unit weight for None.

    Raises:
        ValueError: weight is neither None nor callable.
    """
    if weight is None:
        return UnitWeight()
    if not callable(weight):
        raise ValueError(f"weight must be None or a callable sigma -> w, got {weight!r}")
    return weight
