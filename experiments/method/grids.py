"""Where 18-step grids have their nodes, over profiles of models and of real data, for docs/research/method.md.

python -m experiments.method.grids [--short] [--out FILE]; a minute on one busy core, --short half of one.
"""

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

import infonoise_ext as inx
from experiments.method.curves import WINDOW, below, densities
from experiments.method.data import sources
from experiments.method.style import COLOURS, noise_axis
from experiments.script import markdown, rounded, run
from infonoise_ext import oracle
from infonoise_ext.state.profile import Profile

STEPS, LOW, HIGH, BINS = 18, 0.002, 80.0, 96
GRIDS = {"EDM": "black"} | COLOURS | {"default": "#CC79A7", "open": "#8C6D31"}
"""Grids by name, with colours; the default is half of "rescaled" and half of EDM's density, open is `open_grid`."""


def grid(name: str, profile: Profile) -> Tensor:
    """[STEPS] noise levels above 0, descending."""
    if name == "EDM":
        return inx.grids.edm_grid(STEPS, LOW, HIGH)[:-1]
    if name == "open":
        return inx.open_grid(profile, STEPS)[:-1]
    return (inx.info_grid(profile, STEPS) if name == "default" else inx.info_grid(profile, STEPS, name, 0.0))[:-1]


def judged(profile: Profile, nodes: Tensor) -> dict:
    """Nodes among the middle nats, and the largest share of the nats between two nodes or beyond the outer ones."""
    cdf = torch.cat((nodes.new_ones(1), below(profile, nodes), nodes.new_zeros(1)))
    inside = (cdf > WINDOW[0]) & (cdf < WINDOW[-1])
    return {
        "nodes": rounded(nodes, 4),
        "inside": int(inside.sum()),
        "largest": rounded(float(-cdf.diff().min()), 3),
    }


def measure(short: bool) -> dict:
    found = {}
    models = {"two points": oracle.TwoPoint(), "two modes, d = 64": oracle.TwoModes(64)}
    draws, bins = (128, BINS // 3) if short else (512, BINS)
    for name, source in tqdm((models | sources(draws)).items(), unit="source"):
        profile = source.profile(LOW, HIGH, bins)
        found[name] = {
            "density": rounded(densities(profile)["entropy"], 4),
            "grids": {grid_name: judged(profile, grid(grid_name, profile)) for grid_name in GRIDS},
        }
    return {"draws": draws, "sigma": rounded(profile.sigma, 4), "steps": STEPS, "data": found}


def draw(results: dict) -> Figure:
    figure = Figure(figsize=(9.0, 5.6), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True)
    for axes, (name, found) in zip(panels.flatten(), results["data"].items(), strict=True):
        axes.fill_between(results["sigma"], found["density"], color=COLOURS["entropy"], alpha=0.25, lw=0)
        draw_nodes(axes, found["grids"], max(found["density"]))
        noise_axis(axes, (0.002, 0.02, 0.1, 1, 10, 80), name)
    for axes in panels[0]:
        axes.set_xlabel("")
    return figure


def draw_nodes(axes: Axes, grids: dict, height: float) -> None:
    rows = [-0.14 * (k + 1) * height for k in range(len(grids))]
    for row, (name, found) in zip(rows, grids.items(), strict=True):
        axes.plot(found["nodes"], [row] * len(found["nodes"]), "|", color=GRIDS[name], ms=8, mew=1.3)
    axes.axhline(0, color="black", lw=0.8)
    axes.set_yticks(rows, list(grids), fontsize=8)
    for label, name in zip(axes.get_yticklabels(), grids, strict=True):
        label.set_color(GRIDS[name])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(1.1 * rows[-1], 1.05 * height)


def table(results: dict) -> str:
    rows = []
    for name in GRIDS:
        cells = [found["grids"][name] for found in results["data"].values()]
        rows.append([name, *(f"{cell['inside']}, {100 * cell['largest']:.0f}%" for cell in cells)])
    return markdown(["grid", *results["data"]], rows)


def main() -> None:
    run("method_grids", __doc__, measure, draw, table)


if __name__ == "__main__":
    main()
