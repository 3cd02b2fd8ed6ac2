"""The rule against each of its rivals, in few rows: the tables of docs/should-i.md, and what was aimed at."""

from typing import NamedTuple

from experiments.script import markdown

from .tables import RELEASE, times

NAMES = {
    "text": "text, 27 letters",
    "cross-entropy": "text, trained by cross-entropy",
    "embeddings": "text, learned embeddings",
    "dna": "DNA motifs",
    "genome": "a genome",
    "bits": "binary MNIST",
    "patches": "natural patches",
    "fashion": "Fashion-MNIST",
    "ks": "a turbulent field",
    "latents": "whitened latents",
    "patches x0.1": "natural patches, times 0.1",
    "patches x4": "natural patches, times 4",
}
CODES = ("text", "cross-entropy", "embeddings", "dna", "genome", "bits")
MISPLACED = ("patches x0.1", "patches x4", "latents")
HOME = ("patches", "fashion", "ks")
BY_HAND = "log-normal"


class Goal(NamedTuple):
    """At least so many times fewer steps than the arm needs, to its last score; or at most that part of its error."""

    data: str
    arm: str
    steps: float = 0.0
    error: float = 0.0


GOALS = [
    Goal("text", "EDM", 3), Goal("dna", "EDM", 3), Goal("bits", "EDM", 2), Goal("genome", "EDM", 3),
    Goal("text", RELEASE, 1.5), Goal("dna", RELEASE, 1.5),
    Goal("text", BY_HAND, 1), Goal("dna", BY_HAND, 1), Goal("cross-entropy", "CDCD", 1),
    Goal("patches", "EDM", error=1.01), Goal("fashion", "EDM", error=1.01), Goal("ks", "EDM", error=1.01),
    Goal("patches x0.1", "EDM", 2), Goal("patches x4", "EDM", 2), Goal("latents", "EDM", 2),
    Goal("embeddings", BY_HAND, 1.15),
]  # fmt: skip


def duels(results: dict) -> dict[str, dict[str, dict]]:
    """Data -> arm -> the rule against it, at the shortest length of training."""
    found: dict[str, dict[str, dict]] = {}
    for group in sorted(results["groups"], key=lambda group: group["steps"]):
        found.setdefault(group["data"], group["duels"])
    return found


def of(arms: dict[str, dict], arm: str) -> dict | None:
    """The duel with an arm, of which "log-normal" may have any numbers."""
    return next((found for name, found in arms.items() if name == arm or name.startswith(f"{arm}:")), None)


def fewer_steps(results: dict) -> str:
    """Where EDM's recipe is not at home: how many times fewer steps the rule needs to each rival's last score."""
    against = ("EDM", "entropy", RELEASE, BY_HAND)
    found = duels(results)
    rows = [
        [NAMES[data], *(saved(of(found[data], arm)) for arm in against)]
        for data in (*CODES, *MISPLACED)
        if data in found
    ]
    return markdown(["data", "EDM's recipe", "entropy rate", f"{RELEASE}'s default", "log-normal swept by hand"], rows)


def saved(duel: dict | None) -> str:
    """How many times fewer steps; "level" where a seed does not get there, but by less than two standard errors."""
    if duel is None:
        return ""
    return "level" if duel["steps"]["mean"] is None and duel["level"] else times(duel["steps"])


def at_home(results: dict) -> str:
    """Where EDM's recipe is at home, or its samples are judged: the rule's error and Fréchet distances, times EDM's."""
    rows = []
    for group in results["groups"]:
        if group["data"] not in (*HOME, *MISPLACED) or "EDM" not in group["duels"]:
            continue
        distances = [
            found["ratio"] for name, found in group["extra"].get("rule", {}).items() if name.startswith("frechet")
        ]
        told = [times(group["duels"]["EDM"]["error"]), *map(times, distances), "", ""][:4]
        rows.append([NAMES[group["data"]], *told])
    rows.sort(key=lambda row: [*NAMES.values()].index(row[0]))
    return markdown(["data", "error", "Fréchet, components", "Fréchet, random", "Fréchet, classifier"], rows)


def goals(results: dict) -> str:
    """What was aimed at, and what came out."""
    found = duels(results)
    rows = []
    for goal in GOALS:
        duel = of(found.get(goal.data, {}), goal.arm)
        if duel is None:
            continue
        kind = "steps" if goal.steps else "error"
        aim = f"{goal.steps:g} times fewer steps" if goal.steps else f"error at most {goal.error:g} times"
        told = saved(duel) if goal.steps else times(duel["error"])
        rows.append([NAMES[goal.data], goal.arm, aim, told, verdict(goal, duel[kind], duel["level"])])
    return markdown(["data", "against", "aim", "measured", ""], rows)


def verdict(goal: Goal, measured: dict, level: bool) -> str:
    """Reached, or within two standard errors of it, or missed."""
    mean, error = measured["mean"], measured["error"] or 0.0
    if mean is None:
        return "within the error" if level and goal.steps <= 1 else "missed"
    short = goal.steps - mean if goal.steps else mean - goal.error
    return "reached" if short <= 0 else "within the error" if short <= 2 * error else "missed"
