"""Steps that each grid needs in d dimensions, on two Gaussian modes: tables in docs/high-dimension.md.

python -m experiments.highdim.steps [--short] [--out FILE]; five minutes on one busy core, --short one.
Exact: the sampler's reduced map replaces samples, so no number has a Monte Carlo error.
"""

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import infonoise_ext as inx
from infonoise_ext.interpolant import (
    Interpolant,
    Linear,
    dilated_ve_grid,
    dilated_vp_grid,
    merged_grid,
    mmse_grid,
    uniform_grid,
)

from .figure import save_figure
from .mixture import TwoModes

DIMENSIONS = [64, 256, 1024, 4096, 16384, 65536]
SIGMA_MIN, TOP = 0.002, 10.0  # a finite grid goes from TOP sqrt(d) to SIGMA_MIN
WEIGHT_TOLERANCE, VARIANCE_TOLERANCE = 0.01, 0.05
QUIET_OCTAVES = 3  # in a row with both errors below their bounds end the search


@dataclass(frozen=True)
class Rate:
    """What `info_grid` reads of a profile, from exact values instead of measured ones."""

    sigma: Tensor
    edges: Tensor
    rate: Tensor

    def profile(self):
        return self


@cache
def exact_parts(model: TwoModes, bins: int = 10_000) -> tuple[Tensor, Tensor, Tensor]:
    """Edges [bins + 1] uniform in log sigma, and both parts of the mmse at the centres [bins]."""
    edges = torch.logspace(math.log10(SIGMA_MIN), math.log10(TOP * model.d**0.5), bins + 1, dtype=torch.float64)
    return edges, *model.mmse_parts((edges[1:] * edges[:-1]).sqrt())


def exact_rate(model: TwoModes, split: bool) -> Rate:
    """The entropy rate; split gives each feature's part of the rescaled measure the same total."""
    edges, *parts = exact_parts(model)
    sigma = (edges[1:] * edges[:-1]).sqrt()
    rates = [mmse / sigma.square() for mmse in parts]
    if split:
        rates = [rate / (rate * sigma).sum() for rate in rates]
    return Rate(sigma, edges, rates[0] + rates[1])


def mmse_decrement(model: TwoModes) -> Callable[[int], Tensor]:
    """The grid from a table of the exact mmse, wide enough to hold its total and its start."""
    logs = torch.linspace(math.log(1e-6), math.log(1e3 * model.d), 10_000, dtype=torch.float64)
    values = model.mmse(logs.exp())

    def table(sigma: Tensor) -> Tensor:
        return torch.from_numpy(np.interp(sigma.log().numpy(), logs.numpy(), values.numpy()))

    return lambda n: mmse_grid(table, n)


def info(measure: str, blend: float = 0.0, split: bool = False):
    def build(model: TwoModes) -> Callable[[int], Tensor]:
        rate = exact_rate(model, split)
        return lambda n: inx.info_grid(rate, n, measure, blend)

    return build


@dataclass(frozen=True)
class Schedule:
    """A grid for each model and number of steps; `c(d)` is the interpolant Heun works in, None is sigma."""

    grid: Callable[[TwoModes], Callable[[int], Tensor]]
    c: Callable[[int], float] | None = None
    centred: bool = True

    def interpolant(self, d: int) -> Interpolant | None:
        return Linear(self.c(d)) if self.c else None


def vp(d: int) -> float:
    return 1.0


SCHEDULES = {
    "VP uniform": Schedule(lambda model: lambda n: uniform_grid(n, Linear(1.0)), vp),
    "VE uniform": Schedule(lambda model: lambda n: uniform_grid(n, Linear(math.sqrt(model.d))), math.sqrt),
    "VP dilated, kappa 3": Schedule(lambda model: lambda n: dilated_vp_grid(n, model.d), vp),
    "VE dilated, kappa 3": Schedule(lambda model: lambda n: dilated_ve_grid(n, model.d), math.sqrt),
    "VP + VE merged": Schedule(lambda model: lambda n: merged_grid(n, model.d), math.sqrt),
    "mmse decrement": Schedule(mmse_decrement, vp),
    "mmse decrement, c = sqrt(d)": Schedule(mmse_decrement, math.sqrt),
    "EDM, top 80, not centred": Schedule(lambda model: lambda n: inx.edm_grid(n, SIGMA_MIN, 80.0), centred=False),
    "EDM, top 10 sqrt(d)": Schedule(lambda model: lambda n: inx.edm_grid(n, SIGMA_MIN, TOP * model.d**0.5)),
    "log-uniform": Schedule(lambda model: lambda n: inx.log_uniform_grid(n, SIGMA_MIN, TOP * model.d**0.5)),
    "InfoGrid entropy": Schedule(info("entropy")),
    "InfoGrid rescaled": Schedule(info("rescaled")),
    "InfoGrid rescaled, half EDM": Schedule(info("rescaled", blend=0.5)),
    "InfoGrid mmse": Schedule(info("mmse")),
    "InfoGrid rescaled, by feature": Schedule(info("rescaled", split=True)),
}
HEUN_ONLY = {"mmse decrement, c = sqrt(d)"}  # Euler does not depend on c


def between(octave: int) -> list[int]:
    """The three even numbers that divide the octave from this power of two most evenly, descending."""
    rungs = (round(octave * 2 ** (k / 4)) for k in (3, 2, 1))
    return sorted({n + n % 2 for n in rungs} - {octave, 2 * octave}, reverse=True)


def met(model: TwoModes, schedule: Schedule, grid: Tensor, method: str, edges: Tensor) -> tuple[bool, bool]:
    """Whether the modes' weight and the variance within a mode are within their tolerances."""
    interpolant = schedule.interpolant(model.d) if method == "heun" else None
    mean = None if schedule.centred else torch.zeros(2, dtype=torch.float64)
    ends, ratio = model.end_points(edges, grid, method, interpolant, mean)
    return bool((ends[0] <= 0) & (ends[1] >= 0)), abs(ratio - 1) <= VARIANCE_TOLERANCE


def steps_needed(schedule: Schedule, model: TwoModes, method: str) -> list[int | None]:
    """Least N with each error below its bound: there, at every octave above that was tried, and in between.

    Octaves are tried up to about four times the larger answer, or to the cap: None if not found by then.
    """
    grids = schedule.grid(model)
    # P(z > z*) is within the tolerance of p where the modes' border z* lies between these two noises.
    tail = torch.tensor([model.p + WEIGHT_TOLERANCE, model.p - WEIGHT_TOLERANCE], dtype=torch.float64)
    edges = torch.special.ndtri(1 - tail)
    passed = cache(lambda n: met(model, schedule, grids(n), method, edges))
    octaves = [4]
    while 2 * octaves[-1] <= max(2048, 64 * math.isqrt(model.d)):
        if len(octaves) >= QUIET_OCTAVES and all(all(passed(n)) for n in octaves[-QUIET_OCTAVES:]):
            break
        octaves.append(2 * octaves[-1])
    return [first_of(octaves, lambda n, which=which: passed(n)[which]) for which in (0, 1)]


def first_of(octaves: list[int], good: Callable[[int], bool]) -> int | None:
    failed = [n for n in octaves if not good(n)]
    if not failed:
        return octaves[0]
    if failed[-1] == octaves[-1]:
        return None
    best = 2 * failed[-1]
    for n in between(failed[-1]):
        if not good(n):
            break
        best = n
    return best


def exponent(dimensions: list[int], steps: list[int | None]) -> float | None:
    """Least-squares slope of log N against log d over the four highest dimensions that have an N."""
    pairs = [(math.log(d), math.log(n)) for d, n in zip(dimensions, steps, strict=True) if n][-4:]
    if len(pairs) < 3:
        return None
    x, y = (torch.tensor(values, dtype=torch.float64) for values in zip(*pairs, strict=True))
    x = x - x.mean()
    return round(float((x * y).sum() / x.square().sum()), 3)


def measure(dimensions: list[int], methods: list[str]) -> dict:
    jobs = [(m, name) for m in methods for name in SCHEDULES if m == "heun" or name not in HEUN_ONLY]
    results: dict = {method: {} for method in methods}
    with tqdm(total=len(jobs) * len(dimensions), unit="cell") as bar:
        for method, name in jobs:
            pairs = []
            for d in dimensions:
                pairs.append(steps_needed(SCHEDULES[name], TwoModes(d), method))
                bar.update()
            weight, variance = (list(column) for column in zip(*pairs, strict=True))
            results[method][name] = {
                "weight": weight, "variance": variance,
                "weight_exponent": exponent(dimensions, weight), "variance_exponent": exponent(dimensions, variance),
            }  # fmt: skip
    return results


def table(dimensions: list[int], rows: dict) -> str:
    lines = ["| grid | " + " | ".join(f"d = {d}" for d in dimensions) + " | exponents |"]
    lines.append("|---" * (len(dimensions) + 2) + "|")
    for name, row in rows.items():
        cells = [f"{w or '-'} / {v or '-'}" for w, v in zip(row["weight"], row["variance"], strict=True)]
        fits = ("-" if row[key] is None else f"{row[key]:.2f}" for key in ("weight_exponent", "variance_exponent"))
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {' / '.join(fits)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="the four lower dimensions, into a file of their own")
    parser.add_argument("--out", type=Path, help="the JSON file; the figure goes beside it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dimensions = DIMENSIONS[:4] if options.short else DIMENSIONS
    out = options.out or Path(f"experiments/results/highdim_steps{'_short' if options.short else ''}.json")
    results = measure(dimensions, ["euler", "heun"])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"d": dimensions} | results, indent=1) + "\n")
    save_figure(dimensions, results, out.with_suffix(".png"))
    for method, rows in results.items():
        print(f"{method}: N for the modes' weight / for the variance within a mode\n\n{table(dimensions, rows)}\n")


if __name__ == "__main__":
    main()
