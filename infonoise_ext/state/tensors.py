"""The scheduler's tensors: allocated once, fixed shapes, marked static for CUDA graphs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..curves.arguments import refuse
from ..curves.density import Density
from ..curves.pivot import pivot_numbers
from ..curves.weights import evaluate
from ..ops.schemas import GRID_ROWS, LAYOUT, PARAMS, PIVOT_RULES, SIGNALS
from .config import MAX_STEPS, InfoNoiseConfig
from .table import Table

MUTABLE = tuple(name for name in LAYOUT if name not in ("grid", "params"))
"""What training changes and a checkpoint holds."""


class State(NamedTuple):
    """The tensors of `LAYOUT` by name."""

    ring: Tensor
    count: Tensor  # type: ignore[assignment]  # hides the method of tuples
    previous_count: Tensor
    previous_cdf: Tensor
    mmse: Tensor
    cdf: Tensor
    stats: Tensor
    counters: Tensor
    rng: Tensor
    grid: Tensor
    params: Tensor

    def mark_static(self) -> None:
        """Tell torch.compile that these addresses never change, so CUDA graphs accept their mutation."""
        for tensor in self:
            # What torch._dynamo.mark_static_address sets, without the seconds that importing it takes.
            tensor._dynamo_static_input_type = "unguarded"  # type: ignore[attr-defined]

    def to(self, device: torch.device) -> State:
        """Copies of the tensors on `device`, marked static."""
        with torch.inference_mode(False):  # an inference tensor could never be updated outside of that mode
            moved = State(*(tensor.detach().to(device, copy=True) for tensor in self))
        moved.mark_static()
        return moved

    @property
    def edges(self) -> Tensor:
        """Bin edges in sigma, float64 [K + 1]; each is exactly a float32."""
        return self.grid[GRID_ROWS.index("edges")]

    def row(self, name: str) -> Tensor:
        """A row of K values of the grid: "sigma" (bin centres), "weight" or "bound"."""
        return self.grid[GRID_ROWS.index(name), :-1]


def edges_and_centres(config: InfoNoiseConfig) -> tuple[Tensor, Tensor]:
    """Bin edges [K + 1], each exactly a float32, and centres [K] in sigma: float64 on the CPU."""
    steps = torch.arange(config.bins + 1, dtype=torch.float64, device="cpu")
    low = math.log(config.sigma_min)
    return (low + config.width * steps).exp().float().double(), (low + config.width * (steps[:-1] + 0.5)).exp()


def make_grid(
    config: InfoNoiseConfig, weight: Callable[[Tensor], Tensor], bound: Callable[[Tensor], Tensor] | None
) -> Tensor:
    """The constant `grid` tensor on the CPU."""
    edges, centres = edges_and_centres(config)
    grid = torch.zeros(len(GRID_ROWS), config.bins + 1, dtype=torch.float64)
    grid[0] = edges
    grid[1, :-1] = centres
    grid[2, :-1] = evaluate("weight", weight, centres, positive=True)
    grid[3, :-1] = math.inf if bound is None else evaluate("bound", bound, centres, positive=False)
    return grid


def make_params(config: InfoNoiseConfig, rank: int, world: int, refreshes: bool = True) -> Tensor:
    """The constant `params` tensor on the CPU; without `refreshes` no step finds one due on the device."""
    rule, value, span = pivot_numbers(config.pivot)
    named = {
        "log_min": math.log(config.sigma_min),
        "width": config.width,
        "warmup": config.warmup if refreshes else MAX_STEPS,
        "pivot_rule": PIVOT_RULES.index(rule),
        "pivot_value": value,
        "pivot_span": span,
        "stratified": config.sampling == "stratified",
        "rank": rank,
        "world": world,
        "signal": SIGNALS.index(config.signal),
    }
    return torch.tensor([float(named.get(name, getattr(config, name, 0))) for name in PARAMS], dtype=torch.float64)


def prior_table(config: InfoNoiseConfig, prior: Density, edges: Tensor) -> Table:
    """The table of the warm-up: the prior truncated to the grid, mixed with its floor."""
    mass = prior.mass(edges).to(edges.device)  # a table of another schedule may lie elsewhere
    total = mass.sum()
    if not bool(torch.isfinite(total) & (total > 0) & (mass >= 0).all()):
        refuse("prior", prior, f"a density with mass on [{config.sigma_min}, {config.sigma_max}]")
    return Table.from_mass(edges, (1 - config.floor) * mass / total + config.floor / config.bins)


def fresh_state(config: InfoNoiseConfig, grid: Tensor, params: Tensor, table: Table, groups: int, seed: int) -> State:
    """A state that has seen nothing, on the CPU."""
    cdf = table.cdf.repeat(groups, 1)
    given = {"previous_cdf": cdf.clone(), "cdf": cdf, "rng": torch.tensor([seed, 0]), "grid": grid, "params": params}
    fresh = {
        name: torch.full(layout.sizes(G=groups, K=config.bins, C=config.capacity), layout.start, dtype=layout.dtype)
        for name, layout in LAYOUT.items()
        if layout.start is not None
    }
    return State(**fresh, **given)
