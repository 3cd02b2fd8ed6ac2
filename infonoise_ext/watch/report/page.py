"""The page: the numbers of a run and everything that draws them, in one file that loads nothing."""

from __future__ import annotations

import base64
import json
import re
from html import escape
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
    "step", "status", "refreshes", "waits", "degenerates", "pivot", "kept", "variance", "sharpness", "information",
    "drift", "sigma_q05", "sigma_q50", "sigma_q95", "mass_lowest_decade", "apart", "rescaled", "spikes", "recorded",
    *(f"skipped_{cause}" for cause in SKIP_CAUSES),
)  # fmt: skip


def page_of(run: Run) -> str:
    """The HTML text. What the run says is escaped here; its numbers are drawn by the page's script."""
    source, data = files(__package__), payload(run)
    items = [f"<li><strong>{escape(w.title)}:</strong> {_prose(w.text)}</li>" for w in find_warnings(run)]
    parts = {
        "name": escape(run.name),
        "version": __version__,
        "warnings": "".join(items) or '<li class="none"><strong>None:</strong> every rule was checked.</li>',
        "notes": "".join(f"<li>{escape(note)}</li>" for note in data.pop("notes")),
        "json": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    } | {name: source.joinpath(f"page.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    html = source.joinpath("page.html").read_text(encoding="utf-8")
    return re.sub(r"@(\w+)@", lambda match: parts[match[1]], html)


def _prose(text: str) -> str:
    """HTML of a sentence that names options between backticks."""
    return re.sub("`(.*?)`", r"<code>\1</code>", escape(text))


def payload(run: Run) -> dict[str, Any]:
    """What the page's script reads, and the notes.

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
        "statuses": STATUSES,
        "causes": SKIP_CAUSES,
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
