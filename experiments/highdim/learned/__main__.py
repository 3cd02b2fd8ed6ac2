"""Does the signal that drives a training schedule matter where the modes of two Gaussians in d dimensions part?

python -m experiments.highdim.learned [--short] [--out FILE]; eight minutes of one core, --short half a minute.

Small denoisers are trained on fresh samples, equal in everything but the noise levels, and compared with the exact
one. Then sampling grids are made of the profiles that the schedules have learned, and of rings full of the exact
denoiser's errors. Tables and answers: docs/research/learned-profiles.md.
"""

import argparse
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm import tqdm

from experiments.script import written
from infonoise_ext.oracle import TwoModes

from .figure import save_figure
from .grids import exact_profile, grids_of, rings
from .judge import exact, excess, masses, sampled, shares
from .tables import grids_table, settled_table, table, unit_table
from .train import ARMS, BATCH, LEARNED, settled, train

FULL = {
    "d": [64, 256, 1024], "steps": 600, "seeds": [0, 1, 2],
    "unit": [256], "settled": [64, 256, 1024, 4096, 16384, 65536],
    "profiles": [64, 256, 1024, 16384], "capacities": [64, 256, 1024],
}  # fmt: skip
SHORT = {
    "d": [64], "steps": 60, "seeds": [0], "unit": [], "settled": [64], "profiles": [64], "capacities": [],
}  # fmt: skip


def significant(value: float) -> float:
    return float(f"{float(value):.4g}")


def run(
    d: int,
    seed: int,
    steps: int,
    progress: Callable[[], object],
    arms: dict = ARMS,
    weight: Callable | None = None,
) -> dict:
    """Train and judge every arm once: plain numbers by arm."""
    model = TwoModes(d)
    nets, schedules, levels = train(model, list(arms.values()), steps, seed, weight, progress)
    numbers = shares(levels, model) | sampled(nets, len(arms), model, seed=seed)
    numbers |= {f"excess_{name}": value for name, value in excess(nets, len(arms), model).items()}
    found: dict = {name: {key: significant(v[i]) for key, v in numbers.items()} for i, name in enumerate(arms)}
    for name, schedule in zip(arms, schedules, strict=True):
        if name in LEARNED:
            found[name]["grids"] = grids_of(schedule.profile(), model)
    return {"d": d, "seed": seed, "arms": found}


def settled_shares(d: int) -> dict:
    """Probability of each window under every arm that knows the exact mmse."""
    model = TwoModes(d)
    shares_of = {name: masses(settled(model, build), model) for name, build in ARMS.items()}
    return {name: {key: significant(value) for key, value in of.items()} for name, of in shares_of.items()}


def profiles(d: int, capacities: list[int]) -> dict[str, list]:
    """Grids of the exact profile, and of rings of several capacities without the error of a network."""
    model = TwoModes(d)
    found = {"exact": [grids_of(exact_profile(model), model)]}
    return found | {f"rings of {capacity}": rings(model, capacity) for capacity in capacities}


def measure(plan: dict, save: Callable[[dict], object]) -> dict:
    """Everything; `save` is given the results after each run."""
    results = {name: plan[name] for name in ("d", "steps", "seeds")} | {"batch": BATCH, "runs": []}
    results["versions"] = {"torch": torch.__version__, "python": platform.python_version()}
    results["settled"] = {str(d): settled_shares(d) for d in plan["settled"]}
    results["profiles"] = {str(d): profiles(d, plan["capacities"]) for d in plan["profiles"]}
    results["exact"] = []
    for d in plan["d"]:
        errors = sampled(exact(TwoModes(d)), 1, TwoModes(d))
        results["exact"].append({name: significant(value) for name, value in errors.items()})
    results["unit"] = []
    total = (len(plan["d"]) + len(plan["unit"])) * len(plan["seeds"]) * plan["steps"]
    with tqdm(total=total, unit="step") as bar:
        for seed in plan["seeds"]:
            for d in plan["d"]:
                results["runs"].append(run(d, seed, plan["steps"], bar.update))
                save(results)
            for d in plan["unit"]:
                results["unit"].append(run(d, seed, plan["steps"], bar.update, LEARNED, torch.ones_like))
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
    results = measure(SHORT if options.short else FULL, lambda found: out.write_text(written(found)))
    save_figure(results, out.with_suffix(".png"))
    print(*(show(results) for show in (table, unit_table, settled_table, grids_table)), sep="\n\n")


if __name__ == "__main__":
    main()
