"""What few losses give a schedule, and what one bad loss takes: the last rows of the goals in docs/research/rule.md.

python -m experiments.early [--short] [--out FILE]; two minutes of a core, --short half a minute. Losses are
those of exact denoisers, sample by sample, so that nothing but their number and their noise is in the way.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

import infonoise_ext as inx
from experiments.benefit.mixture import STD, patches
from experiments.script import markdown, rounded, run
from infonoise_ext.demo.dna import DNAGrammar
from infonoise_ext.oracle import CurieWeiss, Gaussian
from infonoise_ext.watch.plot import BLUE, GREEN, ORANGE

SAMPLES = 300
BATCHES = (1, 2, 4)
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
LONG = 20_000  # losses that a table is compared with
FACTORS = (1e3, 1e6, 1e12, 1e38)  # of a loss, to its bin's mean
PLACES = (0.01, 0.2, 0.6, 3.0, 30.0)  # levels where one loss is spoiled
TIMES = {"once": 1, "once in 20,000": 3}  # batches of `LONG` losses, each with one that is spoiled
GREATEST = 3e38  # float32 ends here

Losses = Callable[[Tensor, torch.Generator], Tensor]


def errors(sample: Callable, denoise: Callable, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """[n] squared errors per element of a denoiser, of fresh samples at noise levels sigma [n]."""
    clean = sample(len(sigma), generator)
    level = sigma.to(clean.dtype)
    noisy = clean + level.unsqueeze(1) * torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
    return (denoise(noisy, level) - clean).square().mean(1)


def sources() -> dict[str, tuple[Losses, float]]:
    """Losses of exact denoisers, and the standard deviation for EDM's weight."""
    grammar, mixture, gaussian, magnet = DNAGrammar(), patches(), Gaussian(64, 0.5), CurieWeiss(64, 1.5, 0.5)
    return {
        "Gaussian": (partial(errors, gaussian.sample, gaussian.denoise), 0.5),
        "natural patches": (partial(errors, mixture.sample, mixture.denoise), STD),
        "coupled bits": (partial(errors, magnet.sample, magnet.denoise), 1.0),
        "DNA motifs": (partial(errors, grammar.sample, grammar.posterior_mean), 0.87),
    }


def trained(losses: Losses, std: float, samples: int, batch: int, seed: int) -> inx.InfoNoise:
    """A schedule after a loop over so many losses."""
    schedule, generator = inx.InfoNoise(seed=seed, weight=inx.EDMWeight(std)), torch.Generator().manual_seed(seed)
    sigma = schedule.sample(batch)
    for _ in range(samples // batch):
        sigma = schedule.advance(sigma, losses(sigma, generator).float())
    return schedule


def quantiles(schedule: inx.InfoNoise) -> Tensor:
    """Of log sigma, at `QUANTILES`."""
    return schedule.table().level(torch.tensor(QUANTILES)).log()


def early(losses: Losses, std: float, streams: int) -> dict:
    """How far the quantiles of short runs are from a long run's: means and greatest over streams, for each batch."""
    long = quantiles(trained(losses, std, LONG, 100, 1))
    found = {}
    for batch in BATCHES:
        short = [trained(losses, std, SAMPLES, batch, 100 + seed) for seed in range(streams)]
        away = torch.stack([(quantiles(schedule) - long).abs() for schedule in short])
        active = sum(schedule.status == "active" for schedule in short)
        found[str(batch)] = {"active": active, "mean": rounded(away.mean(0)), "most": rounded(away.amax(0))}
    return found


def moved(batches: list[tuple[Tensor, Tensor]], std: float, factor: float) -> float:
    """Total variation that spoiled losses move a table by, one in each batch: the most over `PLACES`."""
    sound = recorded(batches, std)
    tables = (recorded([spoiled(*batch, place, factor) for batch in batches], std) for place in PLACES)
    return max(float((table - sound).abs().sum() / 2) for table in tables)


def batch_of(losses: Losses, seed: int) -> tuple[Tensor, Tensor]:
    """`LONG` noise levels over the whole range, and losses at them."""
    generator = torch.Generator().manual_seed(seed)
    sigma = inx.LogUniform(0.002, 80.0).sample(LONG, generator=generator)
    return sigma, losses(sigma, generator).float()


def spoiled(sigma: Tensor, error: Tensor, place: float, factor: float) -> tuple[Tensor, Tensor]:
    """A batch whose loss nearest to a level is multiplied."""
    at, error = int((sigma.log() - math.log(place)).abs().argmin()), error.clone()
    error[at] = min(float(error[at].double()) * factor, GREATEST)
    return sigma, error


def recorded(batches: list[tuple[Tensor, Tensor]], std: float) -> Tensor:
    """Masses of the table after those batches."""
    schedule = inx.InfoNoise(seed=1, weight=inx.EDMWeight(std))
    for sigma, error in batches:
        schedule.observe(sigma, error)
    schedule.refresh()
    return schedule.table().cdf.diff()


def measure(short: bool) -> dict:
    streams, factors = (2, FACTORS[:1]) if short else (16, FACTORS)
    known = sources()
    found: dict = {"streams": streams, "early": {}, "spoiled": {}}
    for name, (losses, std) in tqdm(known.items(), unit="source"):
        found["early"][name] = early(losses, std, streams)
        batches = [batch_of(losses, seed) for seed in range(max(TIMES.values()))]
        found["spoiled"][name] = {
            when: rounded([moved(batches[:times], std, factor) for factor in factors]) for when, times in TIMES.items()
        }
    return found


def draw(results: dict) -> Figure:
    """Distance of each quantile from a long run's, mean over streams."""
    figure = Figure((9.0, 3.0), layout="constrained")
    axes = figure.subplots(1, len(results["early"]), sharey=True, squeeze=False)[0]
    for axis, (name, batches) in zip(axes, results["early"].items(), strict=True):
        for (batch, found), colour in zip(batches.items(), (BLUE, ORANGE, GREEN), strict=True):
            axis.plot(QUANTILES, found["mean"], "o-", color=colour, label=f"batch {batch}")
        axis.axhline(0.3, color="black", linewidth=0.8, linestyle=":")
        axis.set(title=name, xlabel="quantile", ylim=(0, None))
    axes[0].set_ylabel(f"log σ from a long run's,\nafter {SAMPLES} losses")
    axes[-1].legend()
    return figure


def table(results: dict) -> str:
    """Of every source: the greatest distance of a quartile and of any quantile, and what a spoiled loss moves."""
    header = ["exact losses of", "active", "quartiles, mean (most)", "10% and 90%, mean (most)", *TIMES]
    rows = []
    for name, batches in results["early"].items():
        runs = len(batches) * results["streams"]
        active = sum(found["active"] for found in batches.values())
        inner, outer = [told(batches, places) for places in ((1, 2, 3), (0, 4))]
        spoiled = [f"{max(found):.3f}" for found in results["spoiled"][name].values()]
        rows.append([name, f"{active} of {runs}", inner, outer, *spoiled])
    return markdown(header, rows)


def told(batches: dict, places: tuple[int, ...]) -> str:
    """The worst of quantiles at those places, over batches: mean and most over streams."""
    mean, most = (max(found[kind][at] for found in batches.values() for at in places) for kind in ("mean", "most"))
    return f"{mean:.2f} ({most:.2f})"


def main() -> None:
    run("early", __doc__, measure, draw, table)


if __name__ == "__main__":
    main()
