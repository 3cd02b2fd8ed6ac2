"""The figure of `compare`: error against evaluations, and where the nodes lie."""

import math
from pathlib import Path
from statistics import fmean

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from infonoise_ext.watch.plot import BLUE, GREEN, GREY, ORANGE

from .rules import BEST, DEFAULT, EDM, RANGE
from .tables import errors, log_ratios, names, runs

SHOWN = {
    DEFAULT: {"color": ORANGE, "ls": "-"},
    "length": {"color": GREEN, "ls": ":"},
    "length, open": {"color": GREEN, "ls": "-"},
    RANGE: {"color": GREY, "ls": "--"},
    BEST: {"color": BLUE, "ls": "-"},
}
NODES = {EDM: "black", DEFAULT: ORANGE, BEST: BLUE}
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 2, 3, 5)
PANELS = ("patches", "digits", "dna")


def save_figure(results: dict, path: Path) -> None:
    sets = [name for name in PANELS if name in names(results)] or names(results)[:1]
    figure, axes = plt.subplots(2, 3, figsize=(11.0, 6.6), layout="constrained")
    for axis, method in zip(axes[0], results["evaluations"], strict=True):
        _ratios(axis, results, method)
    axes[0][0].set_ylabel("error / that of EDM's grid")
    for axis, data in zip(axes[1], sets, strict=False):
        _nodes(axis, runs(results, data)[0])
    for axis in axes[1][len(sets) :]:
        axis.remove()
    axes[1][0].set_ylabel("mmse / its largest")
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _ratios(axis: Axes, results: dict, method: str) -> None:
    evaluations = results["evaluations"][method]
    axis.axhline(1, color="black", lw=1.2, label=EDM)
    for rule, style in SHOWN.items():
        pairs = [(errors(results, data, method, rule), errors(results, data, method, EDM)) for data in names(results)]
        logs = [[mean for mean, _ in log_ratios(*pair)] for pair in pairs]
        columns = list(zip(*logs, strict=True))
        axis.plot(evaluations, [math.exp(fmean(column)) for column in columns], marker="o", ms=3, label=rule, **style)
        if rule == BEST:
            low, high = ([math.exp(end(column)) for column in columns] for end in (min, max))
            axis.fill_between(evaluations, low, high, color=BLUE, alpha=0.15, lw=0)
    axis.set(xscale="log", yscale="log", xlabel="network evaluations", title=method)
    axis.set_xticks(evaluations, [str(n) for n in evaluations])
    low, high = axis.get_ylim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.25)


def _nodes(axis: Axes, run: dict) -> None:
    top = max(run["mmse"])
    axis.plot(run["sigma"], [value / top for value in run["mmse"]], color=GREY, lw=1.6)
    for place, (rule, colour) in enumerate(NODES.items()):
        levels = run["nodes"][rule][:-1]
        axis.plot(levels, [-0.12 - 0.1 * place] * len(levels), "|", color=colour, ms=11, mew=1.8)
    axis.set(xscale="log", xlabel="noise level σ", title=f"{run['data']}: nodes of 9 steps", ylim=(-0.42, 1.05))
    axis.set_yticks([0, 0.5, 1])
