"""The figure of the experiment: errors and shares of samples against dimension, one line an arm."""

from pathlib import Path
from statistics import mean, stdev

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator

STYLES = {
    "entropy": ("#d55e00", "-"),
    "entropy, no gate": ("#d55e00", ":"),
    "rescaled": ("#e69f00", "-"),
    "mmse": ("#000000", "-"),
    "length": ("#0072b2", "-"),
    "EDM": ("#999999", "--"),
    "EDM, times sqrt(d)": ("#009e73", "--"),
    "log-uniform": ("#cc79a7", "--"),
}
PANELS = {
    "mode": "samples at the modes' noise",
    "place": "samples at the place's noise",
    "excess_odds": "excess error of the odds, share of the mmse",
    "excess_place": "excess error of the place, share of the mmse",
}


def save_figure(results: dict, path: Path) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(9.5, 6.6), sharex=True)
    for axis, (key, title) in zip(axes.flat, PANELS.items(), strict=True):
        for name, (colour, line) in STYLES.items():
            values = [[r["arms"][name][key] for r in results["runs"] if r["d"] == d] for d in results["d"]]
            bars = [stdev(v) if len(v) > 1 else 0.0 for v in values]
            means = [mean(v) for v in values]
            axis.errorbar(results["d"], means, bars, color=colour, ls=line, marker="o", ms=3, lw=1.4, label=name)
        axis.set(xscale="log", yscale="log", xlim=(results["d"][0] / 1.4, 1.4 * results["d"][-1]))
        axis.set_title(title, fontsize=10)
        axis.set_xticks(results["d"], [str(d) for d in results["d"]])
        axis.minorticks_off()
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[1]:
        axis.set_xlabel("dimension d")
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", frameon=False, fontsize=9)
    figure.set_layout_engine("constrained")
    figure.savefig(path, dpi=100)
    plt.close(figure)
