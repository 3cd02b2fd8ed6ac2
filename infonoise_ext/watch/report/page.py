"""The page: the numbers of a run and everything that draws them, in one file that loads nothing."""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from typing import Any

import numpy as np

from ..._version import __version__
from ...ops.schemas import SKIP_CAUSES, STATUSES
from .runs import Run, Series
from .warnings import find_warnings, names_of

MAX_VALUES = 131_072
"""Values of each curve on the page, over all series, records and bins: the page stays below 5 MB."""

FEWEST = 2
"""Records that every series on the page keeps; beyond `MAX_VALUES` whole series are left out instead."""

CURVES = ("density", "mmse", "standard_error", "rate", "gate", "count")
NUMBERS = (
    "step", "status", "refreshes", "waits", "degenerates", "pivot", "coverage", "drift", "information", "kept",
    "sigma_q05", "sigma_q50", "sigma_q95", "mass_lowest_decade", "samples_needed", "recorded",
    *(f"skipped_{cause}" for cause in SKIP_CAUSES),
)  # fmt: skip


def page_of(run: Run) -> str:
    """The HTML text."""
    source = files(__package__)
    html = source.joinpath("page.html").read_text(encoding="utf-8")
    data = json.dumps(payload(run), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    for name, text in (("page.css", None), ("page.js", None), ("page.json", data)):
        html = html.replace(f"@{name}@", source.joinpath(name).read_text(encoding="utf-8") if text is None else text)
    return html


def payload(run: Run) -> dict[str, Any]:
    """What the page's script reads.

    Returns:
        Plain values. A curve is base64 of little-endian float32 [records, K], NaN where nothing is known.
    """
    series = run.series()
    budget = MAX_VALUES // len(series[0].edges)
    shown = series[: max(1, budget // FEWEST)]
    most = max(FEWEST, budget // len(shown))
    notes = list(run.notes)
    if len(shown) < len(series):
        notes.append(f"Of {len(series)} series the first {len(shown)} are on this page.")
    longest = max(len(s.entries) for s in shown)
    if longest > most:
        notes.append(f"Of {longest:,} records {most:,}, evenly spaced, are on this page.")
    return {
        "name": run.name,
        "version": __version__,
        "statuses": STATUSES,
        "causes": SKIP_CAUSES,
        "warnings": [{"title": w.title, "text": w.text} for w in find_warnings(run)],
        "notes": notes,
        "series": [_series(s, name, most) for s, name in zip(shown, names_of(series), strict=False)],
    }


def _series(series: Series, name: str, most: int) -> dict[str, Any]:
    chosen = np.linspace(0, len(series.entries) - 1, min(most, len(series.entries))).round().astype(int)
    entries = [series.entries[i] for i in chosen]
    profiles = [entry["profile"] for entry in entries]
    return {
        "name": name,
        "config": series.config,
        "edges": series.edges,
        "numbers": {number: [entry[number] for entry in entries] for number in NUMBERS},
        "curves": {curve: _packed([profile[curve] for profile in profiles]) for curve in CURVES},
    }


def _packed(rows: list[list[float | None]]) -> str:
    """float32 in base64 takes 5.3 characters a value, and text of six digits nine."""
    values = np.array(rows, dtype=np.float64).astype("<f4")  # None becomes NaN
    return base64.b64encode(values.tobytes()).decode()
