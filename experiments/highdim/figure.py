"""The figure of `steps`: steps against dimension, one line a grid."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SHOWN = {
    "VP uniform": ("#d55e00", "-"),
    "VE uniform": ("#cc79a7", "-"),
    "InfoGrid entropy": ("#999999", "-"),
    "InfoGrid rescaled": ("#e69f00", "-"),
    "VP dilated, kappa 3": ("#0072b2", "--"),
    "VE dilated, kappa 3": ("#56b4e9", "--"),
    "VP + VE merged": ("#009e73", "-"),
    "mmse decrement": ("#000000", "-"),
    "EDM, top 10 sqrt(d)": ("#8c6d31", ":"),
    "InfoGrid rescaled, half EDM": ("#e69f00", ":"),
}
PANELS = {"weight": "modes' weight to 0.01", "variance": "variance within a mode to 5%"}


def save_figure(dimensions: list[int], results: dict, path: Path) -> None:
    figure, axes = plt.subplots(len(results), 2, figsize=(9.5, 3.4 * len(results)), sharex=True, sharey="row")
    for row, (method, schedules) in zip(axes, results.items(), strict=True):
        for axis, (key, title) in zip(row, PANELS.items(), strict=True):
            for name, (colour, style) in SHOWN.items():
                known = [(d, n) for d, n in zip(dimensions, schedules[name][key], strict=True) if n]
                axis.plot(
                    *zip(*known, strict=True) if known else ([], []), style, color=colour, marker="o", ms=3, label=name
                )
            axis.set(xscale="log", yscale="log", title=f"{method.capitalize()}: {title}")
            axis.set_xticks(dimensions, [str(d) for d in dimensions], minor=False)
            axis.grid(alpha=0.25)
        row[0].set_ylabel("steps needed")
    for axis in axes[-1]:
        axis.set_xlabel("dimension d")
        axis.minorticks_off()
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", frameon=False, fontsize=8)
    figure.set_layout_engine("constrained")
    figure.savefig(path, dpi=110)
    plt.close(figure)
