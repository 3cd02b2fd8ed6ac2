"""How the figures of the method look."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from infonoise_ext.watch.plot import BLUE, GREEN, GREY, ORANGE

COLOURS = {"entropy": BLUE, "rescaled": ORANGE, "mmse": GREY, "length": GREEN}
"""Signals by name, in the order in which all figures and tables show them."""


def noise_axis(axes: Axes, ticks: Sequence[float], title: str) -> None:
    """A logarithmic axis of noise levels from the first tick to the last."""
    axes.set(xscale="log", xlabel="noise level σ", title=title)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(ticks[0], ticks[-1])
    axes.spines[["top", "right"]].set_visible(False)
    axes.title.set_fontsize(10)
