"""Why the steps of `steps` grow or do not: four laws, tables in docs/research/high-dimension.md.

python -m experiments.highdim.laws [--short] [--out FILE]; a minute of one core, --short half.

- collapse: errors of a grid with uniform steps, and InfoGrid's rescaled one, depend on sqrt(d) / N alone;
- shares: which part of a grid's nodes lies in each window of sigma;
- powers: steps needed with steps uniform in the integral of (dmmse/ds)^(1 / (order + 1)), by order and method;
- mismatch: what starting at a finite top costs, with so many steps that nothing else does.

Reduced maps of the exact sampler replace samples, so no number has a Monte Carlo error and there is no seed.
"""

import math

from torch import Tensor
from tqdm import tqdm

import infonoise_ext as inx
from experiments.script import markdown, run

from .figure import laws_figure
from .magnet import Magnet
from .mixture import Mixture
from .model import Model
from .schedules import SCHEDULES, SIGMA_MIN, Schedule, by_order, vp
from .steps import steps_needed

MODELS = {"mixture": Mixture, "magnet": Magnet}
COLLAPSED = {"VP uniform": "weight", "VE uniform": "within", "InfoGrid rescaled": "weight"}  # which error
R = [4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625]
COLLAPSE_D = {"mixture": [1024, 16384, 262144], "magnet": [1024, 16384]}
MOST_STEPS = {"mixture": 1024, "magnet": 128}
SHARES_D = [256, 4096, 65536]
NODES = 20_000
ORDERS = [0, 1, 2, 3]
POWERS_D = {"mixture": [64, 1024, 16384], "magnet": [1024]}
TOPS = [1.0, 2.0, 5.0, 10.0, 30.0, 100.0]
MISMATCH_D, MISMATCH_STEPS = 16384, 300
TOP_80_D = [64, 256, 1024, 4096, 16384, 65536]
TOP_80_STEPS = 500


def error(model: Model, which: str, grid: Tensor) -> float:
    if which == "weight":
        return abs(model.sampled(grid)[0] - model.p)
    return abs(float(model.end_points(model.typical, grid, "euler")[1][:, 0].mean()) - 1)


def collapse(name: str, label: str, d: int) -> list[float | None]:
    """Errors at N = sqrt(d) / r for each r; None where that is more steps than are tried here, or below 4."""
    which, model = COLLAPSED[name], MODELS[label](d)
    grids = SCHEDULES[name].grid(model)
    steps = [round(d**0.5 / r) for r in R]
    return [_round(error(model, which, grids(n))) if 4 <= n <= MOST_STEPS[label] else None for n in steps]


def shares(name: str, d: int) -> list[float]:
    """Shares of the nodes above sqrt(d) / 5 and below 5 s, for the mixture."""
    model = Mixture(d)
    nodes = SCHEDULES[name].grid(model)(NODES)[:-1]
    return [_round(float(window.double().mean())) for window in (nodes > math.sqrt(d) / 5, nodes < 5 * model.spread)]


def powers(label: str, method: str, order: int, d: int) -> list[int | None]:
    """Steps for the weight and within a mode, from pure noise; Heun in tau with c = 1."""
    return steps_needed(Schedule(by_order(order), vp), MODELS[label](d), method)


def mismatch(top: float) -> list[float]:
    """Error of the mixture's weight, a top in units of sqrt(d), started without and with the mean of the data."""
    model, end = Mixture(MISMATCH_D), top * math.sqrt(MISMATCH_D)
    grid = inx.grids.edm_grid(MISMATCH_STEPS, SIGMA_MIN, end, rho=math.inf)
    return [round(model.sampled(grid, "heun", None, centred)[0] - model.p, 4) + 0.0 for centred in (False, True)]


def top_80(d: int) -> list[float]:
    """The mixture's weight with EDM's top of 80, started without and with the mean of the data."""
    grid = inx.grids.edm_grid(TOP_80_STEPS, SIGMA_MIN, 80.0)
    return [round(Mixture(d).sampled(grid, "euler", None, centred)[0], 3) for centred in (False, True)]


def _round(value: float) -> float:
    return float(f"{value:.3g}")


def measure(short: bool) -> dict:
    kept = slice(2) if short else slice(None)
    jobs = [
        (collapse, "collapse", c) for m in MODELS for d in COLLAPSE_D[m][kept] for c in ((n, m, d) for n in COLLAPSED)
    ]
    jobs += [
        (shares, "shares", (name, d))
        for name in SCHEDULES
        for d in SHARES_D[kept]
        if "euler" in SCHEDULES[name].methods
    ]
    grids = [(m, method, order) for m in MODELS for method in ("euler", "heun") for order in ORDERS[kept]]
    jobs += [(powers, "powers", (*grid, d)) for grid in grids for d in POWERS_D[grid[0]][kept]]
    jobs += [(mismatch, "mismatch", (top,)) for top in TOPS[kept]]
    jobs += [(top_80, "top_80", (d,)) for d in TOP_80_D[kept]]
    results: dict = {"r": R}
    for law, key, arguments in tqdm(jobs, unit="cell"):
        place = results.setdefault(key, {})
        for argument in arguments[:-1]:
            place = place.setdefault(str(argument), {})
        place[str(arguments[-1])] = law(*arguments)
    return results


def table(results: dict) -> str:
    """Markdown, a table for each law."""
    parts = ['Collapse: the error at N = sqrt(d) / r steps of Euler; "-": not run.']
    heads = [f"r = {r:g}" for r in results["r"]]
    rows = [
        [f"{name}, {COLLAPSED[name]}: {label}, d = {d}", *("-" if e is None else f"{e:.3g}" for e in errors)]
        for name, models in results["collapse"].items()
        for label, curves in models.items()
        for d, errors in curves.items()
    ]
    parts.append(markdown(["grid and error", *heads], rows))
    parts.append("Shares of a grid's nodes above sigma = sqrt(d) / 5 / below 5 s, the mixture:")
    of = results["shares"]
    rows = [[name, *(f"{high:.3g} / {low:.3g}" for high, low in row.values())] for name, row in of.items()]
    parts.append(markdown(["grid", *(f"d = {d}" for d in next(iter(of.values())))], rows))
    parts.append("Steps for the weight / within a mode, from pure noise, by the power of dmmse/ds:")
    for label, methods in results["powers"].items():
        rows = [
            [f"{label}, {method}: power 1/{int(order) + 1}", *(f"{w or '-'} / {v or '-'}" for w, v in row.values())]
            for method, orders in methods.items()
            for order, row in orders.items()
        ]
        parts.append(markdown(["grid", *(f"d = {d}" for d in methods["euler"]["0"])], rows))
    parts.append("Weight less p, the mixture, started at the top's noise / at mean + noise, by the top over sqrt(d):")
    of = results["mismatch"]
    parts.append(markdown(list(of), [[f"{bare:+.4f} / {centred + 0.0:+.4f}" for bare, centred in of.values()]]))
    parts.append("Weight with the fixed top of 80, the mixture, p = 0.8:")
    of = results["top_80"]
    parts.append(markdown([f"d = {d}" for d in of], [[f"{bare} / {centred}" for bare, centred in of.values()]]))
    return "\n\n".join(parts)


def main() -> None:
    run("highdim_laws", __doc__, measure, laws_figure, table)


if __name__ == "__main__":
    main()
