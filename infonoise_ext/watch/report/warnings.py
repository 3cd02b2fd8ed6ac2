"""What can go wrong with a schedule, as a table of rules: a title, when it holds, and a sentence.

docs/monitoring.md explains every warning and what to do about it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import median
from typing import Any

from ...ops.schemas import SKIP_CAUSES, STATUSES
from .runs import Entry, Record, Run, Series

Facts = dict[str, Any]

LATE = 5
"""Refreshes that may be due in vain before the report says so."""

COLLAPSED_MASS = 0.5
"""Share of the samples below 10 sigma_min that is a collapse, if it is also twice log-uniform's."""

WINDOW = 10
"""Records, the last ones, in which starved bins and skipped samples are looked for."""

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

RANK_DISTANCE = 0.05
"""Largest difference between the cdfs of two ranks at one step that sampling noise explains."""

GAP = 3.0
"""Steps between two records, in medians of the run, that are a gap."""


@dataclass(frozen=True)
class Finding:
    """A sentence under its title; docs/monitoring.md has an entry for each title."""

    title: str
    text: str

    def __str__(self) -> str:
        """One line of text."""
        return f"{self.title}: {self.text}"


RULES: dict[str, tuple[Callable[[Facts], Any], str]] = {
    "Degenerate profile": (
        lambda f: f["status"] == STATUSES.index("degenerate profile kept out"),
        "the profile at step {step:,} is no distribution and was kept out, as were {degenerates:,} in all; the last "
        "good table serves. Look at the recorded errors: all zero, or overflowing.",
    ),
    "Low-noise collapse": (
        lambda f: f["refreshes"] and f["mass_lowest_decade"] > max(COLLAPSED_MASS, 2 * f["uniform_mass"]),
        "{mass_lowest_decade:.0%} of the samples are drawn below sigma = {decade:.3g}, the lowest decade. The "
        "network's own error floor looks like information there: use a pivot rule, a `bound`, or a larger sigma_min.",
    ),
    "Starved bins": (
        lambda f: f["starved"],
        "{starved} hold fewer than min_count = {config[min_count]} losses or got none in the last {window} records: "
        "their rate is a guess from their neighbours, or old. Raise `floor`, or use fewer bins.",
    ),
    "Still in warm-up": (
        lambda f: not f["refreshes"] and f["waits"] >= LATE,
        "the prior is still sampled at step {step:,}, though warmup is {config[warmup]:,}: {waits:,} refreshes were "
        "refused, for measured bins carry {percent_covered:.5g}% of the sampled mass, and coverage = "
        "{config[coverage]} asks for more. {forecast} Raise `prior_floor`, lower `coverage`, or use fewer bins.",
    ),
    "Refreshes stopped": (
        lambda f: f["refreshes"] and f["step"] - f["accepted"]["step"] >= LATE * f["config"]["refresh_every"],
        "no refresh was accepted from step {accepted[step]:,} to {step:,}: {refused:,} were refused for coverage (now "
        "{coverage:.1%}), {kept_out:,} for a degenerate profile. The table is that old.",
    ),
    "Skipped samples": (lambda f: f["skipped"], "{skipped}."),
}
"""By title: whether a warning holds of a series' facts, and its sentence."""


def facts(series: Series) -> Facts:
    """The last entry of a series, and what else the rules and their sentences speak of."""
    last, edges = series.entries[-1], series.edges
    accepted = next(entry for entry in series.entries if entry["refreshes"] == last["refreshes"])
    return last | {
        "config": series.config,
        "window": WINDOW,
        "decade": 10 * edges[0],
        "uniform_mass": math.log(10) / math.log(edges[-1] / edges[0]),
        "starved": _starved(series),
        "percent_covered": 100 * last["coverage"],
        "forecast": _forecast(last),
        "accepted": accepted,  # the record of the last refresh that was
        "refused": last["waits"] - accepted["waits"],
        "kept_out": last["degenerates"] - accepted["degenerates"],
        "skipped": _skipped(series.entries),
    }


def _starved(series: Series) -> str:
    """Bins still unmeasured, or without new losses, some refreshes after the first."""
    active = [entry["profile"] for entry in series.entries if entry["refreshes"]]
    if len(active) <= WINDOW:
        return ""
    then, now, few = active[-1 - WINDOW], active[-1], series.config["min_count"]
    bad = [k for k, n in enumerate(now["count"]) if n < few or now["seen"][k] == then["seen"][k]]
    if not bad:
        return ""
    low, high = series.edges[bad[0]], series.edges[bad[-1] + 1]
    return f"{len(bad)} of {len(series.edges) - 1} bins, between sigma = {low:.3g} and {high:.3g},"


def _forecast(last: Entry) -> str:
    needed, speed = last["samples_needed"], last["recorded"] / max(last["step"], 1)
    if needed is None or not speed:
        return "At this rate it never will: bins that are needed get no losses."
    if not needed:
        return "The next refresh will be accepted."
    return f"About {needed:,.0f} more samples are needed, {needed / speed:,.0f} steps at the present rate."


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


def find_warnings(run: Run) -> list[Finding]:
    """Every rule applied to every group of every rank; groups that share a warning share its line."""
    series, out = run.series(), []
    told = {name: facts(s) for name, s in zip(names_of(series), series, strict=True)}
    for title, (holds, sentence) in RULES.items():
        texts = {name: sentence.format(**f) for name, f in told.items() if holds(f)}
        out += _shared(title, texts, len(series))
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


def _shared(title: str, texts: dict[str, str], total: int) -> list[Finding]:
    """One warning for what is said of some of `total`, by name: the first sentence, and whom else it concerns."""
    if not texts:
        return []
    name, *others = texts
    whom = "" if total == 1 else f"{name}{f' (likewise {_few(others)})' if others else ''}: "
    return [Finding(title, whom + texts[name])]


def _few(names: list[int] | list[str]) -> str:
    shown = "; ".join(str(name) for name in names[:4])
    return shown + (f" and {len(names) - 4} more" if len(names) > 4 else "")
