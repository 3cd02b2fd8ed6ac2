"""The grids that `steps` and `laws` compare, for any of the exact models."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

import infonoise_ext as inx
from infonoise_ext.grids import edm_grid, merged_grid
from infonoise_ext.interpolant import Interpolant, Linear

from .dilated import dilated_ve_grid, dilated_vp_grid, uniform_grid
from .model import Model

SIGMA_MIN, TOP = 0.002, 10.0  # a finite grid goes from TOP sqrt(d) to SIGMA_MIN
BINS = 10_000

Grids = Callable[[int], Tensor]


@dataclass(frozen=True)
class Rate:
    """What `info_grid` reads of a profile, from exact values instead of measured ones."""

    sigma: Tensor
    edges: Tensor
    rate: Tensor

    def profile(self):
        return self


@cache
def exact_rate(model: Model, split: bool) -> Rate:
    """The entropy rate; split gives each feature's part of the rescaled signal the same total."""
    edges = torch.logspace(math.log10(SIGMA_MIN), math.log10(TOP * model.d**0.5), BINS + 1, dtype=torch.float64)
    sigma = (edges[1:] * edges[:-1]).sqrt()
    if not split:
        return Rate(sigma, edges, model.mmse(sigma) / sigma.square())
    rates = [mmse / sigma.square() for mmse in model.mmse_parts(sigma)]
    return Rate(sigma, edges, sum(rate / (rate * sigma).sum() for rate in rates))


@cache
def tabled_mmse(model: Model) -> Callable[[Tensor], Tensor]:
    """The exact mmse from a table wide enough to hold its total and its start."""
    logs = torch.linspace(math.log(1e-6), math.log(1e6 * model.d**0.5), BINS, dtype=torch.float64)
    values = model.mmse(logs.exp())
    return lambda sigma: torch.from_numpy(np.interp(sigma.log().numpy(), logs.numpy(), values.numpy()))


def by_order(order: int) -> Callable[[Model], Grids]:
    """From inf, the n - 1 levels of the open grid of the exact mmse, and 0."""
    start = torch.tensor([math.inf])
    return lambda model: lambda n: torch.cat((start, inx.open_grid(tabled_mmse(model), n - 1, order)))


def info(signal: str, blend: float = 0.0, split: bool = False) -> Callable[[Model], Grids]:
    return lambda model: lambda n: inx.info_grid(exact_rate(model, split), n, signal, blend)


def vp(d: int) -> float:
    return 1.0


@dataclass(frozen=True)
class Schedule:
    """A grid for each model and number of steps.

    Attributes:
        grid: of a model, then of n.
        c: Heun works in this interpolant's tau; None is sigma.
        centred: whether sampling starts at the mean of the data.
        methods: in which it is a row of its own.
        split: it takes the mmse of each feature, which only the mixture tells apart.
    """

    grid: Callable[[Model], Grids]
    c: Callable[[int], float] | None = None
    centred: bool = True
    methods: tuple[str, ...] = ("euler", "heun", "dpm++2m")
    split: bool = False

    def interpolant(self, d: int, method: str) -> Interpolant | None:
        return Linear(self.c(d)) if self.c and method == "heun" else None


SCHEDULES = {
    "VP uniform": Schedule(lambda model: lambda n: uniform_grid(n, Linear(1.0)), vp),
    "VE uniform": Schedule(lambda model: lambda n: uniform_grid(n, Linear(math.sqrt(model.d))), math.sqrt),
    "VP dilated, kappa 3": Schedule(lambda model: lambda n: dilated_vp_grid(n, model.d), vp),
    "VE dilated, kappa 3": Schedule(lambda model: lambda n: dilated_ve_grid(n, model.d), math.sqrt),
    "VP + VE merged": Schedule(lambda model: lambda n: merged_grid(n, model.d), math.sqrt),
    "EDM, top 80, not centred": Schedule(lambda model: lambda n: edm_grid(n, SIGMA_MIN, 80.0), centred=False),
    "EDM, top 10 sqrt(d)": Schedule(lambda model: lambda n: edm_grid(n, SIGMA_MIN, TOP * model.d**0.5)),
    "log-uniform": Schedule(lambda model: lambda n: edm_grid(n, SIGMA_MIN, TOP * model.d**0.5, math.inf)),
    "InfoGrid entropy": Schedule(info("entropy")),
    "InfoGrid rescaled": Schedule(info("rescaled")),
    "InfoGrid rescaled, half EDM": Schedule(info("rescaled", blend=0.5)),
    "InfoGrid rescaled, by feature": Schedule(info("rescaled", split=True), split=True),
    "InfoGrid mmse": Schedule(info("mmse")),
    "InfoGrid length": Schedule(info("length")),
    "InfoGrid length, half EDM": Schedule(info("length", blend=0.5)),
    "open grid": Schedule(lambda model: lambda n: inx.open_grid(exact_rate(model, False), n)),
    "mmse grid": Schedule(by_order(0), vp),
    "mmse grid, c = sqrt(d)": Schedule(by_order(0), math.sqrt, methods=("heun",)),
    "length grid": Schedule(by_order(1), vp),
    "length grid, order 2": Schedule(by_order(2), vp),
    "length grid, order 2, c = sqrt(d)": Schedule(by_order(2), math.sqrt, methods=("heun",)),
}
