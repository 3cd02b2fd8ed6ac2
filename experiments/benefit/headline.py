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
    "fashion 7x7": "Fashion-MNIST of 7x7",
    "fashion 28x28": "Fashion-MNIST of 28x28",
    "ks": "a turbulent field",
    "latents": "whitened latents",
    "patches x0.1": "natural patches, times 0.1",
    "patches x4": "natural patches, times 4",
}
CODES = ("text", "cross-entropy", "embeddings", "dna", "genome", "bits")
MISPLACED = ("patches x0.1", "patches x4", "latents", "fashion 7x7", "fashion 28x28")
HOME = ("patches", "fashion", "ks")
BY_HAND = "by hand"  # a log-normal that was swept, or EDM's moved to where it belongs


class Goal(NamedTuple):
    """At least so many times fewer `steps` than the arm needs, to its last score; at most that part of its `error`; or
    of its Fréchet distance, in every feature set (`samples`)."""

    data: str
    arm: str
    steps: float = 0.0
    error: float = 0.0
    samples: float = 0.0


GOALS = [
    Goal("text", "EDM", 3), Goal("dna", "EDM", 3), Goal("bits", "EDM", 2), Goal("genome", "EDM", 3),
    Goal("text", RELEASE, 1.5), Goal("dna", RELEASE, 1.5),
    *(Goal(data, BY_HAND, 1) for data in ("text", "dna", "bits", "genome")),
    Goal("text", "second moment", 1), Goal("dna", "second moment", 1), Goal("cross-entropy", "CDCD", 1),
    *(Goal(data, "EDM", error=1.01) for data in HOME), *(Goal(data, "EDM", samples=1) for data in HOME),
    *(Goal(data, "EDM", 2) for data in MISPLACED), *(Goal(data, BY_HAND, error=1.01) for data in MISPLACED),
    Goal("embeddings", BY_HAND, 1.15),
]  # fmt: skip


def duels(results: dict) -> dict[str, dict[str, dict]]:
    """Data -> arm -> the rule against it, at the shortest length of training."""
    found: dict[str, dict[str, dict]] = {}
    for group in sorted(results["groups"], key=lambda group: group["steps"]):
        found.setdefault(group["data"], group["duels"])
    return found


def named(rivals: dict[str, dict], arm: str) -> str:
    """The arm's name among the duels of a data set: by hand, the best log-normal of those with the most seeds."""
    if arm != BY_HAND:
        return arm
    swept = [name for name in rivals if name.startswith("log-normal:")]
    return max(
        swept, key=lambda name: (rivals[name]["error"]["seeds"], rivals[name]["error"]["mean"]), default="EDM shifted"
    )


def of(rivals: dict[str, dict], arm: str) -> dict | None:
    """The duel with an arm."""
    return rivals.get(named(rivals, arm))


def fewer_steps(results: dict) -> str:
    """Of codes, and where EDM's recipe is not at home: how many times fewer steps the rule needs than each rival."""
    against = ("EDM", "entropy", RELEASE, BY_HAND)
    found = duels(results)
    rows = [
        [NAMES[data], *(times(duel["steps"]) if duel else "" for duel in (of(found[data], arm) for arm in against))]
        for data in (*CODES, *MISPLACED)
        if data in found
    ]
    return markdown(["data", "EDM's recipe", "entropy rate", f"{RELEASE}'s default", "log-normal by hand"], rows)


def at_home(results: dict) -> str:
    """Where EDM's recipe is at home, or its samples are judged: the rule's error and Fréchet distances, times EDM's."""
    rows = []
    for group in results["groups"]:
        if group["data"] not in (*HOME, *MISPLACED) or "EDM" not in group["duels"]:
            continue
        told = [times(group["duels"]["EDM"]["error"]), *map(times, distances(results, group["data"])), "", ""][:4]
        rows.append([NAMES[group["data"]], *told])
    rows.sort(key=lambda row: [*NAMES.values()].index(row[0]))
    return markdown(["data", "error", "Fréchet, components", "Fréchet, random", "Fréchet, classifier"], rows)


def goals(results: dict) -> str:
    """What was aimed at, and what came out."""
    found, rows = duels(results), []
    for goal in GOALS:
        duel = of(found.get(goal.data, {}), goal.arm)
        if duel is None:
            continue
        if goal.steps:
            aim, measured, told = f"{goal.steps:g} times fewer steps", [duel["steps"]], times(duel["steps"])
        elif goal.error:
            aim, measured, told = f"error at most {goal.error:g} times", [duel["error"]], times(duel["error"])
        else:
            measured = distances(results, goal.data)
            aim, told = "Fréchet distances no larger", ", ".join(map(times, measured))
        rows.append([NAMES[goal.data], goal.arm, aim, told, verdict(goal, measured)])
    return markdown(["data", "against", "aim", "measured", ""], rows)


def distances(results: dict, data: str) -> list[dict]:
    """The rule's Fréchet distances in parts of those of EDM's recipe, one for each feature set."""
    group = min((group for group in results["groups"] if group["data"] == data), key=lambda group: group["steps"])
    further = group["extra"].get("rule", {})
    return [found["ratio"] for name, found in further.items() if name.startswith("frechet")]


def verdict(goal: Goal, measured: list[dict]) -> str:
    """Reached, or within two standard errors of it, or missed; the worst of what was measured."""
    most = goal.error or goal.samples
    short = [(goal.steps - one["mean"] if goal.steps else one["mean"] - most, one["error"] or 0.0) for one in measured]
    if all(away <= 0 for away, _ in short):
        return "reached"
    return "within the error" if all(away <= 2 * error for away, error in short) else "missed"
