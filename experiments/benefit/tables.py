"""The tables of docs/research/rule.md, from the JSON that `compare` writes."""

from experiments.script import markdown

from .rules import RULES, without_floor
from .statistics import REFERENCES
from .tasks import SCORES
from .variants import CHANGES

RELEASE = "0.1.0"  # whose default was trained by its own code, and cannot be trained again by this

HEADER = ["arm", "log σ", "score", "sd over streams", "against the rule", "against EDM",
          "times fewer steps than EDM, to its score at ¼, ½, all of its run",
          "than the rule, to its end", "runs"]  # fmt: skip


def table(results: dict) -> str:
    """A table for each data set and length, and where the numbers come from."""
    parts = [section(group) for group in results["groups"]]
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    commits = ", ".join(results["commits"])
    parts.append(f"{results['runs']} runs; commit {commits}; {versions}; {results['machine']}.")
    return "\n\n".join(parts)


def section(group: dict) -> str:
    data, *variants = group["data"].split("/")
    title, digits = SCORES[data]
    title += "".join(f", {CHANGES[variant]}" for variant in variants)
    rows = [row(arm, found, digits) for arm, found in sorted(group["arms"].items(), key=place)]
    main = f"**{title}**, {group['steps']} steps.\n\n" + markdown(HEADER, rows)
    names = list(next(iter(group.get("extra", {}).values()), {}))
    return f"{main}\n\n{further(group['extra'], names)}" if names else main


def further(arms: dict[str, dict], names: list[str]) -> str:
    """Scores taken at the end, and in brackets their ratio to EDM's."""
    rows = [
        [label(arm), *(f"{with_error(found[name], 3)} ({times(found[name]['ratio'])})" for name in names)]
        for arm, found in sorted(arms.items(), key=place)
    ]
    return markdown(["arm (in brackets times EDM's)", *(name.replace("_", " ") for name in names)], rows)


def place(named: tuple[str, dict]) -> tuple:
    """An arm's place in a table: as `RULES` has its rule, then by its numbers."""
    rule, *numbers = named[0].split(":")
    return [*RULES, RELEASE].index(rule), [float(number) for number in numbers]


def row(arm: str, found: dict, digits: int) -> list[str]:
    own = "{:.2f} / {:.2f}".format(*without_floor(arm, *found["log_sigma"]))
    spread = "" if found["stream_sd"] is None else f"{found['stream_sd']:.{digits}f}"
    against = [effect(found.get(f"to {reference}"), digits) for reference in REFERENCES]
    steps = [found.get(f"fewer than {reference}") for reference in REFERENCES[::-1]]
    to_edm = ", ".join(times(one) for one in steps[0]) if steps[0] else ""
    to_default = times(steps[1][-1]) if steps[1] else ""
    return [label(arm), own, with_error(found, digits), spread, *against, to_edm, to_default, str(found["runs"])]


def label(arm: str) -> str:
    """How a table names an arm: "sharpened:3" is γ = 3."""
    rule, *numbers = arm.split(":")
    if rule == "sharpened":
        return f"γ = {numbers[0]}"
    return f"{rule} {' / '.join(numbers)}" if numbers else {RELEASE: f"{RELEASE}'s default"}.get(rule, rule)


def with_error(found: dict, digits: int) -> str:
    return f"{found['mean']:.{digits}f}" + ("" if found["error"] is None else f" ± {found['error']:.{digits}f}")


def effect(found: dict | None, digits: int) -> str:
    """A paired difference: "level" within two standard errors, and never more than a hint from one seed."""
    if found is None or found["mean"] is None:
        return ""
    told = f"{found['mean']:+.{digits}f}"
    if found["error"] is None:
        return f"one seed ({told})"
    told += f" ± {found['error']:.{digits}f}"
    return f"level ({told})" if abs(found["mean"]) <= 2 * found["error"] else told


def times(found: dict) -> str:
    if found["mean"] is None:
        return "never"
    return f"{found['mean']:.2f}" + ("" if not found["error"] else f" ± {found['error']:.2f}")
