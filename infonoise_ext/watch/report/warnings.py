"""What a recorded run tells beyond the troubles of its last record: what was skipped, ranks and steps that differ.

docs/troubleshooting.md explains every warning and what to do about it.
"""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from statistics import median

from ...ops.schemas import SKIP_CAUSES
from ..troubles import Trouble
from .runs import Entry, Record, Run, Series

LATE = 5
"""Refreshes by which one rank may be behind another before the report says so."""

WINDOW = 10
"""Records, the last ones, in which skipped samples are looked for."""

SKIPPED = {
    "masked": (0.5, "left out by `mask`"),
    "bad_group": (0.01, "`group` outside [0, G)"),
    "nonfinite_sigma": (0.01, "sigma NaN or infinite"),
    "out_of_range": (0.01, "sigma outside [sigma_min, sigma_max]: shifted after sampling, or drawn elsewhere"),
    "nonfinite_error": (0.01, "error NaN or infinite: the network diverges, or overflows in low precision"),
    "negative_error": (0.01, "error below 0: not a squared error"),
    "recomputed": (0.01, "computed again in backward by activation checkpointing: not recorded there"),
}
"""Share of the samples that may be skipped for a cause, and what the cause is; masks are the caller's own choice."""

RANK_DISTANCE = 0.15
"""Largest difference between the cdfs of two ranks at one step that sampling noise explains."""

GAP = 3.0
"""Steps between two records, in medians of the run, that are a gap."""


def _skipped(entries: list[Entry]) -> str:
    """Causes for which many samples of late, or of the whole run, were left out."""
    start, last = dict.fromkeys(entries[-1], 0), entries[-1]
    whole, late = _shares(start, last), _shares(entries[-1 - WINDOW] if len(entries) > WINDOW else start, last)
    shares = {cause: max(whole[cause], late[cause]) for cause in SKIP_CAUSES}
    return ", ".join(f"{share:.1%} ({SKIPPED[c][1]})" for c, share in shares.items() if share > SKIPPED[c][0])


def _shares(first: Entry, last: Entry) -> dict[str, float]:
    """Of the samples between two records those skipped, by cause; one computed again is not another sample."""
    new = {name: last[name] - first[name] for name in ("recorded", *(f"skipped_{cause}" for cause in SKIP_CAUSES))}
    again = new["skipped_recomputed"]
    seen = sum(new.values()) - again or again
    return {cause: new[f"skipped_{cause}"] / seen if seen > 0 else 0.0 for cause in SKIP_CAUSES}


def step_gaps(records: list[Record]) -> str | None:
    """Where the record of one rank goes back, jumps, or changes its grid."""
    pairs = list(pairwise(record["step"] for record in records))
    usual = median([b - a for a, b in pairs if b > a] or [0])
    found = [f"step {b:,} follows {a:,} (resumed; the later record holds)" for a, b in pairs if b <= a]
    warmup = records[-1]["config"]["warmup"]
    found += [f"nothing between steps {a:,} and {b:,}" for a, b in pairs if a >= warmup and b - a > GAP * usual]
    older = sum(record["edges"] != records[-1]["edges"] for record in records)
    if older:
        found.append(f"{older} record(s) on another grid are not shown")
    return _few(found) + "." if found else None


def ranks_disagree(runs: list[Series]) -> str | None:
    """Ranks with other options, or whose tables at the last step that all recorded are far apart.

    Args:
        runs: one group's series of every rank.
    """
    differing = [s.rank for s in runs if s.config != runs[0].config or s.edges != runs[0].edges]
    if differing:
        return f"ranks {_few(differing)} run with other options than rank {runs[0].rank}."
    common = set.intersection(*({entry["step"] for entry in s.entries} for s in runs))
    if not common:
        return "their records have no step in common."
    step = max(common)
    ends = [s.entries[-1]["step"] for s in runs]
    distance, rank = max((_distance(runs[0], s, step), s.rank) for s in runs)
    if distance > RANK_DISTANCE:
        return (
            f"at step {step:,} the tables of ranks {runs[0].rank} and {rank} differ by {distance:.0%} of the samples: "
            "they see other data or errors, or one is not refreshed."
        )
    if max(ends) - min(ends) >= LATE * runs[0].config["refresh_every"]:
        return f"rank {runs[ends.index(min(ends))].rank} ends at step {min(ends):,}, another at {max(ends):,}."
    return None


def _distance(one: Series, two: Series, step: int) -> float:
    """Largest difference of the cdfs at a step."""
    width = math.log(one.edges[-1] / one.edges[0]) / (len(one.edges) - 1)
    densities = [next(entry["profile"]["density"] for entry in s.entries if entry["step"] == step) for s in (one, two)]
    difference = accumulate(a - b for a, b in zip(*densities, strict=True))
    return max(abs(d) for d in difference) * width


def find_warnings(run: Run) -> list[Trouble]:
    """Those of every group of every rank; groups that share a warning share its line."""
    series = run.series()
    by_title: dict[str, dict[str, str]] = {}
    for name, s in zip(names_of(series), series, strict=True):
        skipped = _skipped(s.entries)
        for title, text in (*s.entries[-1]["found"], *([("Skipped samples", f"{skipped}.")] if skipped else [])):
            by_title.setdefault(title, {})[name] = text
    out = [trouble for title, texts in by_title.items() for trouble in _shared(title, texts, len(series))]
    if len(run.records) > 1:
        groups = {s.group: [other for other in series if other.group == s.group] for s in series}
        disagreeing = {f"group {g}": text for g, ranks in groups.items() if (text := ranks_disagree(ranks))}
        out += _shared("Ranks disagree", disagreeing, len(groups))
    gaps = {f"rank {rank}": text for rank in sorted(run.records) if (text := step_gaps(run.records[rank]))}
    return out + _shared("Step gaps", gaps, len(run.records))


def names_of(series: list[Series]) -> list[str]:
    """What tells each from the others: its rank, its group, or both; empty if there is only one."""
    ranks, groups = {s.rank for s in series}, {s.group for s in series}
    return [", ".join([f"rank {s.rank}"] * (len(ranks) > 1) + [f"group {s.group}"] * (len(groups) > 1)) for s in series]


def _shared(title: str, texts: dict[str, str], total: int) -> list[Trouble]:
    """One warning for what is said of some of `total`, by name: the first sentence, and whom else it concerns."""
    if not texts:
        return []
    name, *others = texts
    whom = "" if total == 1 else f"{name}{f' (likewise {_few(others)})' if others else ''}: "
    return [Trouble(title, whom + texts[name])]


def _few(names: list[int] | list[str]) -> str:
    shown = "; ".join(str(name) for name in names[:4])
    return shown + (f" and {len(names) - 4} more" if len(names) > 4 else "")
