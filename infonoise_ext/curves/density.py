"""Distributions of sigma, and the protocol that every noise schedule has in a training loop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Protocol, TypeVar

import torch
from torch import Tensor

from .arguments import refuse
from .levels import Shape, Shift, shifted, sizes
from .weights import Weight, as_weight, unit_weight

_VERSION = 1


class Schedule(Protocol):
    """What a training loop needs of a noise schedule: `InfoNoise` and every `Density` have it.

    What is written here is a schedule with nothing to learn; one of your own may inherit it, and defines ``table``.

    Attributes:
        weight: the loss weight w(sigma) of the objective.
    """

    weight: Weight

    def table(self, group: int = 0) -> Density:
        """Return the distribution that is sampled from now."""
        ...

    def sample(self, shape: Shape, group: Tensor | None = None, *, shift: Shift = None) -> Tensor:
        """Draw noise levels, float32: so many, or of those sizes, moved by `shift` in log sigma."""
        return shifted(self.table().sample(shape), shift)

    def observe(
        self,
        sigma: Tensor,
        error: Tensor,
        mask: Tensor | None = None,
        group: Tensor | None = None,
        *,
        shift: Shift = None,
    ) -> None:
        """Record the unweighted errors at noise levels, of one shape, here to no end."""
        return

    def step(self) -> None:
        """Count an optimizer step, here towards nothing."""
        return

    def advance(
        self,
        sigma: Tensor,
        error: Tensor,
        mask: Tensor | None = None,
        group: Tensor | None = None,
        next_group: Tensor | None = None,
        *,
        shift: Shift = None,
        next_shift: Shift = None,
    ) -> Tensor:
        """`observe`, `step` and `sample` of the next batch: float32 of sigma's shape."""
        self.observe(sigma, error, mask, group, shift=shift)
        self.step()
        return self.sample(sigma.shape, next_group, shift=next_shift)

    def reset(self) -> None:
        """Forget what was learned, here nothing."""
        return

    def summary(self) -> dict[str, float]:
        """Return flat numbers for a logger, here the 5, 50 and 95 % quantiles of sigma."""
        u = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64, device="cpu")
        return dict(zip(("sigma_q05", "sigma_q50", "sigma_q95"), self.table().level(u).tolist(), strict=True))


def as_double(x: Tensor | float) -> Tensor:
    """A float64 tensor of x."""
    # A tensor stays where it is: as_tensor would move it to the default device.
    return x.to(torch.float64) if isinstance(x, Tensor) else torch.tensor(x, dtype=torch.float64)


def checked_edges(edges: Tensor) -> Tensor:
    """Float64 edges [K + 1]; ValueError unless positive, finite and ascending."""
    edges = as_double(edges)
    if edges.ndim != 1 or edges.numel() < 2:
        refuse("the shape of edges", list(edges.shape), "[K + 1] with K of at least 1")
    inside = bool(edges[0] > 0.0) and bool(edges[-1] < math.inf)
    if not (inside and bool((edges.diff() > 0.0).all())):
        refuse("edges", edges.tolist(), "positive, finite and ascending")
    return edges


class Density(Schedule):
    """A fixed distribution of sigma, which is also a schedule that never adapts.

    Base class: a density of your own defines ``below``, ``level``, ``density`` and ``mass``.
    ``group`` is ignored: there is one schedule. ``torch.manual_seed`` rules the random numbers.

    Args:
        weight: loss weight, a callable sigma -> w of the same shape; None is the unit weight.

    Attributes:
        weight: the callable that was given, never None.
        device: where ``sample`` draws unless told otherwise; None is torch's default.

    Raises:
        ValueError: weight is neither None nor callable.
    """

    _names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, weight: Weight | str | None = None) -> None:
        self.weight = as_weight(weight)
        self.device: torch.device | None = None

    def below(self, sigma: Tensor | float) -> Tensor:
        """Return P(noise level <= sigma), float64, of sigma's shape."""
        raise NotImplementedError

    def level(self, u: Tensor | float) -> Tensor:
        """Return sigma with below(sigma) = u for u in [0, 1]: float32, computed in float64."""
        raise NotImplementedError

    def density(self, sigma: Tensor | float) -> Tensor:
        """Return the density per unit of sigma, float64, of sigma's shape; 0 off the support."""
        raise NotImplementedError

    def mass(self, edges: Tensor) -> Tensor:
        """Return the probability of each bin, accurate in both tails and not normalised.

        Args:
            edges: [K + 1] ascending sigma.

        Returns:
            [K] float64; its sum is what the density puts between the outer edges.

        Raises:
            ValueError: edges is not a positive, finite, ascending vector of two or more.
        """
        raise NotImplementedError

    def table(self, group: int = 0) -> Density:
        """Return this density: it is what is sampled from now and ever."""
        return self

    def sample(
        self,
        shape: Shape,
        group: Tensor | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
        *,
        shift: Shift = None,
    ) -> Tensor:
        """Draw noise levels.

        Args:
            shape: how many, or the sizes of a tensor of levels.
            group: ignored.
            device: where to draw; else that of ``to``, else that of the generator.
            generator: source of the random numbers; None is torch's own, and alone traces under
                ``torch.compile(fullgraph=True)``.
            shift: in log sigma, by which the levels move: a number, or of the levels' shape or its first sizes.

        Returns:
            float32 sigma.

        Raises:
            ValueError: a size is negative.
        """
        wanted = sizes(shape)
        device = self.device if device is None else device
        if generator is None:
            u = torch.rand(wanted, dtype=torch.float64, device=device)
        else:
            device = generator.device if device is None else device
            u = torch.rand(wanted, dtype=torch.float64, device=device, generator=generator)
        # torch.rand gives multiples of 2^-53 in [0, 1): only 0 has to be moved inside.
        return shifted(self.level(u.clamp(min=2.0**-54)), shift)

    def advance(
        self,
        sigma: Tensor,
        error: Tensor,
        mask: Tensor | None = None,
        group: Tensor | None = None,
        next_group: Tensor | None = None,
        *,
        shift: Shift = None,
        next_shift: Shift = None,
    ) -> Tensor:
        """Return a fresh float32 sample of sigma's shape, on its device; the rest is ignored."""
        return self.sample(sigma.shape, device=sigma.device, shift=next_shift)

    def to(self: D, device: torch.device | str) -> D:
        """Draw on ``device`` from now on; returns self."""
        self.device = torch.device(device)
        return self

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
            refuse("state", state, f"{self.state_dict()}, that of {self!r}")

    def __repr__(self) -> str:
        """Return the call that makes this density."""
        arguments = self._parameters()
        if self.weight is not unit_weight:
            arguments["weight"] = self.weight
        inner = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        return f"{type(self).__name__}({inner})"


D = TypeVar("D", bound=Density)
