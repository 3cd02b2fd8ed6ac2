"""Does the signal that drives a training schedule matter where the modes of two Gaussians in d dimensions part?

python -m experiments.highdim.learned [--short] [--out FILE]; TIME on one core, --short under one minute.

Small denoisers are trained on fresh samples, equal in everything but the noise levels, and judged by the exact one:
tables in docs/learned-profiles.md. Then sampling grids are made of the profiles that the schedules have learned.
"""

import argparse
import json
import platform
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from tqdm import tqdm

from infonoise_ext.oracle import TwoModes

from .figure import save_figure
from .grids import grids_of
from .judge import exact, excess, sampled, shares
from .train import ARMS, BATCH, LEARNED, train

FULL = {"d": [64, 256, 1024], "steps": 1000, "seeds": [0, 1, 2]}
SHORT = {"d": [64], "steps": 150, "seeds": [0]}
COLUMNS = {
    "mode": ("samples at the modes' noise", "{:.1%}"),
    "place": ("samples at the place's noise", "{:.1%}"),
    "excess_odds": ("excess error, odds", "{:.2%}"),
    "excess_place": ("excess error, place", "{:.2%}"),
    "weight": ("weight - p", "{:+.4f}"),
    "variance": ("variance / std² - 1", "{:+.4f}"),
}


def significant(value: float) -> float:
    return float(f"{value:.4g}")


def run(d: int, seed: int, steps: int, progress: Any) -> dict:
    """Train and judge every arm once: plain numbers by arm."""
    model = TwoModes(d)
    nets, schedules, levels = train(model, list(ARMS.values()), steps, seed, progress=progress)
    weight = schedules[0].weight(levels)
    numbers = shares(levels, model)
    numbers |= {f"loss_{name}": share for name, share in shares(levels, model, weight).items()}
    numbers |= {f"excess_{name}": value for name, value in excess(nets, len(ARMS), model).items()}
    numbers |= sampled(nets, len(ARMS), model)
    arms = {name: {key: significant(v[i]) for key, v in numbers.items()} for i, name in enumerate(ARMS)}
    for name, schedule in zip(ARMS, schedules, strict=True):
        if name in LEARNED:
            arms[name]["grids"] = grids_of(schedule.profile(), model)
    return {"d": d, "seed": seed, "arms": arms}


def reference(d: int) -> dict:
    """What the exact denoiser samples, and the grids of the exact profile."""
    model = TwoModes(d)
    numbers = {key: significant(float(value)) for key, value in sampled(exact(model), 1, model).items()}
    return {"d": d, **numbers}


def spread(values: list[float], form: str) -> str:
    """Mean ± standard deviation; the mean alone of a single run."""
    middle = form.format(mean(values))
    return middle if len(values) == 1 else f"{middle} ± {form.format(stdev(values)).lstrip('+')}"


def table(results: dict) -> str:
    """Markdown: one block of rows for each d."""
    lines = ["| d | schedule | " + " | ".join(title for title, _ in COLUMNS.values()) + " |"]
    lines.append("|---" * (len(COLUMNS) + 2) + "|")
    for exact_row in results["exact"]:
        d = exact_row["d"]
        runs = [run["arms"] for run in results["runs"] if run["d"] == d]
        for name in ARMS:
            cells = [spread([run[name][key] for run in runs], form) for key, (_, form) in COLUMNS.items()]
            lines.append(f"| {d} | {name} | " + " | ".join(cells) + " |")
        cells = [form.format(exact_row[key]) if key in exact_row else "" for key, (_, form) in COLUMNS.items()]
        lines.append(f"| {d} | exact denoiser | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measure(d: list[int], steps: int, seeds: list[int], save: Any) -> dict:
    """All runs; `save` is given the results after each."""
    results: dict = {
        "d": d, "steps": steps, "batch": BATCH, "seeds": seeds,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "exact": [reference(dim) for dim in d], "runs": [],
    }  # fmt: skip
    with tqdm(total=len(d) * len(seeds) * steps, unit="step") as bar:
        for seed in seeds:
            for dim in d:
                results["runs"].append(run(dim, seed, steps, bar.update))
                save(results)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="d = 64, one seed and few steps, into a file of its own")
    parser.add_argument("--out", type=Path, help="the JSON file; the figure goes beside it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = options.out or Path(f"experiments/results/highdim_learned{'_short' if options.short else ''}.json")
    out.parent.mkdir(parents=True, exist_ok=True)

    def save(results: dict) -> None:
        out.write_text(json.dumps(results, indent=1) + "\n")

    results = measure(**(SHORT if options.short else FULL), save=save)
    save_figure(results, out.with_suffix(".png"))
    print(table(results))


if __name__ == "__main__":
    main()
