"""The tables of docs/research/inference-grids.md, from the JSON that `compare` writes."""

import math
from collections.abc import Iterator
from statistics import fmean, stdev

from experiments.script import markdown

from .rules import EDM, JUDGED_BY_SAMPLES

Series = list[list[float]]  # of each seed, at each number of evaluations
ROUNDING = 1e-6  # an error below this is float32's
SCORES = {"frechet": "Fréchet distance", "nll": "-log p of samples, nats", "motif_rate": "motif rate"}


def table(results: dict) -> str:
    """Every table, in Markdown."""
    parts = ["Error over that of EDM's grid, geometric mean over data sets (wins-ties-losses over data sets)."]
    parts += [_ratios(results, method) for method in results["evaluations"]]
    parts.append("Error over the standard deviation of the data, mean ± standard deviation over seeds.")
    methods = list(results["runs"][0]["quality"])
    parts += [_absolute(results, data, methods, JUDGED_BY_SAMPLES, errors) for data in names(results)]
    for key, title in SCORES.items():
        known = [name for name in names(results) if key in runs(results, name)[0]["converged"]]
        parts += [f"{title}, mean ± standard deviation over seeds."] if known else []
        parts += [_quality(results, data, key) for data in known]
    return "\n\n".join(parts)


def names(results: dict) -> list[str]:
    return list(dict.fromkeys(run["data"] for run in results["runs"]))


def runs(results: dict, data: str) -> list[dict]:
    return [run for run in results["runs"] if run["data"] == data]


def errors(results: dict, data: str, method: str, rule: str) -> Series:
    return [run["error"][method][rule] for run in runs(results, data)]


def scores(key: str):
    def read(results: dict, data: str, method: str, rule: str) -> Series:
        return [[score[key] for score in run["quality"][method][rule]] for run in runs(results, data)]

    return read


def log_ratios(own: Series, edm: Series) -> Iterator[tuple[float, float]]:
    """Mean over seeds of log own / edm, and its standard error (0 for one seed), at each number of evaluations."""
    for a, b in zip(zip(*own, strict=True), zip(*edm, strict=True), strict=True):
        logs = [math.log(max(x, ROUNDING) / max(y, ROUNDING)) for x, y in zip(a, b, strict=True)]
        yield fmean(logs), stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else 0.0


def verdict(mean: float, error: float) -> int:
    """1 is lower than EDM's by more than 2 standard errors, -1 higher, 0 neither."""
    return 0 if abs(mean) <= 2 * error else int(math.copysign(1, -mean))


def _ratios(results: dict, method: str) -> str:
    sets = names(results)
    rows = []
    for rule in runs(results, sets[0])[0]["error"][method]:
        pairs = [(errors(results, data, method, rule), errors(results, data, method, EDM)) for data in sets]
        cells = []
        for column in zip(*(log_ratios(*pair) for pair in pairs), strict=True):
            won = [verdict(*cell) for cell in column]
            record = "" if rule == EDM else " ({}-{}-{})".format(*(won.count(k) for k in (1, 0, -1)))
            cells.append(f"{math.exp(fmean(mean for mean, _ in column)):.2f}{record}")
        rows.append([rule, *cells])
    return markdown([method, *(f"{n} evaluations" for n in results["evaluations"][method])], rows)


def _absolute(results: dict, data: str, methods: list[str], rules: tuple[str, ...], read) -> str:
    counts = {m: results["evaluations"][m][: len(read(results, data, m, rules[0])[0])] for m in methods}
    head = [data, *(f"{method} {n}" for method in methods for n in counts[method])]
    rows = []
    for rule in rules:
        columns = [column for m in methods for column in zip(*read(results, data, m, rule), strict=True)]
        rows.append([rule, *(_spread(column) for column in columns)])
    return markdown(head, rows)


def _quality(results: dict, data: str, key: str) -> str:
    own = runs(results, data)
    converged = _spread([run["converged"][key] for run in own])
    text = _absolute(results, data, list(own[0]["quality"]), JUDGED_BY_SAMPLES, scores(key))
    return f"{text}\n\nThe converged solution: {converged}."


def _spread(values) -> str:
    digits = 3 if abs(fmean(values)) < 10 else 2
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{spread}"
