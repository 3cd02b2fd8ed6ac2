"""Steps that each grid needs in d dimensions, on two exact models: tables in docs/research/high-dimension.md.

python -m experiments.highdim.steps [--short] [--out FILE]; five minutes of one core, --short one.
Reduced maps of the exact sampler replace samples, so no number has a Monte Carlo error and there is no seed.
"""

from functools import cache, partial

import torch
from torch import Tensor
from tqdm import tqdm

from experiments.script import markdown, run

from .figure import steps_figure
from .ladder import exponent, least_steps
from .magnet import Magnet
from .mixture import Mixture
from .model import Model
from .schedules import SCHEDULES, Schedule

DIMENSIONS = [64, 256, 1024, 4096, 16384, 65536]
MODELS = {
    "mixture": (Mixture, DIMENSIONS),
    "magnet": (Magnet, DIMENSIONS),
    "mixture, s = 1, p = 0.6": (partial(Mixture, s=1.0, p=0.6), DIMENSIONS[::2]),
    "mixture, s = 0.25, p = 0.9": (partial(Mixture, s=0.25, p=0.9), DIMENSIONS[::2]),
}
ROBUST = [
    "VP + VE merged",
    "EDM, top 10 sqrt(d)",
    "InfoGrid rescaled, half EDM",
    "InfoGrid length",
    "InfoGrid length, half EDM",
    "open grid",
    "length grid",
    "length grid, order 2",
]
WEIGHT_TOLERANCE, WITHIN_TOLERANCE = 0.01, 0.05


def met(model: Model, schedule: Schedule, grid: Tensor, method: str) -> tuple[bool, bool]:
    """Whether the modes' weight, and what happens within a mode, are within their tolerances."""
    # P(z > z*) is within the tolerance of p where the modes' border z* lies between these two noises.
    tail = torch.tensor([model.p + WEIGHT_TOLERANCE, model.p - WEIGHT_TOLERANCE], dtype=torch.float64)
    z = torch.cat((torch.special.ndtri(1 - tail), model.typical))
    ends, ratios = model.end_points(z, grid, method, schedule.interpolant(model.d, method), schedule.centred)
    worst = (ratios[2:].mean(0) - 1).abs().max()
    return bool((ends[0] <= 0) & (ends[1] >= 0)), bool(worst <= WITHIN_TOLERANCE)


def steps_needed(schedule: Schedule, model: Model, method: str) -> list[int | None]:
    """Least N for the modes' weight, and for what happens within a mode."""
    grids = schedule.grid(model)
    return least_steps(cache(lambda n: met(model, schedule, grids(n), method)), model.most_steps)


def rows_of(model: str) -> list[tuple[str, str]]:
    """Methods and grids: all that there are on the two main models, but "dpm++2m" on the mixture alone."""
    if model not in ("mixture", "magnet"):
        return [(method, name) for method in ("euler", "heun") for name in ROBUST]
    methods = ("euler", "heun", "dpm++2m") if model == "mixture" else ("euler", "heun")
    everything = [(method, name) for method in methods for name in SCHEDULES if method in SCHEDULES[name].methods]
    return [(method, name) for method, name in everything if model == "mixture" or not SCHEDULES[name].split]


def measure(short: bool) -> dict:
    """Every row of every model, at its dimensions, or at the lowest alone."""
    most = DIMENSIONS[0 if short else -1]
    jobs = [
        (model, d, method, name)
        for d in DIMENSIONS
        for model, (_, measured) in MODELS.items()
        for method, name in rows_of(model)
        if d <= most and d in measured
    ]
    results: dict = {}
    exact = cache(lambda model, d: MODELS[model][0](d))
    for model, d, method, name in tqdm(jobs, unit="cell"):
        rows = results.setdefault(model, {}).setdefault(method, {})
        row = rows.setdefault(name, {"d": [], "weight": [], "within": []})
        weight, within = steps_needed(SCHEDULES[name], exact(model, d), method)
        for key, value in (("d", d), ("weight", weight), ("within", within)):
            row[key].append(value)
    return {"steps": results}


def table(results: dict) -> str:
    """Markdown: N for the modes' weight / N within a mode, and the exponents of both with their ranges."""
    return "\n\n".join(
        f"{model.capitalize()}, {method}:\n\n{_table(rows)}"
        for model, methods in results["steps"].items()
        for method, rows in methods.items()
    )


def _table(rows: dict) -> str:
    dimensions = next(iter(rows.values()))["d"]
    lines = []
    for name, row in rows.items():
        cells = [f"{w or '-'} / {v or '-'}" for w, v in zip(row["weight"], row["within"], strict=True)]
        fits = (_fit(exponent(row["d"], row[key])) for key in ("weight", "within"))
        lines.append([name, *cells, " / ".join(fits)])
    return markdown(["grid", *(f"d = {d}" for d in dimensions), "exponents"], lines)


def _fit(fit: tuple[float, float, float] | None) -> str:
    return f"{fit[0] + 0.0:.2f} ± {(fit[2] - fit[1]) / 2:.2f}" if fit else "-"


def main() -> None:
    run("highdim_steps", __doc__, measure, steps_figure, table)


if __name__ == "__main__":
    main()
