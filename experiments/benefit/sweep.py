"""A log-normal swept by hand: nine runs of one seed, whose cost is told beside the winner."""

from .runs import Job

CENTRES = {"codes": (0.1, 0.3), "vectors": (-1.2, 0.6)}  # middle mean of log sigma, and how far the others lie
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
    means = [middle + shift + apart * side for side in (-1, 0, 1)]
    arms = [f"log-normal:{mean:.4g}:{std:g}" for mean in means for std in STDS[kind]]
    return [Job(data, arm, steps, 0, 0, checkpoints) for arm in arms]


def best(runs: list[dict]) -> dict:
    """The log-normal of the lowest score among runs of one data set, length and seed, and what finding it cost.

    Returns:
        `arm`, `score`, and `cost`: steps of all log-normals that were tried.

    Raises:
        ValueError: no run is one of a log-normal.
    """
    tried = [run for run in runs if run["arm"].startswith("log-normal:")]
    if not tried:
        raise ValueError("runs are without a log-normal, but must have one to choose from")
    won = min(tried, key=lambda run: run["score"][-1])
    return {"arm": won["arm"], "score": won["score"][-1], "cost": sum(run["steps"] for run in tried)}
