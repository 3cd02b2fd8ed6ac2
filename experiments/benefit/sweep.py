"""A log-normal swept by hand: nine runs of one seed, whose cost is told beside the winner."""

from experiments.script import markdown

from .headline import NAMES
from .runs import Job

CENTRES = {"codes": (0.1, 0.3), "vectors": (-1.2, 0.6)}  # middle mean of log sigma, and how far the others lie
MEANS_APART = (-1, 0, 1)
STDS = {"codes": (0.25, 0.5, 1.0), "vectors": (0.6, 0.9, 1.3)}


def sweep(data: str, kind: str, steps: int, checkpoints: int, shift: float = 0.0) -> list[Job]:
    """Three means by three standard deviations of log sigma, of seed 0.

    Args:
        data: key of `tasks.SCORES`.
        kind: "codes" or "vectors".
        steps: of each run.
        checkpoints: of each run.
        shift: added to the means: log of the data's scale.
    """
    middle, apart = CENTRES[kind]
    means = [middle + shift + apart * side for side in MEANS_APART]
    arms = [f"log-normal:{mean:.4g}:{std:g}" for mean in means for std in STDS[kind]]
    return [Job(data, arm, steps, 0, 0, checkpoints) for arm in arms]


def winners(runs: list[dict]) -> dict[str, dict]:
    """Of each data set with a sweep and the rule's run: the log-normal of the lowest score at seed 0, and its cost.

    Returns:
        `arm`, `score`, `rule` (the rule's score at that seed), and `cost`: steps of all log-normals that were tried.
    """
    found = {}
    first = [run for run in runs if run["seed"] == 0 and run["stream"] == 0]
    for data in dict.fromkeys(run["data"] for run in first):
        own = [run for run in first if run["data"] == data]
        tried = [run for run in own if run["arm"].startswith("log-normal:")]
        if len(tried) < len(MEANS_APART) * len(STDS["codes"]):
            continue
        won = min(tried, key=lambda run: run["score"][-1])
        rule = [run["score"][-1] for run in own if run["arm"] == "rule" and run["steps"] == won["steps"]]
        if rule:
            cost = sum(run["steps"] for run in tried)
            found[data] = {"arm": won["arm"], "score": won["score"][-1], "rule": rule[0], "cost": cost}
    return found


def swept(results: dict) -> str:
    """The winners, and their cost in runs of the rule's length."""
    rows = [
        [NAMES[data], "{} / {}".format(*found["arm"].split(":")[1:]), f"{found['score']:.4f}", f"{found['rule']:.4f}",
         f"{found['cost']:,} steps"]
        for data, found in results["swept"].items()
    ]  # fmt: skip
    return markdown(["data", "best log-normal of nine", "its score", "the rule's", "found in"], rows)
