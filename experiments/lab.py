"""The laboratory: its list of experiments, how one is run, and the tables that documents show of them."""

import importlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"
PLACE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- /table -->)", re.DOTALL)


class Experiment(NamedTuple):
    """A module whose `main()` takes --short and --out, and whose `table(results)` makes Markdown of its JSON.

    Attributes:
        name: stem of its files, and of the place `<!-- table: NAME -->` ... `<!-- /table -->` in its page. Another
            table, by a function FUNCTION(results) of the module, has its place at `<!-- table: NAME.FUNCTION -->`.
        module: what `python -m` runs.
        minutes: of the full form on one busy core.
        page: document that holds its table; None where none does.
    """

    name: str
    module: str
    minutes: float
    page: str | None = None


EXPERIMENTS = [
    Experiment("highdim_steps", "experiments.highdim.steps", 5, "docs/research/high-dimension.md"),
    Experiment("highdim_laws", "experiments.highdim.laws", 1.2, "docs/research/high-dimension.md"),
    Experiment("highdim_learned", "experiments.highdim.learned.__main__", 8, "docs/research/learned-profiles.md"),
    Experiment("grids", "experiments.grids.compare", 17, "docs/research/inference-grids.md"),
    Experiment("benefit", "experiments.benefit.compare", 250, "docs/research/rule.md"),
    Experiment("transfer", "experiments.benefit.transfer", 10, "docs/research/rule.md"),
    Experiment("early", "experiments.early", 2, "docs/research/rule.md"),
    Experiment("defaults", "experiments.defaults", 45, "docs/defaults.md"),
    Experiment("signals", "experiments.signals", 8, "docs/how-it-works.md"),
    Experiment("method_decision", "experiments.method.decision", 0.2, "docs/research/method.md"),
    Experiment("method_models", "experiments.method.models", 1, "docs/research/method.md"),
    Experiment("method_data", "experiments.method.data", 1, "docs/research/method.md"),
    Experiment("method_memory", "experiments.method.memory", 2, "docs/research/method.md"),
    Experiment("method_grids", "experiments.method.grids", 1, "docs/research/method.md"),
]


class Outcome(NamedTuple):
    """How a run ended: `trouble` is empty where it succeeded."""

    experiment: Experiment
    seconds: float
    files: list[Path]
    trouble: str


def run(experiment: Experiment, full: bool, folder: Path, logs: Path) -> Outcome:
    """Run one experiment in a process of its own; what it prints goes to NAME.log."""
    out, log = folder / f"{experiment.name}.json", logs / f"{experiment.name}.log"
    command = [sys.executable, "-m", experiment.module, "--out", str(out), *([] if full else ["--short"])]
    began, started = time.monotonic(), time.time()
    with log.open("w") as stream:
        code = subprocess.run(command, cwd=ROOT, env=_environment(), stdout=stream, stderr=subprocess.STDOUT).returncode
    seconds = time.monotonic() - began
    files = sorted(path for path in folder.glob(f"{experiment.name}.*") if path.stat().st_mtime >= started)
    trouble = f"exit status {code}" if code else "" if out in files else f"{out} was not written"
    return Outcome(experiment, seconds, [path for path in files if path != log], trouble)


def _environment() -> dict[str, str]:
    return os.environ | {"TQDM_MININTERVAL": "10"}


def filled(text: str, results: Path) -> str:
    """A document's text with every table as its experiment's JSON in that folder has it.

    Raises:
        ValueError: a place that names no experiment, or one that has no result.
    """
    return PLACE.sub(lambda place: f"{place[1]}{_table(place[2], results)}\n{place[3]}", text)


def _table(place: str, results: Path) -> str:
    name, _, function = place.partition(".")
    modules = {experiment.name: experiment.module for experiment in EXPERIMENTS}
    path = results / f"{name}.json"
    if name not in modules or not path.exists():
        raise ValueError(f"table names {name!r}, but must name an experiment with results, such as {list(modules)}")
    module = importlib.import_module(modules[name])
    return getattr(module, function or "table")(json.loads(path.read_text()))


def pages() -> list[Path]:
    """Documents that hold a table of an experiment."""
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in documents if PLACE.search(path.read_text())]


def fill() -> list[Path]:
    """Write the tables of the committed results into the documents; those that changed."""
    changed = []
    for page in pages():
        text = page.read_text()
        if (new := filled(text, RESULTS)) != text:
            page.write_text(new)
            changed.append(page)
    return changed
