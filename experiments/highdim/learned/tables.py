"""The tables of docs/research/learned-profiles.md, from the numbers in the JSON."""

from collections.abc import Callable
from statistics import mean, stdev

from experiments.script import markdown

from .train import ARMS, LEARNED

COLUMNS: list[tuple[str, str, Callable[[dict], float]]] = [
    ("samples at the modes' noise", "{:.1%}", lambda arm: arm["mode"]),
    ("at the place's", "{:.1%}", lambda arm: arm["place"]),
    ("excess error of the odds", "{:.2%}", lambda arm: arm["excess_odds"]),
    ("of the place", "{:.2%}", lambda arm: arm["excess_place"]),
    ("weight - p", "{:+.4f}", lambda arm: arm["weight"]),
    ("its size", "{:.4f}", lambda arm: abs(arm["weight"])),
    ("variance / std² - 1", "{:+.4f}", lambda arm: arm["variance"]),
]
SAMPLED = slice(4, None)  # columns that the exact denoiser has too
HEAD = ["d", "schedule", *(title for title, *_ in COLUMNS)]


def spread(values: list[float], form: str) -> str:
    """Mean ± standard deviation; the mean alone of a single run."""
    middle = form.format(mean(values))
    return middle if len(values) == 1 else f"{middle} ± {form.format(stdev(values)).lstrip('+')}"


def trained_rows(runs: list[dict], d: int) -> list[list[str]]:
    """A row for each arm of the runs at this d."""
    found = [run["arms"] for run in runs if run["d"] == d]
    return [
        [str(d), name, *(spread([value(arms[name]) for arms in found], form) for _, form, value in COLUMNS)]
        for name in (found[0] if found else ())
    ]


def table(results: dict) -> str:
    """What each arm drew and how well it learned, at each d; the exact denoiser below."""
    rows = []
    for d, errors in zip(results["d"], results["exact"], strict=True):
        cells = [form.format(value(errors)) for _, form, value in COLUMNS[SAMPLED]]
        rows += [*trained_rows(results["runs"], d), [str(d), "exact denoiser", "", "", "", "", *cells]]
    return markdown(HEAD, rows)


def unit_table(results: dict) -> str:
    """The same of the learned arms with the loss weight 1."""
    dimensions = sorted({run["d"] for run in results["unit"]})
    return markdown(HEAD, [row for d in dimensions for row in trained_rows(results["unit"], d)])


def settled_table(results: dict) -> str:
    """Share of samples at the modes' noise / at the place's, of schedules that hold the exact mmse."""
    found = results["settled"]
    rows = [[name, *(f"{of[name]['mode']:.1%} / {of[name]['place']:.1%}" for of in found.values())] for name in ARMS]
    return markdown(["schedule", *(f"d = {d}" for d in found)], rows)


def grids_table(results: dict) -> str:
    """Grids of profiles: shares of nodes at the modes' noise, at the place's; N_p / N_v."""
    rows = []
    for d, known in results["profiles"].items():
        runs = [run["arms"] for run in results["runs"] if str(run["d"]) == d]
        learned = {f"learned by {name}": [arms[name]["grids"] for arms in runs] for name in LEARNED if runs}
        for name, grids in (known | learned).items():
            rows.append([d, name, *(grid_cell(grids, grid) for grid in ("mmse", "length", "open"))])
    return markdown(["d", "profile", "grid by mmse", "grid by length", "open grid"], rows)


def grid_cell(grids: list[dict], signal: str) -> str:
    found = [grid[signal] for grid in grids]
    shares = ", ".join(f"{mean(grid[name] for grid in found):.0%}" for name in ("mode", "place"))
    steps = (reach([grid["steps"][i] for grid in found]) for i in (0, 1))
    return f"{shares}; {' / '.join(steps)}"


def reach(steps: list[int | None]) -> str:
    """Least to most; "-" where one of them was not found."""
    if None in steps:
        return "-"
    return str(steps[0]) if min(steps) == max(steps) else f"{min(steps)}-{max(steps)}"
