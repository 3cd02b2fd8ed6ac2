"""Score against the exponent of sharpening, less the default's: a panel for each data set and length of training."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infonoise_ext.watch.plot import BLUE, GREY, ORANGE

from .tasks import SCORES

COLUMNS = 3


def figure_of(results: dict) -> Figure:
    groups = results["groups"]
    rows = -(-len(groups) // COLUMNS)
    figure = Figure((11.0, 3.2 * rows), layout="constrained")
    panels = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axis, group in zip(panels, groups, strict=False):
        panel(axis, group)
    for axis in panels[len(groups) :]:
        axis.set_visible(False)
    return figure


def panel(axis: Axes, group: dict) -> None:
    """Differences are paired by seed; bars and the control's band are two standard errors."""
    arms = {arm: found["to default"] for arm, found in group["arms"].items() if "to default" in found}
    sharpened = [(float(arm.split(":")[1]), found) for arm, found in arms.items() if arm.startswith("sharpened:")]
    sharpened.sort(key=lambda pair: pair[0])
    gamma, height = [pair[0] for pair in sharpened], [pair[1]["mean"] for pair in sharpened]
    bars = [2 * (pair[1]["error"] or 0) for pair in sharpened]
    axis.axhline(0, color="black", lw=1)
    axis.errorbar(gamma, height, bars, color=BLUE, marker="o", capsize=3, label="sharpened")
    if "control" in arms:
        middle, half = arms["control"]["mean"], 2 * (arms["control"]["error"] or 0)
        axis.axhspan(middle - half, middle + half, color=GREY, alpha=0.3, lw=0, label="control")
    edm, (low, high) = arms["EDM"]["mean"], axis.get_ylim()
    axis.axhline(edm, color=ORANGE, ls="--", label=f"EDM's recipe: {edm:+.3f}")
    if edm > 0:
        axis.set_ylim(low, high)  # the line lies outside, and would flatten the rest
    axis.set(
        xscale="log",
        xlabel="γ",
        ylabel="score less the rule's",
        title=f"{SCORES[group['data'].split('/')[0]][0].partition(':')[0]}, {group['steps']} steps",
    )
    axis.set_xticks(gamma, [f"{one:g}" for one in gamma])
    axis.minorticks_off()
    axis.legend(frameon=False, fontsize=7)
