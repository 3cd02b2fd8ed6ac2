"""`Table`: the distribution that a schedule learns, constant in log sigma within each bin."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..curves.arguments import refuse
from ..curves.density import Density, as_double, checked_edges
from ..curves.weights import Weight


class Table(Density):
    """A distribution of sigma whose density per unit log sigma is constant within each bin.

    It is what `InfoNoise.table` gives, and a density like any other: a prior for another schedule, or a
    fixed schedule of its own.

    Args:
        edges: [K + 1] bin edges in sigma, ascending; they need not be uniform.
        cdf: [K + 1] P(level <= edge), rising from 0 to 1.
        weight: loss weight, a callable sigma -> w of the same shape; None is the unit weight.

    Raises:
        ValueError: edges that do not ascend from above 0, or a cdf that does not rise from 0 to 1 on them.
    """

    _names: ClassVar[tuple[str, ...]] = ("edges", "cdf")

    def __init__(self, edges: Tensor, cdf: Tensor, weight: Weight | str | None = None) -> None:
        edges, cdf = checked_edges(edges), as_double(cdf)
        rises = cdf.shape == edges.shape and bool((cdf.diff() >= 0).all() & (cdf[0] == 0) & (cdf[-1] == 1))
        if not rises:
            refuse("cdf", cdf.tolist(), f"{len(edges)} numbers that rise from 0 to 1")
        self._set(edges, cdf, weight)

    def _set(self, edges: Tensor, cdf: Tensor, weight: Weight | str | None) -> None:
        super().__init__(weight)
        self.edges, self.cdf, self.device = edges, cdf, edges.device

    @classmethod
    def trusted(cls, edges: Tensor, cdf: Tensor, weight: Weight | str | None = None) -> Table:
        """Like the class, without checks, which would wait for the device."""
        table = cls.__new__(cls)
        table._set(edges, cdf, weight)
        return table

    @classmethod
    def from_mass(cls, edges: Tensor, mass: Tensor) -> Table:
        """The table with the given probability of each bin.

        Args:
            edges: [K + 1] bin edges in sigma, ascending.
            mass: [K] at least 0, in any unit: it is divided by its sum.

        Raises:
            ValueError: as the class, or a mass that is negative, not finite or 0 everywhere.
        """
        mass = as_double(mass)
        total = mass.sum()
        if not bool(torch.isfinite(total) & (total > 0) & (mass >= 0).all()):
            refuse("mass", mass.tolist(), "finite, at least 0 and somewhere above 0")
        cdf = torch.cat((mass.new_zeros(1), (mass / total).cumsum(0).clamp(max=1)))
        cdf[-1] = 1.0
        return cls(edges, cdf)

    @classmethod
    def from_levels(cls, levels: Tensor, bins: int = 256) -> Table:
        """The histogram of drawn noise levels: for a density that is known by its draws alone.

        Args:
            levels: drawn sigma, any shape; 0, infinite and NaN ones are left out.
            bins: uniform in log sigma between the lowest and the highest.

        Raises:
            ValueError: no two different levels are left.
        """
        drawn = as_double(levels.detach()).cpu().flatten()
        logs = drawn[torch.isfinite(drawn) & (drawn > 0)].log()
        if len(logs) == 0 or not bool(logs.min() < logs.max()):
            refuse("levels", levels.tolist(), "two or more different numbers above 0")
        low, high = float(logs.min()), float(logs.max())
        edges = torch.linspace(low, high, bins + 1, dtype=torch.float64, device="cpu").exp()
        return cls.from_mass(edges, torch.histc(logs, bins, low, high))

    def _place(self, sigma: Tensor | float) -> tuple[Tensor, Tensor]:
        """The bin of each level, and the share of its width in log sigma below the level, in [0, 1]."""
        sigma = torch.as_tensor(sigma, dtype=torch.float64, device=self.edges.device).clamp(min=0)
        k = (torch.searchsorted(self.edges, sigma, right=True) - 1).clamp(0, len(self.edges) - 2)
        low, high = self.edges[k], self.edges[k + 1]
        return k, ((sigma / low).log() / (high / low).log()).clamp(0, 1)

    def below(self, sigma: Tensor | float) -> Tensor:
        k, fraction = self._place(sigma)
        return self.cdf[k] + (self.cdf[k + 1] - self.cdf[k]) * fraction

    def level(self, u: Tensor | float) -> Tensor:
        u = torch.as_tensor(u, dtype=torch.float64, device=self.cdf.device)
        k = (torch.searchsorted(self.cdf, u, right=True) - 1).clamp(0, len(self.cdf) - 2)
        mass = self.cdf[k + 1] - self.cdf[k]
        fraction = torch.where(mass > 0, (u - self.cdf[k]) / mass, 1.0).clamp(0, 1)
        log_edges = self.edges.log()
        sigma = torch.lerp(log_edges[k], log_edges[k + 1], fraction).exp()
        return torch.minimum(torch.maximum(sigma, self.edges[0]), self.edges[-1]).float()

    def density(self, sigma: Tensor | float) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=torch.float64, device=self.edges.device)
        k, _ = self._place(sigma)
        inside = (sigma >= self.edges[0]) & (sigma <= self.edges[-1])
        width = (self.edges[k + 1] / self.edges[k]).log()
        return torch.where(inside, (self.cdf[k + 1] - self.cdf[k]) / (width * sigma), 0.0)

    def mass(self, edges: Tensor) -> Tensor:
        return self.below(checked_edges(edges)).diff()

    def to(self, device: torch.device | str) -> Table:
        """Move the table and draw on `device` from now on; returns self."""
        self.edges, self.cdf = self.edges.to(device), self.cdf.to(device)
        return super().to(device)

    def __repr__(self) -> str:
        """Bins and range."""
        return f"Table({len(self.cdf) - 1} bins on [{float(self.edges[0]):.4g}, {float(self.edges[-1]):.4g}])"

    def _parameters(self) -> dict[str, object]:
        return {name: getattr(self, name).tolist() for name in self._names}
