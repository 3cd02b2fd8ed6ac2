"""What the runs of an arm say, with their spread: means over seeds, differences paired by seed, steps to a score."""

import math
from collections import defaultdict
from itertools import pairwise
from statistics import fmean, stdev, variance
from typing import TypeAlias

SHARES = (0.25, 0.5, 1.0)  # of the run, at whose scores steps are compared
REFERENCES = ("rule", "EDM")
RATIOS_TO = "EDM"
Curve: TypeAlias = tuple[list[int], list[float]]
"""Steps and the scores there."""


def summary(runs: list[dict]) -> list[dict]:
    """For each data set and length of training: every arm's mean, spread and number of runs, and its differences."""
    groups: dict[tuple, list[dict]] = defaultdict(list)
    for run in runs:
        groups[run["data"], run["steps"]].append(run)
    return [{"data": data, "steps": steps} | group_summary(group) for (data, steps), group in groups.items()]


def group_summary(runs: list[dict]) -> dict:
    arms: dict[str, list[dict]] = defaultdict(list)
    for run in runs:
        arms[run["arm"]].append(run)
    found = {arm: alone(own) for arm, own in arms.items()}
    for reference in (one for one in REFERENCES if one in arms):
        others = [arm for arm in arms if arm != reference]
        apart = [differences(arms[arm], arms[reference]) for arm in others]
        ratios = [[log_ratios(arms[arm], arms[reference], share) for arm in others] for share in SHARES]
        for i, arm in enumerate(others):
            found[arm][f"to {reference}"] = mean_and_error(apart[i], pooled(apart))
            found[arm][f"fewer than {reference}"] = [geometric(logs[i], pooled(logs)) for logs in ratios]
    against = {arm: duel(arms["rule"], own) for arm, own in arms.items() if arm != "rule"} if "rule" in arms else {}
    further = {arm: extras(own, arms) for arm, own in arms.items()}
    return {"runs": len(runs), "arms": found, "duels": against, "extra": further}


def duel(own: list[dict], other: list[dict]) -> dict[str, dict]:
    """How many times fewer `steps` reach the other's last score, and the last `error` in parts of the other's.

    Where a seed does not get to the other's last score, the other gets to its own: a ratio below 1.
    """
    mine, theirs = (curves(runs) for runs in (own, other))
    seeds = sorted(mine.keys() & theirs.keys())
    logs = [math.log(mine[seed][1][-1] / theirs[seed][1][-1]) for seed in seeds]
    return {
        "steps": geometric([log_saved(mine[seed], theirs[seed]) for seed in seeds], 0.0),
        "error": geometric(logs, 0.0),
    }


def log_saved(own: Curve, other: Curve) -> float:
    """Log of how many times fewer steps reach the other's last score; negative where the other is ahead."""
    needed = steps_to(other[1][-1], *own)
    return -log_saved(other, own) if needed is None else math.log(other[0][-1] / needed)


def extras(runs: list[dict], arms: dict[str, list[dict]]) -> dict[str, dict]:
    """Further scores of an arm by name: mean, error, and `ratio` to EDM's, a geometric mean over seeds."""
    found = {}
    for name in runs[0].get("extra", {}):
        own, other = (by_seed(group, name) for group in (runs, arms.get(RATIOS_TO, [])))
        logs = [math.log(own[seed] / other[seed]) for seed in sorted(own.keys() & other.keys())]
        found[name] = mean_and_error(list(own.values())) | {"ratio": geometric(logs, 0.0)}
    return found


def by_seed(runs: list[dict], name: str) -> dict[int, float]:
    """A further score of each seed, the mean over its streams."""
    values: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        if name in run.get("extra", {}):
            values[run["seed"]].append(run["extra"][name])
    return {seed: fmean(streams) for seed, streams in values.items()}


def scores(runs: list[dict]) -> dict[int, dict[int, float]]:
    """The last scores of an arm, by seed and stream."""
    found: dict[int, dict[int, float]] = defaultdict(dict)
    for run in runs:
        found[run["seed"]][run["stream"]] = run["score"][-1]
    return found


def alone(runs: list[dict]) -> dict:
    """Mean over seeds with its standard error, and what streams alone do: the standard deviation within a seed."""
    within = [list(streams.values()) for streams in scores(runs).values()]
    return mean_and_error([fmean(streams) for streams in within]) | {
        "runs": len(runs),
        "stream_sd": pooled(within) or None,
        "log_sigma": [fmean(run["mean"] for run in runs), fmean(run["std"] for run in runs)],
    }


def differences(runs: list[dict], reference: list[dict]) -> list[float]:
    """Own score minus the reference's, of each seed: over the streams that both have."""
    own, other = scores(runs), scores(reference)
    found = []
    for seed in sorted(own.keys() & other.keys()):
        common = own[seed].keys() & other[seed].keys()
        if common:
            found.append(fmean(own[seed][stream] - other[seed][stream] for stream in common))
    return found


def pooled(samples: list[list[float]]) -> float:
    """Standard deviation within samples, over all of them; 0 where none has two values."""
    several = [sample for sample in samples if len(sample) > 1]
    freedom = sum(len(sample) - 1 for sample in several)
    squares = sum((len(sample) - 1) * variance(sample) for sample in several)
    return math.sqrt(squares / freedom) if freedom else 0.0


def mean_and_error(values: list[float], least: float = 0.0) -> dict:
    """Mean, its standard error (None for one value) and the number of values.

    Args:
        values: of each seed.
        least: standard deviation that is known from elsewhere: two or three seeds can agree by chance.
    """
    n = len(values)
    error = max(stdev(values), least) / math.sqrt(n) if n > 1 else None
    return {"mean": fmean(values) if values else None, "error": error, "seeds": n}


def log_ratios(runs: list[dict], reference: list[dict], share: float) -> list[float]:
    """Log of how many times fewer steps reach the reference's score at that share of its run, of each seed.

    Empty if a seed does not get there.
    """
    own, other = curves(runs), curves(reference)
    logs = []
    for seed in sorted(own.keys() & other.keys()):
        steps, values = other[seed]
        place = math.ceil(share * len(steps)) - 1
        needed = steps_to(values[place], *own[seed])
        if needed is None:
            return []
        logs.append(math.log(steps[place] / needed))
    return logs


def geometric(logs: list[float], least: float) -> dict:
    """Geometric mean of the ratios and its standard error; None for none."""
    found = mean_and_error(logs, least)
    if not logs:
        return found
    ratio = math.exp(found["mean"])
    return found | {"mean": ratio, "error": found["error"] and ratio * found["error"]}


def curves(runs: list[dict]) -> dict[int, Curve]:
    """Steps and scores of each seed, the mean over its streams."""
    by_seed: dict[int, list[dict]] = defaultdict(list)
    for run in runs:
        by_seed[run["seed"]].append(run)
    return {
        seed: (own[0]["step"], [fmean(values) for values in zip(*(run["score"] for run in own), strict=True)])
        for seed, own in by_seed.items()
    }


def steps_to(target: float, steps: list[int], values: list[float]) -> float | None:
    """Steps at which the curve first is at the target or below, linear between logs of steps; None if never.

    A curve that starts below the target needs at most its first checkpoint, which is returned.
    """
    if values[0] <= target:
        return steps[0]
    for (before, high), (after, low) in pairwise(zip(steps, values, strict=True)):
        if low <= target:
            return before * (after / before) ** ((high - target) / (high - low))
    return None
