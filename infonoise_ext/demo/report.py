"""The demo's table and figure, from the plain numbers of its runs."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from .arms import ARMS, FIXED

Run = dict[str, Any]
# Okabe-Ito colours, told apart without colour by the dashes.
STYLES: dict[str, dict[str, Any]] = {
    "infonoise": {"color": "#D55E00", "lw": 2.4, "ls": "-", "zorder": 5},
    "edm": {"color": "#0072B2", "lw": 1.7, "ls": (0, (6, 2))},
    "loguniform": {"color": "#6E6E6E", "lw": 1.7, "ls": (0, (1, 1.4))},
    "oracle": {"color": "#009E73", "lw": 1.7, "ls": (0, (4, 1.5, 1, 1.5))},
    "moment": {"color": "#CC79A7", "lw": 1.7, "ls": (0, (8, 1.5, 1, 1.5, 1, 1.5))},
}


def steps_to(run: Run, target: float) -> float | None:
    """Steps until the gap of `run` has fallen to `target`, None if it never did.

    Between two evaluations log gap is taken as linear in steps; at or before the first one the answer is its step.
    """
    before = None
    for step, gap in zip(run["step"], run["gap"], strict=True):
        if gap <= target:
            if before is None or gap <= 0:
                return float(step)
            share = math.log(before[1] / target) / math.log(before[1] / gap)
            return float(before[0] + share * (step - before[0]))
        before = (step, gap)
    return None


def summarize(runs: list[Run], entropy: float) -> dict[str, Any]:
    """Rows of the table by arm: each entry a list over seeds, in the order of the seeds.

    Args:
        runs: what `train_arm` returned, any order, every arm with the same seeds.
        entropy: exact entropy of the data, nats.

    Returns:
        `best_fixed`, the fixed schedule of the lowest mean final gap, and `arms`: by name, the lists bound, gap,
        sample_nll, motif_rate, and steps_to_edm, steps_to_best (None: never reached) against the same seed's run.
    """
    by_name = {name: sorted((r for r in runs if r["name"] == name), key=lambda r: r["seed"]) for name in ARMS}
    best = min(FIXED, key=lambda name: fmean(run["gap"][-1] for run in by_name[name]))
    arms = {}
    for name, own in by_name.items():
        arms[name] = {
            "label": ARMS[name].label,
            "bound": [entropy + run["gap"][-1] for run in own],
            "gap": [run["gap"][-1] for run in own],
            "sample_nll": [run["sample_nll"] for run in own],
            "motif_rate": [run["motif_rate"] for run in own],
            "steps_to_edm": [steps_to(r, rival["gap"][-1]) for r, rival in zip(own, by_name["edm"], strict=True)],
            "steps_to_best": [steps_to(r, rival["gap"][-1]) for r, rival in zip(own, by_name[best], strict=True)],
        }
    return {"entropy": entropy, "steps": runs[0]["steps"], "best_fixed": best, "arms": arms}


def format_table(summary: dict[str, Any]) -> str:
    """The table as text."""
    steps, best = summary["steps"], ARMS[summary["best_fixed"]].label
    head = ["schedule", "bound", "gap to entropy", "-log p of samples", "motif rate", "steps to (a)", "steps to (b)"]
    truth = ["the data", f"{summary['entropy']:.2f}", "0", f"{summary['entropy']:.2f}", "0.990", "", ""]
    rows = [head, truth]
    for arm in summary["arms"].values():
        row = [arm["label"], *(_spread(arm[key], 2) for key in ("bound", "gap", "sample_nll"))]
        row += [_spread(arm["motif_rate"], 3)]
        rows.append(row + [_speed_up(arm[key], steps) for key in ("steps_to_edm", "steps_to_best")])
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    notes = [
        f"bound, gap and -log p in nats per sequence, after {steps} steps.",
        "(a) the EDM recipe's final gap; in brackets, how many times fewer steps than the whole run.",
        f"(b) the same for the best fixed schedule, {best}.",
    ]
    seeds = len(summary["arms"]["edm"]["gap"])
    if seeds > 1:
        notes.append(f"mean ± standard deviation over {seeds} seeds.")
    return "\n".join([*lines, "", *notes])


def _spread(values: list[float], digits: int) -> str:
    text = f"{fmean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {stdev(values):.{digits}f}"


def _speed_up(reached: list[float | None], steps: int) -> str:
    known = [value for value in reached if value is not None]
    if len(known) < len(reached):
        return "not reached" if not known else f"reached by {len(known)} of {len(reached)}"
    return f"{fmean(known):.0f} ({_spread([steps / value for value in known], 2)}x)"


def save_figure(path: Path, runs: list[Run], summary: dict[str, Any], rate: tuple[list[float], list[float]]) -> None:
    """Write the PNG: learning curves on the left, sampling densities on the right.

    Args:
        path: where to.
        runs: what `train_arm` returned.
        summary: from `summarize`.
        rate: sigma and the data's exact entropy rate there, in nats per unit of log sigma.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 5.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_curves(left, runs, summary)
    _draw_densities(right, runs, summary["entropy"], rate)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = left.get_legend_handles_labels()
    fill, fill_label = right.get_legend_handles_labels()
    figure.legend(
        handles + fill, labels + fill_label, loc="outside lower center", ncols=6, frameon=False, fontsize=9,
        handlelength=3.2, columnspacing=1.4,
    )  # fmt: skip
    figure.savefig(path)


def _draw_curves(axes: Any, runs: list[Run], summary: dict[str, Any]) -> None:
    for name, style in STYLES.items():
        own = [run for run in runs if run["name"] == name]
        steps, gaps = own[0]["step"], list(zip(*(run["gap"] for run in own), strict=True))
        axes.plot(steps, [fmean(gap) for gap in gaps], label=ARMS[name].label, **style)
        if len(own) > 1:
            low, high = [min(gap) for gap in gaps], [max(gap) for gap in gaps]
            axes.fill_between(steps, low, high, color=style["color"], alpha=0.18, lw=0)
    reached = summary["arms"]["infonoise"]["steps_to_edm"]
    if None not in reached:
        mark, end = fmean(reached), summary["steps"]
        level = fmean(summary["arms"]["edm"]["gap"])
        axes.annotate("", (mark, level), (end, level), arrowprops={"arrowstyle": "->", "color": "#0072B2", "lw": 1.1})
        speed = fmean(end / value for value in reached)
        text = {"ha": "right", "va": "top", "fontsize": 9, "color": "#0072B2"}
        axes.annotate(rf"{speed:.1f}$\times$ fewer steps", (end, level), (0, -4), textcoords="offset points", **text)
    axes.set(xlabel="optimizer steps", ylabel="gap to the exact entropy (nats per sequence)", yscale="log")
    ticks = [
        tick
        for tick in (0.5, 0.7, 1, 1.2, 1.5, 2, 3, 4, 5, 6, 7, 8)
        if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]
    ]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(0, summary["steps"] * 1.02)
    axes.set_title(f"held-out bound on the entropy, minus {summary['entropy']:.2f} nats", fontsize=10.5, loc="left")
    axes.grid(axis="y", lw=0.4, color="#DDDDDD")


def _draw_densities(axes: Any, runs: list[Run], entropy: float, rate: tuple[list[float], list[float]]) -> None:
    sigma, nats = rate
    share = [value / entropy for value in nats]
    axes.fill_between(sigma, share, color="#D9D9D9", lw=0, label="exact entropy rate / entropy")
    for name, style in STYLES.items():
        run = next(run for run in runs if run["name"] == name)
        axes.plot(run["sigma"], run["density"], **style)
    axes.set(
        xscale="log",
        xlabel=r"noise level $\sigma$ (units of the ±1 codes)",
        ylabel=r"density per unit of $\ln\,\sigma$",
    )
    axes.set_xlim(0.002, 80)
    axes.set_ylim(0, None)
    axes.set_title("where training samples are drawn, at the end", fontsize=10.5, loc="left")
