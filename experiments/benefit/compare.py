"""What the schedule saves, on which data, against which rivals? Tables in docs/should-i.md and docs/research/rule.md.

python -m experiments.benefit.compare [--short | --report] [--out FILE] [--processes N]

Arms that share network, data and noise are trained with several seeds. Each run that ends adds a line to FILE.jsonl,
and a run that has its line is not trained again: a comparison goes on where it was stopped, and starts anew where the
file is removed. The full form takes four hours of a core; --short starts anew, and takes half a minute.
"""

import argparse
import platform
from pathlib import Path

import torch

from experiments.script import RESULTS, written

from . import plan
from .debian import missing
from .figure import figure_of
from .headline import at_home, fewer_steps, goals
from .runs import Job, finished, run_all
from .statistics import summary
from .sweep import swept, winners
from .tables import table

__all__ = ["at_home", "fewer_steps", "goals", "main", "swept", "table"]  # the tables, for the pages


def main(argv: list[str] | None = None) -> None:
    options = parse(argv)
    torch.set_num_threads(1)
    lines = options.out.with_suffix(".jsonl")
    if options.short:
        lines.unlink(missing_ok=True)
    if not options.report:
        run_all(obtainable((plan.short if options.short else plan.full)()), lines, options.processes)
    results = report(finished(lines))
    options.out.write_text(written(results))
    figure_of(results).savefig(options.out.with_suffix(".png"), dpi=100, pil_kwargs={"optimize": True})
    print(table(results))


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="six short runs, into files of their own")
    parser.add_argument("--report", action="store_true", help="train nothing: tables and figure of the finished runs")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="the JSON file; lines and figure go beside it")
    options = parser.parse_args(argv)
    options.out = options.out or RESULTS / f"benefit{'_short' if options.short else ''}.json"
    return options


def obtainable(jobs: list[Job]) -> list[Job]:
    """Jobs whose data are here; of the others it prints what they need."""
    trouble = {data: missing(data) for data in dict.fromkeys(job.data for job in jobs)}
    for data, reason in trouble.items():
        if reason:
            print(f"skipped: {data}, as {reason}")
    return [job for job in jobs if not trouble[job.data]]


def report(runs: list[dict]) -> dict:
    """What tables and figure need of the runs."""
    return {
        "runs": len(runs),
        "commits": sorted({run["commit"] for run in runs}),
        "versions": runs[0]["versions"],
        "machine": f"one thread a run, {platform.machine()} CPU",
        "groups": summary(runs),
        "swept": winners(runs),
    }


if __name__ == "__main__":
    main()
