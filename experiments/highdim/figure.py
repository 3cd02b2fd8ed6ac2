"""The figures of `steps` and of `laws`."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

SHOWN = {
    "VP uniform": ("#d55e00", "-"),
    "VE uniform": ("#cc79a7", "-"),
    "InfoGrid entropy": ("#999999", "-"),
    "InfoGrid rescaled": ("#e69f00", "-"),
    "InfoGrid mmse": ("#56b4e9", "-"),
    "EDM, top 10 sqrt(d)": ("#8c6d31", ":"),
    "VP + VE merged": ("#009e73", "--"),
    "InfoGrid length": ("#0072b2", "-"),
    "length grid, order 2": ("#000000", "-"),
}


def steps_figure(results: dict) -> Figure:
    """Steps that both features need, a panel for each model and method."""
    models, methods = ("mixture", "magnet"), ("euler", "heun")
    figure = Figure(figsize=(9.0, 6.6), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    for row, model in zip(axes, models, strict=True):
        for axis, method in zip(row, methods, strict=True):
            _both(axis, results["steps"][model][method])
            axis.set_title(f"{model.capitalize()}, {method.capitalize()}", fontsize=10)
        row[0].set_ylabel("steps needed for both features")
    dimensions = results["steps"]["mixture"]["euler"]["VP uniform"]["d"]
    for axis in axes[-1]:
        axis.set_xlabel("dimension d")
        axis.set_xticks(dimensions, [str(d) for d in dimensions])
        axis.minorticks_off()
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return _plain(figure)


def _both(axis: Axes, rows: dict) -> None:
    for name, (colour, style) in SHOWN.items():
        dimensions = rows[name]["d"]
        both = zip(dimensions, rows[name]["weight"], rows[name]["within"], strict=True)
        known = [(d, max(w, v)) for d, w, v in both if w and v]
        axis.plot(*_columns(known), style, color=colour, marker="o", ms=3, label=name)
    axis.set(xscale="log", yscale="log")


MODELS = {"mixture": ("#0072b2", "#56b4e9"), "magnet": ("#d55e00", "#e69f00")}


def laws_figure(results: dict) -> Figure:
    """Collapse of both errors in sqrt(d) / N, shares of the nodes, and the cost of a finite top."""
    figure = Figure(figsize=(9.0, 6.6), layout="constrained")
    axes = figure.subplots(2, 2)
    _collapse(axes[0][0], results, "VP uniform", "VP uniform: error of the weight")
    _collapse(axes[0][1], results, "VE uniform", "VE uniform: error within a mode")
    for name, (colour, style) in SHOWN.items():
        known = [(int(d), high) for d, (high, _) in results["shares"][name].items()]
        axes[1][0].plot(*_columns(known), style, color=colour, marker="o", ms=3, label=name)
    axes[1][0].set(xscale="log", yscale="log", xlabel="dimension d", ylim=(2e-8, 2))
    axes[1][0].set_title("Mixture: share of the nodes above sqrt(d) / 5", fontsize=10)
    for k, (label, colour) in enumerate((("the noise alone", "#d55e00"), ("mean + noise", "#0072b2"))):
        known = [(float(top), abs(pair[k])) for top, pair in results["mismatch"].items() if pair[k]]
        axes[1][1].plot(*_columns(known), marker="o", ms=4, lw=1, color=colour, label=f"started at {label}")
    axes[1][1].set(xscale="log", yscale="log", xlabel="top of the grid / sqrt(d)")
    axes[1][1].set_title("Mixture: error of the weight that a finite top leaves", fontsize=10)
    for axis in axes.flat:
        axis.legend(frameon=False, fontsize=7)
    return _plain(figure)


def _collapse(axis: Axes, results: dict, name: str, title: str) -> None:
    for model, colours in MODELS.items():
        curves = list(results["collapse"][name][model].items())
        for (d, errors), colour, marker in zip((curves[0], curves[-1]), colours, "ox", strict=True):
            known = [(r, error) for r, error in zip(results["r"], errors, strict=True) if error]
            axis.plot(*_columns(known), marker=marker, ms=4, lw=1, color=colour, label=f"{model}, d = {d}")
    axis.set(xscale="log", yscale="log", xlabel="sqrt(d) / N")
    axis.set_title(title, fontsize=10)


def _columns(pairs: list[tuple[float, float]]) -> list[list[float]]:
    return [list(column) for column in zip(*pairs, strict=True)] or [[], []]


def _plain(figure: Figure) -> Figure:
    for axis in figure.axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure
