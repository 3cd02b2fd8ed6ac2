"""What the runs of an arm say, with their spread: means over seeds, differences paired by seed, steps to a score."""

import math
from collections import defaultdict
from itertools import pairwise
from statistics import fmean, stdev, variance

Scores = dict[int, dict[int, float]]  # by seed, then by stream
SHARES = (0.25, 0.5, 1.0)  # of the run, at whose scores steps are compared
REFERENCES = ("default", "EDM")


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
    final = {arm: scores(own) for arm, own in arms.items()}
    found = {arm: alone(own, final[arm]) for arm, own in arms.items()}
    for reference in REFERENCES:
        told = {arm: differences(own, final[reference]) for arm, own in final.items() if arm != reference}
        least = pooled([list(one.values()) for one in told.values()])
        for arm, one in told.items():
            found[arm][f"to {reference}"] = mean_and_error(list(one.values()), least)
            found[arm][f"fewer than {reference}"] = [fewer(arms[arm], arms[reference], share) for share in SHARES]
    return {"runs": len(runs), "arms": found}


def scores(runs: list[dict]) -> Scores:
    """The last scores of an arm."""
    found: Scores = defaultdict(dict)
    for run in runs:
        found[run["seed"]][run["stream"]] = run["score"][-1]
    return found


def alone(runs: list[dict], final: Scores) -> dict:
    """Mean over seeds with its standard error, and what streams alone do: the standard deviation within a seed."""
    within = [list(streams.values()) for streams in final.values()]
    return mean_and_error([fmean(streams) for streams in within]) | {
        "runs": len(runs),
        "stream_sd": pooled(within) or None,
        "log_sigma": [fmean(run["mean"] for run in runs), fmean(run["std"] for run in runs)],
    }


def differences(own: Scores, reference: Scores) -> dict[int, float]:
    """Own score minus the reference's, of each seed: over the streams that both have."""
    found = {}
    for seed in own.keys() & reference.keys():
        common = own[seed].keys() & reference[seed].keys()
        if common:
            found[seed] = fmean(own[seed][stream] - reference[seed][stream] for stream in common)
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


def fewer(own: list[dict], reference: list[dict], share: float) -> dict:
    """How many times fewer steps reach the reference's score at that share of its run: geometric mean over seeds.

    `mean` is None if a seed's arm does not get there.
    """
    mine, theirs = curves(own), curves(reference)
    logs = []
    for seed in mine.keys() & theirs.keys():
        steps, values = theirs[seed]
        place = round(share * len(steps)) - 1
        needed = steps_to(values[place], *mine[seed])
        if needed is None:
            return {"mean": None, "error": None, "seeds": len(mine)}
        logs.append(math.log(steps[place] / needed))
    found = mean_and_error(logs)
    if not logs:
        return found
    ratio = math.exp(found["mean"])
    return found | {"mean": ratio, "error": found["error"] and ratio * found["error"]}


def curves(runs: list[dict]) -> dict[int, tuple[list[int], list[float]]]:
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
