"""Run every experiment, write what each found, and say how long it took.

The short forms take a minute or less each on a busy core and go to --out; they show that all runs, and roughly what
comes out. --full is what the committed results and the tables in docs/ come from, and replaces them.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tqdm import tqdm

from . import lab
from .lab import Experiment, Outcome


def main() -> int:
    options = parsed()
    chosen = [experiment for experiment in lab.EXPERIMENTS if not options.only or experiment.name in options.only]
    if options.list:
        for experiment in chosen:
            print(f"{experiment.name:18} {experiment.minutes:6g} min  {experiment.page or ''}")
        return 0
    if options.fill:
        return fill()
    if options.full:
        minutes = sum(experiment.minutes for experiment in chosen)
        print(f"{len(chosen)} experiments, about {minutes:g} minutes of one core, {options.jobs} at a time")
    outcomes = run_all(chosen, options)
    print(summary(outcomes))
    if options.full:
        fill()
    return int(any(outcome.trouble for outcome in outcomes))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [experiment.name for experiment in lab.EXPERIMENTS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="these experiments alone")
    parser.add_argument("--list", action="store_true", help="names, minutes of the full form, pages; run nothing")
    parser.add_argument("--full", action="store_true", help="write experiments/results anew and fill docs/ from it")
    parser.add_argument("--fill", action="store_true", help="fill the tables in docs/ from the results; run nothing")
    parser.add_argument("--jobs", type=int, default=2, help="experiments at a time (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("lab_output"),
                        help="folder of the short results and of all logs (default: %(default)s)")  # fmt: skip
    return parser.parse_args()


def run_all(chosen: list[Experiment], options: argparse.Namespace) -> list[Outcome]:
    logs = options.out.resolve()
    logs.mkdir(parents=True, exist_ok=True)
    folder = lab.RESULTS if options.full else logs
    with ThreadPoolExecutor(options.jobs) as pool, tqdm(total=len(chosen), unit="experiment") as bar:
        futures = {pool.submit(lab.run, experiment, options.full, folder, logs): experiment for experiment in chosen}
        for future in as_completed(futures):
            outcome = future.result()
            bar.set_postfix_str(f"{outcome.experiment.name} {'failed' if outcome.trouble else 'done'}")
            bar.update()
    return [future.result() for future in futures]


def summary(outcomes: list[Outcome]) -> str:
    """A line for each experiment: its time, and what it wrote or why it did not."""
    lines = []
    for experiment, seconds, files, trouble in outcomes:
        told = f"failed, {trouble}: see {experiment.name}.log" if trouble else " ".join(path.name for path in files)
        lines.append(f"{experiment.name:18} {seconds:6.0f} s  {told}")
    return "\n".join(lines)


def fill() -> int:
    changed = lab.fill()
    print("\n".join(f"filled {page.relative_to(lab.ROOT)}" for page in changed) or "every table was up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
