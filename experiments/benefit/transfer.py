"""How far does what is learned at one noise level serve the others? A table in docs/research/rule.md.

python -m experiments.benefit.transfer [--short] [--out FILE]; ten minutes of a core, --short a few seconds.

A network that had learned at all levels goes on in a narrow band around one of them. What then falls elsewhere was
taught by the band: transfer at a distance is the fall of the error there over its fall in the band.
"""

import copy
import math
from statistics import fmean, stdev

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import infonoise_ext as inx
from experiments.script import markdown, run
from infonoise_ext.watch.plot import BLUE, GREEN, GREY, ORANGE

from .rules import SIGMA_MAX, SIGMA_MIN, Drawn, floored, schedule
from .scores import HeldOut
from .tasks import Task, task

WINDOWS = {"dna": 0.1, "text": -0.2, "bits": -0.2, "patches": -1.3}
"""Mean log sigma of what the rule draws there."""
BAND = 0.1
OFFSETS = (-0.6, -0.3, 0.0, 0.3, 0.6)
DISTANCES = (0.0, 0.3, 0.6, 0.9, 1.2)
EDGES = torch.logspace(math.log10(SIGMA_MIN), math.log10(SIGMA_MAX), 1025, dtype=torch.float64)
FULL, SHORT = (
    {"before": 600, "after": 300, "samples": 256, "seeds": 3},
    {"before": 5, "after": 5, "samples": 8, "seeds": 1},
)


def measure(short: bool) -> dict:
    size = SHORT if short else FULL
    chosen = list(WINDOWS)[: 1 if short else None]
    return size | {"transfer": {data: transfer(data, **size) for data in chosen}}


def transfer(data: str, before: int, after: int, samples: int, seeds: int) -> list[dict[str, float]]:
    """At each distance the fall of the error over the fall in the band, both over all bands: mean over seeds."""
    ratios = [falls(data, before, after, samples, seed) for seed in range(seeds)]
    found = [[ratio[i] / ratio[0] for ratio in ratios] for i in range(len(DISTANCES))]
    return [{"mean": fmean(own), "error": stdev(own) / len(own) ** 0.5 if seeds > 1 else 0.0} for own in found]


def falls(data: str, before: int, after: int, samples: int, seed: int) -> list[float]:
    """At each distance from a band the relative fall of the error, a mean over bands."""
    torch.manual_seed(seed)
    made, middle = task(data), WINDOWS[data]
    test = HeldOut(made.sample, math.exp(middle - 1.8), math.exp(middle + 1.8), 24, samples, seed)
    trained = taught(made, made.network(), schedule("rule", made, seed), before, seed)
    known = errors(test, trained)
    undecided = known > 1e-3 * test.clean.shape[1] * test.sigma.square()  # beyond it a code is read without error
    found = []
    for offset in OFFSETS:
        band = floored(EDGES, inx.LogNormal(middle + offset, BAND).mass(EDGES))
        narrow = Drawn(inx.Table(band.edges, band.cdf, made.weight), seed)
        fall = 1 - errors(test, taught(made, copy.deepcopy(trained), narrow, after, seed + 100)) / known
        apart = (test.sigma.log() - middle - offset).abs()
        found.append([fall[undecided & ((apart - distance).abs() < 0.15)].mean() for distance in DISTANCES])
    return torch.tensor(found).nanmean(0).tolist()


def taught(made: Task, net: nn.Module, levels, steps: int, seed: int) -> nn.Module:
    """The network after so many steps."""
    optimizer = torch.optim.Adam(net.parameters(), lr=made.rate, fused=True)
    clean, noise = (torch.Generator().manual_seed(start + seed) for start in (1000, 2000))
    for _ in range(steps):
        x = made.sample(made.batch, clean)
        made.step(net, optimizer, levels, x, torch.randn(x.shape, generator=noise))
    return net


def errors(test: HeldOut, net: nn.Module) -> Tensor:
    return test.per_level(test.denoised(net) - test.clean)


def draw(results: dict) -> Figure:
    figure = Figure((5.0, 3.6), layout="constrained")
    axis = figure.subplots()
    for colour, (data, found) in zip((BLUE, GREEN, ORANGE, GREY), results["transfer"].items(), strict=False):
        mean, error = ([one[key] for one in found] for key in ("mean", "error"))
        axis.errorbar(DISTANCES, mean, [2 * one for one in error], color=colour, marker="o", capsize=3, label=data)
    axis.axhline(0, color="black", lw=1)
    axis.set(xlabel="distance in log sigma", ylabel="fall of the error, over that in the band", ylim=(-2, 2))
    axis.legend(frameon=False)
    return figure


def table(results: dict) -> str:
    rows = [
        [data, *(f"{one['mean']:.2f} ± {one['error']:.2f}" for one in found)]
        for data, found in results["transfer"].items()
    ]
    return markdown(["distance in log sigma", *map(str, DISTANCES)], rows)


def main() -> None:
    run("transfer", __doc__, measure, draw, table)


if __name__ == "__main__":
    main()
