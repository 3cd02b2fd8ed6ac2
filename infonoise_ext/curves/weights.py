"""Loss weights w(sigma): what the objective multiplies the error of a clean sample by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .arguments import number, refuse

Weight = Callable[[Tensor], Tensor]


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
        object.__setattr__(self, "sigma_data", number("sigma_data", self.sigma_data, above=0))

    def __call__(self, sigma: Tensor) -> Tensor:
        """Return w(sigma), of sigma's shape, dtype and device."""
        # Eq. 52 written as a sum of inverse squares: no product that could under- or overflow.
        return sigma.reciprocal().square() + self.sigma_data**-2


def unit_weight(sigma: Tensor) -> Tensor:
    """Return ones of sigma's shape, dtype and device: the weight that ``None`` means."""
    return torch.ones_like(sigma)


def evaluate(name: str, curve: Weight, sigma: Tensor, *, positive: bool) -> Tensor:
    """Call a weight or a bound on a table of sigma and check what it returns; waits for the device.

    Args:
        name: of the curve, for the message.
        curve: callable that is given float64 sigma and may return a tensor or whatever ``torch.as_tensor`` takes.
        sigma: any shape.
        positive: whether values must be finite and above 0, as a weight's; else they must be at least 0.

    Returns:
        float64 curve(sigma), of sigma's shape, on sigma's device, detached.

    Raises:
        ValueError: what it returns is no tensor, has another shape than sigma, or holds a value out of range.
    """
    sigma = sigma.detach().to(torch.float64)
    value = curve(sigma)
    try:
        y = torch.as_tensor(value, dtype=torch.float64, device=sigma.device).detach()
    except (TypeError, ValueError, RuntimeError):
        refuse(f"{name}(sigma)", value, "a tensor")
    if y.shape != sigma.shape:
        refuse(f"the shape of {name}(sigma)", list(y.shape), f"that of sigma, {list(sigma.shape)}")
    bad = ~(torch.isfinite(y) & (y > 0.0)) if positive else ~(y >= 0.0)
    if bool(bad.any()):
        at, first = sigma[bad][0].item(), y[bad][0].item()
        refuse(f"{name}({at:.4g})", first, "finite and above 0" if positive else "at least 0")
    return y


def as_weight(weight: Weight | None) -> Weight:
    """Return ``weight`` itself, or `unit_weight` for None.

    Raises:
        ValueError: weight is neither None nor callable.
    """
    if weight is not None and not callable(weight):
        refuse("weight", weight, "None or a callable sigma -> w")
    return unit_weight if weight is None else weight
