"""Two figures: a schedule as it stands, and its evolution over refreshes. Needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

from ..curves.arguments import refuse
from .history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..curves.density import Density
    from ..state.config import InfoNoiseConfig
    from ..state.profile import Profile

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8A8A8A"  # Okabe-Ito


class Adaptive(Protocol):
    """What a figure shows of `InfoNoise`."""

    config: InfoNoiseConfig
    prior: Density

    @property
    def status(self) -> str | list[str]:
        """In words, of each group."""
        ...

    def profile(self, group: int = 0) -> Profile:
        """What has been learned."""
        ...

    def summary(self) -> dict[str, float]:
        """Flat numbers."""
        ...


def schedule_figure(schedule: Adaptive, group: int = 0) -> Figure:
    """Mmse, entropy rate with its gate, and density with allocation and prior, over sigma.

    Args:
        schedule: what to draw.
        group: which of its groups.

    Returns:
        a matplotlib figure; save it with `.savefig(path)`.
    """
    profile = schedule.profile(group)
    figure, (top, middle, bottom) = _panels(3, (7.0, 7.6))
    sigma = profile.sigma.numpy()
    top.errorbar(sigma, profile.mmse, profile.standard_error, color=BLUE, lw=1.2, elinewidth=0.8)
    top.set(yscale="log", ylabel="mmse")
    _filled_step(middle, profile.edges, profile.rate, BLUE, "entropy rate")
    middle.set(ylabel="rate, per unit log σ")
    highest = float(profile.rate.nan_to_num().max())
    if highest > 0:
        middle.set(yscale="log", ylim=(1e-4 * highest, 2 * highest))
    gate = middle.twinx()
    gate.plot(sigma, profile.gate, color=ORANGE, lw=1.4)
    gate.set(ylim=(0, 1.05), ylabel="gate")
    gate.yaxis.label.set_color(ORANGE)
    if profile.pivot > 0:
        gate.axvline(profile.pivot, color=ORANGE, lw=0.8, ls=":")
    _filled_step(bottom, profile.edges, profile.density, GREEN, "sampled density")
    width = schedule.config.width
    prior = schedule.prior.mass(profile.edges) / width
    prior /= (prior * width).sum()
    bottom.stairs(prior.numpy(), profile.edges.numpy(), color=GREY, lw=1.2, ls="--", label="prior")
    allocation = f"allocation φ, {schedule.config.signal}"
    bottom.stairs(profile.allocation.numpy(), profile.edges.numpy(), color=BLUE, lw=1.2, label=allocation)
    bottom.set(ylabel="per unit log σ", xlabel="noise level σ", ylim=(0, None))
    bottom.legend(frameon=False, fontsize=9)
    status = schedule.status if isinstance(schedule.status, str) else schedule.status[group]
    steps = int(schedule.summary()["steps"])
    top.set_title(f"{status}, step {steps}, pivot {profile.pivot:.3g}", fontsize=10, loc="left")
    return figure


def history_figure(history: History, group: int = 0) -> Figure:
    """The density over steps as a heat map, with its quantiles; mmse curves and drift below.

    Args:
        history: at least two records on one grid.
        group: which group.

    Raises:
        ValueError: fewer than two records.
    """
    if len(history) < 2:
        refuse("the number of records in history", len(history), "at least 2")
    records = history.records
    steps = np.array([record["step"] for record in records])
    profiles = [record["profiles"][group] for record in records]
    edges = np.array(records[0]["edges"])
    figure, (top, bottom) = _panels(2, (7.0, 6.6))
    density = np.array([p["density"] for p in profiles])
    borders = np.concatenate((steps[:1] - (steps[1] - steps[0]), steps))
    mesh = top.pcolormesh(edges, borders, density, cmap="viridis", rasterized=True)
    figure.colorbar(mesh, ax=[top], label="density per unit log σ", pad=0.02)
    top.plot([p["pivot"] or np.nan for p in profiles], steps, color="white", lw=1.2, ls=":")
    top.set(ylabel="step", title="density over training; dotted: pivot")
    top.title.set_fontsize(10)
    _mmse_curves(figure, bottom, profiles, steps, np.sqrt(edges[1:] * edges[:-1]))
    return figure


def _mmse_curves(figure: Figure, axes: Axes, profiles: list[dict[str, Any]], steps: Any, sigma: Any) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    norm = Normalize(steps[0], steps[-1])
    for step, profile in zip(steps, profiles, strict=True):
        mmse = np.array(profile["mmse"], dtype=float)  # None, where nothing is measured, becomes NaN
        axes.plot(sigma, mmse, color=colormaps["viridis"](norm(step)), lw=0.9)
    axes.set(yscale="log", ylabel="mmse", xlabel="noise level σ")
    figure.colorbar(ScalarMappable(norm, "viridis"), ax=[axes], label="step", pad=0.02)


def _panels(rows: int, size: tuple[float, float]) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, sharex=True)
    for panel in axes:
        panel.set_xscale("log")
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _filled_step(axes: Axes, edges: Tensor, values: Tensor, color: str, label: str) -> None:
    axes.stairs(values.numpy(), edges.numpy(), color=color, lw=1.4, label=label)
    axes.stairs(values.numpy(), edges.numpy(), color=color, alpha=0.15, fill=True)
