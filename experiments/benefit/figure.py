"""How many times fewer steps the rule needs than its rivals, and its samples' distances in parts of those of EDM's."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infonoise_ext.watch.plot import BLUE, GREEN, GREY, ORANGE

from .headline import BY_HAND, CODES, MISPLACED, NAMES, duels, of
from .tables import RELEASE

RIVALS = {"EDM": ("EDM's recipe", BLUE, "o"), "entropy": ("entropy rate", ORANGE, "s"),
          RELEASE: (f"{RELEASE}'s default", GREY, "v"), BY_HAND: ("log-normal by hand", GREEN, "D")}  # fmt: skip
DISTANCES = {"frechet_pca": ("components", BLUE, "o"), "frechet_random": ("random directions", ORANGE, "s"),
             "frechet_classifier": ("classifier", GREEN, "D")}  # fmt: skip


def figure_of(results: dict) -> Figure:
    figure = Figure((11.0, 4.6), layout="constrained")
    steps, distances = figure.subplots(1, 2)
    of_steps(steps, results)
    of_distances(distances, results)
    return figure


def of_steps(axis: Axes, results: dict) -> None:
    """With two standard errors."""
    known = duels(results)
    rows = [data for data in (*CODES, *MISPLACED) if data in known]
    for rival, (name, colour, marker) in RIVALS.items():
        at = [(row, of(known[data], rival)) for row, data in enumerate(rows)]
        marks(axis, [(row, duel["steps"]) for row, duel in at if duel], name, colour, marker)
    axis.set(title="the rule: times fewer steps than")
    lines(axis, rows, [1, 1.5, 2, 3, 5, 8])


def of_distances(axis: Axes, results: dict) -> None:
    """Of the rule's samples."""
    groups = {group["data"]: group for group in results["groups"]}
    rows = [data for data in NAMES if "frechet_pca" in groups.get(data, {}).get("extra", {}).get("rule", {})]
    for name, (told, colour, marker) in DISTANCES.items():
        at = [(row, groups[data]["extra"]["rule"].get(name)) for row, data in enumerate(rows)]
        marks(axis, [(row, found["ratio"]) for row, found in at if found], told, colour, marker)
    axis.set(title="Fréchet distance, times EDM's")
    lines(axis, rows, [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2])


def marks(axis: Axes, found: list[tuple[int, dict]], name: str, colour: str, marker: str) -> None:
    known = [(row, ratio["mean"], 2 * (ratio["error"] or 0.0)) for row, ratio in found if ratio["mean"] is not None]
    if known:
        row, mean, error = zip(*known, strict=True)
        axis.errorbar(mean, row, xerr=error, color=colour, marker=marker, ls="", capsize=3, label=name)


def lines(axis: Axes, rows: list[str], ticks: list[float]) -> None:
    axis.axvline(1, color="black", lw=1)
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_yticks(range(len(rows)), [NAMES[data] for data in rows])
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.2)
    axis.legend(frameon=False, fontsize=8)
