"""Fixed training noise schedules: sampling densities of sigma that never adapt.

Each answers to the protocol of the adaptive schedule, so that it can take its place in a training
loop, and each can be the prior that the adaptive schedule starts from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from .weights import UnitWeight, Weight, _number, as_weight

_VERSION = 1


def _double(x: Tensor | float) -> Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


def _normal_cdf(z: Tensor) -> Tensor:
    # Not torch.special.ndtr: on the CPU it is 1 + erf, with no correct digit left at z = -8.
    return 0.5 * torch.erfc(z * -math.sqrt(0.5))


def _checked_edges(edges: Tensor) -> Tensor:
    edges = _double(edges)
    if edges.ndim != 1 or edges.numel() < 2:
        raise ValueError(f"edges must have shape [K + 1], K >= 1, got {tuple(edges.shape)}")
    inside = bool(edges[0] > 0.0) and bool(edges[-1] < math.inf)
    if not (inside and bool((edges.diff() > 0.0).all())):
        raise ValueError(f"edges must be positive, finite and ascending, got {edges.tolist()}")
    return edges


class Density:
    """A fixed sampling density of sigma under the protocol of the adaptive schedule.

    Base class: a density of your own defines ``cdf``, ``icdf``, ``pdf`` and ``bin_mass``.
    ``observe``, ``step`` and ``reset`` do nothing and ``group`` is ignored: there is one schedule
    and nothing to learn. ``torch.manual_seed`` rules the random numbers.

    Args:
        weight: loss weight, a callable sigma -> w of the same shape; None is the unit weight.

    Attributes:
        weight: the callable that was given, never None.
        device: where ``sample`` draws unless told otherwise; None is torch's default.

    Raises:
        ValueError: weight is neither None nor callable.
    """

    _names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, weight: Weight | None = None) -> None:
        """See the class."""
        self.weight = as_weight(weight)
        self.device: torch.device | None = None

    def cdf(self, sigma: Tensor | float) -> Tensor:
        """Return P(noise level <= sigma), float64, of sigma's shape."""
        raise NotImplementedError

    def icdf(self, u: Tensor | float) -> Tensor:
        """Return sigma with cdf(sigma) = u for u in [0, 1]: float32, computed in float64."""
        raise NotImplementedError

    def pdf(self, sigma: Tensor | float) -> Tensor:
        """Return the density per unit of sigma, float64, of sigma's shape; 0 off the support."""
        raise NotImplementedError

    def bin_mass(self, edges: Tensor) -> Tensor:
        """Return the probability of each bin, accurate in both tails and not normalised.

        Args:
            edges: [K + 1] ascending sigma.

        Returns:
            [K] float64; its sum is what the density puts between the outer edges.

        Raises:
            ValueError: edges is not a positive, finite, ascending vector of two or more.
        """
        raise NotImplementedError

    def sample(
        self,
        n: int,
        group: Tensor | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw n noise levels.

        Args:
            n: how many, 0 or more.
            group: ignored.
            device: where to draw; else that of ``to``, else that of the generator.
            generator: source of the random numbers; None is torch's own, and alone traces under
                ``torch.compile(fullgraph=True)``.

        Returns:
            [n] float32 sigma.

        Raises:
            ValueError: n is negative.
        """
        if n < 0:
            raise ValueError(f"n must be at least 0, got {n}")
        device = self.device if device is None else device
        if generator is None:
            u = torch.rand(n, dtype=torch.float64, device=device)
        else:
            device = generator.device if device is None else device
            u = torch.rand(n, dtype=torch.float64, device=device, generator=generator)
        # torch.rand gives multiples of 2^-53 in [0, 1): only 0 has to be moved inside.
        return self.icdf(u.clamp(min=2.0**-54))

    def observe(self, sigma: Tensor, error: Tensor, mask: Tensor | None = None, group: Tensor | None = None) -> None:
        """Do nothing: there is nothing to learn from the errors."""

    def step(self) -> None:
        """Do nothing: there is no refresh to count towards."""

    def advance(
        self,
        sigma: Tensor,
        error: Tensor,
        mask: Tensor | None = None,
        group: Tensor | None = None,
        next_group: Tensor | None = None,
    ) -> Tensor:
        """Return a fresh [B] float32 sample on the device of sigma [B]; the rest is ignored."""
        return self.sample(sigma.shape[0], device=sigma.device)

    def reset(self) -> None:
        """Do nothing: there is nothing to forget."""

    def to(self, device: torch.device | str) -> Density:
        """Draw on ``device`` from now on; returns self."""
        self.device = torch.device(device)
        return self

    def summary(self) -> dict[str, float]:
        """Return the 5, 50 and 95 % quantiles of sigma as sigma_q05, sigma_q50, sigma_q95."""
        quantiles = self.icdf(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64))
        names = ("sigma_q05", "sigma_q50", "sigma_q95")
        return dict(zip(names, quantiles.tolist(), strict=True))

    def _parameters(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self._names}

    def state_dict(self) -> dict[str, object]:
        """Return a version, the class and the parameters as plain values; not the weight."""
        return {"version": _VERSION, "density": type(self).__name__, **self._parameters()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Check that ``state`` describes this density; there is nothing to load.

        Raises:
            ValueError: its version, class or parameters are not those of this density.
        """
        if state != self.state_dict():
            raise ValueError(f"state must be {self.state_dict()} for {self!r}, got {state!r}")

    def __repr__(self) -> str:
        """Return the call that makes this density."""
        arguments = self._parameters()
        if not isinstance(self.weight, UnitWeight):
            arguments["weight"] = self.weight
        inner = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        return f"{type(self).__name__}({inner})"


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

    def __init__(self, mean: float, std: float, weight: Weight | None = None) -> None:
        """See the class."""
        super().__init__(weight)
        self.mean = self._location = _number("mean", mean)
        self.std = _number("std", std, positive=True)

    def _z(self, sigma: Tensor | float) -> Tensor:
        return (_double(sigma).clamp(min=0.0).log() - self._location) / self.std

    def cdf(self, sigma: Tensor | float) -> Tensor:
        """See `Density.cdf`."""
        return _normal_cdf(self._z(sigma))

    def icdf(self, u: Tensor | float) -> Tensor:
        """See `Density.icdf`."""
        z: Tensor = torch.special.ndtri(_double(u))
        return (self._location + self.std * z).exp().float()

    def pdf(self, sigma: Tensor | float) -> Tensor:
        """See `Density.pdf`."""
        sigma = _double(sigma)
        per_log = (-0.5 * self._z(sigma).square()).exp() / (self.std * math.sqrt(2.0 * math.pi))
        return torch.where(sigma <= 0.0, 0.0, per_log / sigma)

    def bin_mass(self, edges: Tensor) -> Tensor:
        """See `Density.bin_mass`."""
        z = self._z(_checked_edges(edges))
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

    def __init__(self, mean: float, std: float, shift: float = 1.0, weight: Weight | None = None) -> None:
        """See the class."""
        super().__init__(mean, std, weight)
        self.shift = _number("shift", shift, positive=True)
        self._location = self.mean + math.log(self.shift)


class LogUniform(Density):
    """ln sigma uniform on [ln sigma_min, ln sigma_max].

    Without a range it is improper: ``bin_mass`` is the width of each bin in ln sigma, which is all
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
        weight: Weight | None = None,
    ) -> None:
        """See the class."""
        super().__init__(weight)
        ends = (sigma_min, sigma_max)
        if (sigma_min is None) != (sigma_max is None):
            raise ValueError(f"sigma_min and sigma_max must both be given or both None, got {ends}")
        self.sigma_min, self.sigma_max = sigma_min, sigma_max
        if sigma_min is not None and sigma_max is not None:
            self.sigma_min = _number("sigma_min", sigma_min, positive=True)
            self.sigma_max = _number("sigma_max", sigma_max, positive=True)
            if not self.sigma_min < self.sigma_max:
                raise ValueError(f"sigma_max must be above sigma_min, got {ends}")

    def _range(self) -> tuple[float, float, float]:
        """Lowest and highest sigma, and the width in ln sigma between them."""
        if self.sigma_min is None or self.sigma_max is None:
            raise ValueError(
                "sigma_min and sigma_max must be given, got None: "
                "without a range LogUniform is improper and only serves as a prior"
            )
        return self.sigma_min, self.sigma_max, math.log(self.sigma_max / self.sigma_min)

    def cdf(self, sigma: Tensor | float) -> Tensor:
        """See `Density.cdf`; raises ValueError without a range."""
        low, high, width = self._range()
        return (_double(sigma).clamp(low, high) / low).log() / width

    def icdf(self, u: Tensor | float) -> Tensor:
        """See `Density.icdf`; raises ValueError without a range."""
        low, _, width = self._range()
        return (low * (width * _double(u)).exp()).float()

    def pdf(self, sigma: Tensor | float) -> Tensor:
        """See `Density.pdf`; raises ValueError without a range."""
        low, high, width = self._range()
        sigma = _double(sigma)
        return torch.where((sigma < low) | (sigma > high), 0.0, 1.0 / (sigma * width))

    def bin_mass(self, edges: Tensor) -> Tensor:
        """See `Density.bin_mass`; without a range, the width of each bin in ln sigma."""
        edges = _checked_edges(edges)
        if self.sigma_min is None:
            return edges.log().diff()
        low, high, width = self._range()
        return edges.clamp(low, high).log().diff() / width
