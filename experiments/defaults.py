"""One option of InfoNoise changed at a time, on codes and on real numbers: the table of docs/defaults.md.

python -m experiments.defaults [--short] [--out FILE] [--processes N]

Runs are those of `experiments.benefit`, finished ones are not trained again. The full form takes 45 minutes of a core,
--short half a minute.
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from experiments.benefit.runs import Job, finished, run_all
from experiments.benefit.statistics import differences, mean_and_error, pooled
from experiments.benefit.tables import effect, with_error
from experiments.script import RESULTS, markdown, written
from infonoise_ext.watch.plot import BLUE, ORANGE

STEPS = {"dna": 2000, "patches": 3000}
SEEDS = (0, 1, 2)
CHANGES = {
    "bins": (32, 128, 256),
    "capacity": (64, 1024),
    "warmup": (10, 200, 1000),
    "refresh_every": (10, 200),
    "min_count": (4, 64, 256),
    "floor": (0, 0.02, 0.2),
    "reach": (0.4, 0.6),
    "signal": ("entropy",),
    "prior": ("LogUniform",),
    "sampling": ("stratified",),
}
ARMS = [f"option:{name}:{value}" for name, values in CHANGES.items() for value in values]


def jobs(short: bool) -> list[Job]:
    if short:
        return [Job("dna", arm, 200, 0, 0, 2) for arm in ("rule", *ARMS[:3])]
    return [
        Job(data, arm, steps, seed, 0, 4) for seed in SEEDS for arm in ("rule", *ARMS) for data, steps in STEPS.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="four short runs, into files of their own")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="the JSON file; its lines go beside it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = options.out or RESULTS / f"defaults{'_short' if options.short else ''}.json"
    lines = out.with_suffix(".jsonl")
    if options.short:
        lines.unlink(missing_ok=True)
    run_all(jobs(options.short), lines, options.processes)
    results = report(finished(lines))
    out.write_text(written(results))
    draw(results).savefig(out.with_suffix(".png"), dpi=100, pil_kwargs={"optimize": True})
    print(table(results))


def report(runs: list[dict]) -> dict:
    """For each option: what it changes of the last score on each data set, paired by seed."""
    arms = {(run["data"], run["arm"]): [] for run in runs}
    for run in runs:
        arms[run["data"], run["arm"]].append(run)
    found: dict[str, dict] = {}
    for data in dict.fromkeys(run["data"] for run in runs):
        apart = {arm: differences(own, arms[data, "rule"]) for (of, arm), own in arms.items() if of == data}
        least = pooled([values for arm, values in apart.items() if arm != "rule"])
        found[data] = {arm: mean_and_error(values, least) for arm, values in apart.items() if arm != "rule"}
        found[data]["rule"] = mean_and_error([run["score"][-1] for run in arms[data, "rule"]])
    return {"runs": len(runs), "commits": sorted({run["commit"] for run in runs}), "versions": runs[0]["versions"],
            "data": found}  # fmt: skip


def draw(results: dict) -> Figure:
    """Each change's effect on the score, in parts of it, with two standard errors."""
    figure = Figure((6.0, 5.0), layout="constrained")
    axis = figure.subplots()
    for (data, found), colour, shift in zip(results["data"].items(), (BLUE, ORANGE), (-0.12, 0.12), strict=False):
        arms = [arm for arm in ARMS if arm in found]
        effect = [found[arm]["mean"] / found["rule"]["mean"] for arm in arms]
        error = [2 * (found[arm]["error"] or 0) / found["rule"]["mean"] for arm in arms]
        at = [place + shift for place in range(len(arms))]
        axis.errorbar(effect, at, xerr=error, color=colour, marker="o", ls="", capsize=3, label=data)
    axis.axvline(0, color="black", lw=1)
    axis.set_yticks(range(len(arms)), [" ".join(arm.split(":")[1:]) for arm in arms])
    axis.invert_yaxis()
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    axis.set(title="change of the score by one option; above 0 is worse")
    axis.legend(frameon=False)
    return figure


def table(results: dict) -> str:
    """What each change does to the score; lower is better."""
    names = {"dna": "DNA: nats above the entropy", "patches": "patches: excess error"}
    data = [name for name in names if name in results["data"]]
    base = [with_error(results["data"][name]["rule"], 3) for name in data]
    rows = [["the defaults", *base]]
    for arm in ARMS:
        if all(arm in results["data"][name] for name in data):
            _, option, value = arm.split(":")
            rows.append([f"`{option}` {value}", *(effect(results["data"][name][arm], 3) for name in data)])
    origin = f"{results['runs']} runs; commit {', '.join(results['commits'])}; torch {results['versions']['torch']}."
    return markdown(["", *(names[name] for name in data)], rows) + f"\n\n{origin}"


if __name__ == "__main__":
    main()
