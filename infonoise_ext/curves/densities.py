"""Fixed training noise schedules: sampling densities of sigma that never adapt.

Each answers to the protocol of the adaptive schedule, so that it can take its place in a training
loop, and each can be the prior that the adaptive schedule starts from.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from .arguments import choice, number, refuse
from .density import Density, as_double, checked_edges
from .weights import Weight


def _normal_cdf(z: Tensor) -> Tensor:
    # Not torch.special.ndtr: on the CPU it is 1 + erf, with no correct digit left at z = -8.
    return 0.5 * torch.erfc(z * -math.sqrt(0.5))


class LogNormal(Density):
    """ln sigma ~ N(mean, std^2). EDM trains with mean = -1.2, std = 1.2.

    Args:
        mean: mean of ln sigma.
        std: standard deviation of ln sigma.
        weight: loss weight, a callable sigma -> w of the same shape; None is the unit weight.

    Raises:
        ValueError: mean is not finite, std not a finite number above 0, or weight not callable.

    Source:
        EDM (arXiv 2206.00364) Table 1, "noise distribution".
    """

    _names: ClassVar[tuple[str, ...]] = ("mean", "std")

    def __init__(self, mean: float, std: float, weight: Weight | str | None = None) -> None:
        super().__init__(weight)
        self.mean = self._location = number("mean", mean)
        self.std = number("std", std, above=0)

    def _z(self, sigma: Tensor | float) -> Tensor:
        return (as_double(sigma).clamp(min=0.0).log() - self._location) / self.std

    def below(self, sigma: Tensor | float) -> Tensor:
        return _normal_cdf(self._z(sigma))

    def level(self, u: Tensor | float) -> Tensor:
        z: Tensor = torch.special.ndtri(as_double(u))
        return (self._location + self.std * z).exp().float()

    def density(self, sigma: Tensor | float) -> Tensor:
        sigma = as_double(sigma)
        per_log = (-0.5 * self._z(sigma).square()).exp() / (self.std * math.sqrt(2.0 * math.pi))
        return torch.where(sigma <= 0.0, 0.0, per_log / sigma)

    def mass(self, edges: Tensor) -> Tensor:
        z = self._z(checked_edges(edges))
        low, high = z[:-1], z[1:]
        # A bin above the median is mirrored below it, where the cdf keeps its relative accuracy.
        mirrored = low > 0.0
        low, high = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
        return _normal_cdf(high) - _normal_cdf(low)


class LogitNormal(LogNormal):
    """Logit-normal flow time with a timestep shift, as sigma = t / (1 - t); t = 1 is noise.

    t0 = sigmoid(N(mean, std^2)), t = shift t0 / (1 + (shift - 1) t0). The shift multiplies the
    odds t / (1 - t), so ln sigma ~ N(mean + ln shift, std^2) exactly.

    Args:
        mean: mean of the logit of t0.
        std: standard deviation of the logit of t0.
        shift: SD3's alpha = sqrt(m / n) for m pixels where n were trained on; 1 is no shift.
        weight: loss weight, a callable sigma -> w of the same shape; None is the unit weight.

    Raises:
        ValueError: as `LogNormal`, or shift is not a finite number above 0.

    Source:
        SD3 (arXiv 2403.03206) Eq. 19 (density of t0) and Eq. 23 (shift).
    """

    _names: ClassVar[tuple[str, ...]] = ("mean", "std", "shift")

    def __init__(self, mean: float, std: float, shift: float = 1.0, weight: Weight | str | None = None) -> None:
        super().__init__(mean, std, weight)
        self.shift = number("shift", shift, above=0)
        self._location = self.mean + math.log(self.shift)


class LogUniform(Density):
    """ln sigma uniform on [ln sigma_min, ln sigma_max].

    Without a range it is improper: ``mass`` is the width of each bin in ln sigma, which is all
    that a prior needs, and whatever else reads the density raises ValueError.

    Args:
        sigma_min: lowest noise level, or None.
        sigma_max: highest noise level, or None.
        weight: loss weight, a callable sigma -> w of the same shape; None is the unit weight.

    Raises:
        ValueError: one end without the other, an end that is not a finite number above 0, ends
            that do not ascend, or a weight that is not callable.
    """

    _names: ClassVar[tuple[str, ...]] = ("sigma_min", "sigma_max")

    def __init__(
        self,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        weight: Weight | str | None = None,
    ) -> None:
        super().__init__(weight)
        ends = (sigma_min, sigma_max)
        if (sigma_min is None) != (sigma_max is None):
            refuse("(sigma_min, sigma_max)", ends, "two numbers, or None both")
        self.sigma_min, self.sigma_max = sigma_min, sigma_max
        if sigma_min is not None and sigma_max is not None:
            self.sigma_min = number("sigma_min", sigma_min, above=0)
            self.sigma_max = number("sigma_max", sigma_max, above=0)
            if not self.sigma_min < self.sigma_max:
                refuse("sigma_max", self.sigma_max, f"above sigma_min = {self.sigma_min:g}")

    def _range(self) -> tuple[float, float, float]:
        """Lowest and highest sigma, and the width in ln sigma between them."""
        if self.sigma_min is None or self.sigma_max is None:
            refuse("sigma_min", None, "given: without a range LogUniform is improper and serves as a prior alone")
        return self.sigma_min, self.sigma_max, math.log(self.sigma_max / self.sigma_min)

    def below(self, sigma: Tensor | float) -> Tensor:
        """See `Density.below`; raises ValueError without a range."""
        low, high, width = self._range()
        return (as_double(sigma).clamp(low, high) / low).log() / width

    def level(self, u: Tensor | float) -> Tensor:
        """See `Density.level`; raises ValueError without a range."""
        low, _, width = self._range()
        return (low * (width * as_double(u)).exp()).float()

    def density(self, sigma: Tensor | float) -> Tensor:
        """See `Density.density`; raises ValueError without a range."""
        low, high, width = self._range()
        sigma = as_double(sigma)
        return torch.where((sigma < low) | (sigma > high), 0.0, 1.0 / (sigma * width))

    def mass(self, edges: Tensor) -> Tensor:
        """See `Density.mass`; without a range, the width of each bin in ln sigma."""
        edges = checked_edges(edges)
        if self.sigma_min is None:
            return edges.log().diff()
        low, high, width = self._range()
        return edges.clamp(low, high).log().diff() / width


class UniformTime(Density):
    """Time uniform on (0, 1): what rectified flows, SiT and uniform timesteps of a flow train on.

    With a shift of timesteps, t becomes shift t / (1 + (shift - 1) t): sigma is multiplied by it. Which end of time is
    noise does not matter.

    Args:
        shift: of the timesteps; 1 is none.
        path: "flow": sigma = t / (1 - t); "vp": the cosine path, sigma = tan(pi t / 2).
        weight: loss weight, a callable sigma -> w of the same shape; None is the unit weight.

    Raises:
        ValueError: shift is not a finite number above 0, an unknown path, or a weight that is none.

    Source:
        SD3 (arXiv 2403.03206) Eq. 23, the shift; SiT (arXiv 2401.08740), "linear" and "GVP" paths.
    """

    _names: ClassVar[tuple[str, ...]] = ("shift", "path")

    def __init__(self, shift: float = 1.0, path: str = "flow", weight: Weight | str | None = None) -> None:
        super().__init__(weight)
        self.shift = number("shift", shift, above=0)
        self.path = choice("path", path, ("flow", "vp"))

    def _time(self, ratio: Tensor) -> Tensor:
        """P(sigma <= ratio shift), for ratio in [0, inf]; of 1 / ratio it is the rest of 1."""
        return ratio.atan() * (2.0 / math.pi) if self.path == "vp" else 1.0 / (1.0 + ratio.reciprocal())

    def below(self, sigma: Tensor | float) -> Tensor:
        return self._time(as_double(sigma).clamp(min=0.0) / self.shift)

    def level(self, u: Tensor | float) -> Tensor:
        u = as_double(u)
        near = torch.minimum(u, 1.0 - u)  # from the nearer end, where the time keeps its relative accuracy
        ratio = (near * (math.pi / 2.0)).tan() if self.path == "vp" else near / (1.0 - near)
        return (self.shift * torch.where(u > 0.5, ratio.reciprocal(), ratio)).float()

    def density(self, sigma: Tensor | float) -> Tensor:
        sigma = as_double(sigma)
        ratio = sigma / self.shift
        slope = (2.0 / math.pi) / (1.0 + ratio.square()) if self.path == "vp" else (1.0 + ratio).square().reciprocal()
        return torch.where(sigma <= 0.0, 0.0, slope / self.shift)

    def mass(self, edges: Tensor) -> Tensor:
        ratio = checked_edges(edges) / self.shift
        # Above the median from the far end, where the cdf keeps its relative accuracy.
        return torch.where(ratio[:-1] > 1.0, -self._time(ratio.reciprocal()).diff(), self._time(ratio).diff())
