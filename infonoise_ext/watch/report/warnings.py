"""What can go wrong with a schedule, as rules: each looks at a record and says a sentence or nothing.

docs/monitoring.md explains every warning and what to do about it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import median

from ...ops.schemas import SKIP_CAUSES, STATUSES
from .runs import Entry, Record, Run, Series

LATE = 5
"""Refreshes that may be due in vain before the report says so."""

COLLAPSED_MASS = 0.5
"""Share of the samples below 10 sigma_min that is a collapse, if it is also twice log-uniform's."""

WINDOW = 10
"""Records, the last ones, in which starved bins and skipped samples are looked for."""

SKIPPED_SHARE = {cause: 0.01 for cause in SKIP_CAUSES} | {"masked": 0.5}
"""Share of the samples of the window that may be skipped; masks are the caller's own choice."""

RANK_DISTANCE = 0.05
"""Largest difference between the cdfs of two ranks at one step that sampling noise explains."""

GAP = 3.0
"""Steps between two records, in medians of the run, that are a gap."""

ADVICE = {
    "masked": "left out by `mask`",
    "bad_group": "`group` outside [0, G)",
    "nonfinite_sigma": "sigma NaN or infinite",
    "out_of_range": "sigma outside [sigma_min, sigma_max]: shifted after sampling, or drawn elsewhere",
    "nonfinite_error": "error NaN or infinite: the network diverges, or overflows in low precision",
    "negative_error": "error below 0: not a squared error",
    "recomputed": "computed again in backward by activation checkpointing: not recorded there",
}


@dataclass(frozen=True)
class Finding:
    """A sentence under its title; docs/monitoring.md has an entry for each title."""

    title: str
    text: str

    def __str__(self) -> str:
        """One line of text."""
        return f"{self.title}: {self.text}"


def degenerate(series: Series) -> str | None:
    """The last profile was kept out."""
    last = series.entries[-1]
    if STATUSES[last["status"]] != "degenerate profile kept out":
        return None
    return (
        f"the profile at step {last['step']:,} is no distribution and was kept out, as were {last['degenerates']:,} "
        "in all; the last good table serves. Look at the recorded errors: all zero, or overflowing."
    )


def collapse(series: Series) -> str | None:
    """A learned table samples mostly the lowest noise."""
    last, low, high = series.entries[-1], series.edges[0], series.edges[-1]
    mass, uniform = last["mass_lowest_decade"], math.log(10) / math.log(high / low)
    if not last["refreshes"] or mass <= max(COLLAPSED_MASS, 2 * uniform):
        return None
    return (
        f"{mass:.0%} of the samples are drawn below sigma = {10 * low:.3g}, the lowest decade. The network's own "
        "error floor looks like information there: use a pivot rule, a `bound`, or a larger sigma_min."
    )


def starved(series: Series) -> str | None:
    """Bins that are still unmeasured, or get no more losses, some refreshes after the first."""
    active = [entry for entry in series.entries if entry["refreshes"]]
    if len(active) <= WINDOW:
        return None
    then, now = (active[i]["profile"] for i in (-1 - WINDOW, -1))
    few = series.config["min_count"]
    bad = [k for k, n in enumerate(now["count"]) if n < few or now["seen"][k] == then["seen"][k]]
    if not bad:
        return None
    low, high = series.edges[bad[0]], series.edges[bad[-1] + 1]
    return (
        f"{len(bad)} of {len(series.edges) - 1} bins, between sigma = {low:.3g} and {high:.3g}, hold fewer than "
        f"min_count = {few} losses or got none in the last {WINDOW} records: their rate is a guess from their "
        "neighbours, or old. Raise `floor`, or use fewer bins."
    )


def late(series: Series) -> str | None:
    """No refresh was ever accepted, though several were due."""
    last = series.entries[-1]
    if last["refreshes"] or last["waits"] < LATE:
        return None
    needed, speed = last["samples_needed"], last["recorded"] / max(last["step"], 1)
    covered = f"measured bins carry {100 * last['coverage']:.5g}% of the sampled mass"
    if needed is None or not speed:
        forecast = "At this rate it never will: bins that are needed get no losses."
    elif needed:
        forecast = f"About {needed:,.0f} more samples are needed, {needed / speed:,.0f} steps at the present rate."
    else:
        forecast = "The next refresh will be accepted."
    return (
        f"the prior is still sampled at step {last['step']:,}, though warmup is {series.config['warmup']:,}: "
        f"{last['waits']:,} refreshes were refused, for {covered}, and coverage = {series.config['coverage']} asks for "
        f"more. {forecast} Raise `prior_floor`, lower `coverage`, or use fewer bins."
    )


def stopped(series: Series) -> str | None:
    """Refreshes were accepted once, but none has been for several that were due."""
    last = series.entries[-1]
    since = next(entry for entry in series.entries if entry["refreshes"] == last["refreshes"])
    idle = last["step"] - since["step"]
    if not last["refreshes"] or idle < LATE * series.config["refresh_every"]:
        return None
    waits, degenerates = (last[name] - since[name] for name in ("waits", "degenerates"))
    return (
        f"no refresh was accepted from step {since['step']:,} to {last['step']:,}: {waits:,} were refused for coverage "
        f"(now {last['coverage']:.1%}), {degenerates:,} for a degenerate profile. The table is that old."
    )


def skipped(series: Series) -> str | None:
    """Many samples of late, or of the whole run, were left out."""
    last = series.entries[-1]
    first = series.entries[-1 - WINDOW] if len(series.entries) > WINDOW else dict.fromkeys(last, 0)
    found = []
    for cause, allowed in SKIPPED_SHARE.items():
        share = max(_share(last, cause, first), _share(last, cause, dict.fromkeys(last, 0)))
        if share > allowed:
            found.append(f"{share:.1%} ({ADVICE[cause]})")
    return ", ".join(found) + "." if found else None


def _share(last: Entry, cause: str, first: Entry) -> float:
    """Of the samples since `first`, those skipped for `cause`; one computed again is not another sample."""
    new = {name: last[name] - first[name] for name in ("recorded", *(f"skipped_{cause}" for cause in SKIP_CAUSES))}
    again = new["skipped_recomputed"]
    seen = sum(new.values()) - again or again
    return new[f"skipped_{cause}"] / seen if seen > 0 else 0.0


RULES: dict[str, Callable[[Series], str | None]] = {
    "Degenerate profile": degenerate,
    "Low-noise collapse": collapse,
    "Starved bins": starved,
    "Still in warm-up": late,
    "Refreshes stopped": stopped,
    "Skipped samples": skipped,
}


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
    names = names_of(series)
    for title, rule in RULES.items():
        texts = {name: text for name, s in zip(names, series, strict=True) if (text := rule(s))}
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
