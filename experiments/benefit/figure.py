"""Quality against the exponent of sharpening, a panel for each data set and length of training."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infonoise_ext.watch.plot import BLUE, GREY, ORANGE

from .tasks import SCORES

COLUMNS = 2


def figure_of(results: dict) -> Figure:
    groups = results["groups"]
    rows = -(-len(groups) // COLUMNS)
    figure = Figure((9.0, 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for axis, group in zip(panels, groups, strict=False):
        panel(axis, group)
    for axis in list(panels)[len(groups) :]:
        axis.set_visible(False)
    return figure


def panel(axis: Axes, group: dict) -> None:
    arms = group["arms"]
    sharpened = [(float(arm.split(":")[1]), found) for arm, found in arms.items() if arm.startswith("sharpened:")]
    gamma, found = zip(*sorted(sharpened, key=lambda pair: pair[0]), strict=True)
    axis.errorbar(gamma, [one["mean"] for one in found], [2 * (one["error"] or 0) for one in found],
                  color=BLUE, marker="o", capsize=3, label="sharpened, ± 2 standard errors")  # fmt: skip
    level(axis, arms["EDM"], "EDM's recipe", ORANGE)
    level(axis, arms["default"], "today's default", "black")
    if "control" in arms:
        level(axis, arms["control"], "the same, another stream", GREY)
    title, _, unit = SCORES[group["data"]][0].partition(": ")
    axis.set(xscale="log", xlabel="γ", ylabel=unit.replace(", ", ",\n"), title=f"{title}, {group['steps']} steps")
    axis.set_xticks(gamma, [f"{one:g}" for one in gamma])
    axis.minorticks_off()
    axis.legend(frameon=False, fontsize=7)


def level(axis: Axes, found: dict, name: str, colour: str) -> None:
    """A line at an arm's mean, with a band of two standard errors."""
    axis.axhline(found["mean"], color=colour, lw=1.2, ls="--", label=name)
    half = 2 * (found["error"] or 0)
    axis.axhspan(found["mean"] - half, found["mean"] + half, color=colour, alpha=0.15, lw=0)
