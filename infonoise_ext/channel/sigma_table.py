"""Hosts that know a fixed table of noise levels: draw its entries with exactly the schedule's mass."""

from __future__ import annotations

import torch
from torch import Tensor

from ..curves.arguments import choice, number, refuse, whole
from ..curves.density import Schedule
from ..curves.levels import Shape
from ..state.table import Table
from .channel import Flow, sigma_from_alpha_bar

_RESOLUTION = 1e-6  # neighbours closer than this in log sigma are one level to float32
_ROUNDING = 1e-5  # an entry outside the grid by less is recorded in the end bin


class SigmaTable:
    """A host's table of noise levels, from which a schedule draws entries.

    The cell of an entry reaches to the midpoints, in log sigma, between it and its neighbours; the end
    cells take the tails. Drawing from the schedule and taking the entry whose cell was hit gives each
    entry exactly the schedule's mass of its cell. Record the sigma that comes back, the entry's own.

    An entry at infinity (pure noise: flow time 1, terminal SNR zero) is placed, for its cell alone, one
    spacing above the highest finite entry. Its errors say nothing about the data and are skipped when
    recorded, as "nonfinite sigma".

    Args:
        sigmas: [N] noise levels b / a, N >= 2, in the host's order, strictly ascending or descending.
            Flow times are no sigma: see `from_flow`, or convert them with `channel.Flow`.
        device: where entries are drawn; the table follows the levels that it is given, those of the schedule.

    Attributes:
        sigmas: [N] float32 on `device`, in the host's order.
        sigma_min: lowest entry: the lower end for a schedule that serves this table.
        sigma_max: highest finite entry, the upper end.

    Raises:
        ValueError: fewer than two finite entries, an entry that is 0, negative or NaN, an order that
            neither ascends nor descends, or neighbours that float32 cannot tell apart.
    """

    def __init__(self, sigmas: Tensor, device: torch.device | str | None = None) -> None:
        levels = torch.as_tensor(sigmas).detach().to("cpu", torch.float64)
        if levels.ndim != 1 or int(torch.isfinite(levels).sum()) < 2:
            refuse("sigmas", levels.tolist(), "[N] levels, of which 2 or more are finite")
        if not bool((levels > 0).all()):
            j = int((~(levels > 0)).nonzero()[0])
            refuse(f"sigmas[{j}]", float(levels[j]), "above 0, since a clean sample teaches nothing")
        self._descending = bool(levels[0] > levels[-1])
        ascending = levels.flip(0) if self._descending else levels
        logs = _placed(ascending.log())
        rising = logs.diff() > _RESOLUTION
        if not bool(rising.all()):
            j = int((~rising).nonzero()[0])
            pair = ascending[j : j + 2].tolist()
            refuse("a pair in sigmas", pair, "ordered as the others and further apart than float32 resolves")
        self.sigma_min = float(ascending[0].float())
        self.sigma_max = float(ascending[torch.isfinite(ascending)][-1].float())
        self.sigmas = levels.float()
        middles = (logs[:-1] + logs[1:]) / 2
        ends = 2 * logs[[0, -1]] - middles[[0, -1]]  # so that an end cell reaches as far to both sides
        self._edges = torch.cat((ends[:1], middles, ends[1:])).exp().float()  # [N + 1] of the cells, ascending
        self.to("cpu" if device is None else device)

    @classmethod
    def from_alphas_cumprod(cls, alphas_cumprod: Tensor, device: torch.device | str | None = None) -> SigmaTable:
        """The table of a DDPM: entry t has a^2 = alphas_cumprod[t], so that its index is the timestep.

        Args:
            alphas_cumprod: [N] in [0, 1); 0 is a terminal SNR of zero.
            device: see the class.

        Raises:
            ValueError: as the class.
        """
        return cls(sigma_from_alpha_bar(torch.as_tensor(alphas_cumprod).double()), device)

    @classmethod
    def from_flow(
        cls, first: str, steps: int = 1000, shift: float = 1.0, device: torch.device | str | None = None
    ) -> SigmaTable:
        """The shifted table of linear flow matching, t = k / steps for k = 1 ... steps, t = 1 pure noise.

        Args:
            first: what entry 0 is. "noise": t = 1, as in the flow-matching schedulers of diffusers;
                "data": t = 1 / steps. The wrong one fails silently, so there is no default.
            steps: N.
            shift: t becomes shift t / (1 + (shift - 1) t), which multiplies sigma by the shift.
            device: see the class.

        Raises:
            ValueError: first is neither, steps is below 3, or shift is not above 0.

        Source:
            SD3 (arXiv 2403.03206) Eq. 23.
        """
        choice("first", first, ("noise", "data"))
        steps, shift = whole("steps", steps, least=3), number("shift", shift, above=0)
        times = torch.arange(1, steps + 1, dtype=torch.float64) / steps
        sigmas = shift * Flow("noise").sigma(times)
        return cls(sigmas.flip(0) if first == "noise" else sigmas, device)

    def __len__(self) -> int:
        """N."""
        return len(self.sigmas)

    def to(self, device: torch.device | str) -> SigmaTable:
        """Move the table; returns self."""
        self.sigmas, self._edges = self.sigmas.to(device), self._edges.to(device)
        return self

    def snap(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The entries whose cells hold the given levels; no host sync.

        Args:
            sigma: any shape and floating dtype; the table moves to its device if it lies elsewhere.

        Returns:
            index int64 in the host's order, and the entries' sigma float32, both of sigma's shape. A level that is
            NaN or negative has no entry: its index is valid, its sigma NaN, so that it is never recorded.
        """
        if sigma.device != self._edges.device:
            self.to(sigma.device)
        rank = torch.bucketize(sigma.to(self._edges.dtype), self._edges[1:-1])
        index = len(self) - 1 - rank if self._descending else rank
        return index, torch.where(sigma >= 0, self.sigmas[index], torch.nan)

    def sample(self, schedule: Schedule, shape: Shape, group: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw entries, each with the schedule's mass of its cell; no host sync.

        Args:
            schedule: what draws; the table moves to its device.
            shape: how many, or the sizes of a tensor of levels.
            group: for a schedule with groups, as its `sample` takes it.

        Returns:
            index int64 in the host's order, and the entries' sigma float32, of that shape.
        """
        return self.snap(schedule.sample(shape, group))

    def mass(self, schedule: Schedule, group: int = 0) -> Tensor:
        """The probability with which `sample` draws each entry.

        Args:
            schedule: what would draw.
            group: which group of a schedule that has them.

        Returns:
            [N] float64 in the host's order; sums to 1.
        """
        below = schedule.table(group).below(self._edges[1:-1])
        mass = torch.cat((below.new_zeros(1), below, below.new_ones(1))).diff()
        return mass.flip(0) if self._descending else mass

    def density(self, mass: Tensor) -> Table:
        """The density that draws entry j with probability mass[j] / sum(mass): constant in each cell per log sigma.

        A script's own density of timesteps as `prior=` of a schedule, or as a fixed schedule.

        Args:
            mass: [N] at least 0, in the host's order.

        Raises:
            ValueError: another length, or a mass that is negative, not finite or 0 everywhere.
        """
        if mass.shape != self.sigmas.shape:
            refuse("the shape of mass", list(mass.shape), f"[{len(self)}], one for each entry")
        ascending = mass.flip(0) if self._descending else mass
        return Table.from_mass(self._edges.cpu().double(), ascending.cpu())

    def density_of_places(self, u: Tensor) -> Table:
        """`density` of the entries int(u N) for quantiles or draws u in [0, 1], any shape."""
        index = (u.cpu().double() * len(self)).long().clamp(0, len(self) - 1)
        return self.density(torch.bincount(index.flatten(), minlength=len(self)))

    def uniform(self) -> Table:
        """The density under which all entries are equally likely: uniform timesteps."""
        return self.density(torch.ones(len(self), dtype=torch.float64))

    def __repr__(self) -> str:
        """Length, range and order."""
        order = "descending" if self._descending else "ascending"
        return f"SigmaTable({len(self)} entries in [{self.sigma_min:.4g}, {self.sigma_max:.4g}], {order})"


def _placed(logs: Tensor) -> Tensor:
    """Ascending log sigma with an infinite last entry moved to one spacing above the last finite one."""
    if torch.isinf(logs[-1]):
        logs = torch.cat((logs[:-1], 2 * logs[-2:-1] - logs[-3:-2]))
    return logs
