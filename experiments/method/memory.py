"""Where a finite data set stops standing for its distribution: DNA, whose mmse is exact, for docs/research/method.md.

python -m experiments.method.memory [--short] [--out FILE]; two minutes on one busy core, --short some seconds.
Both mmse are means over draws of an exact posterior, with standard errors.
"""

import math

import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from experiments.method.curves import nats, nats_error, told
from experiments.method.dna import DNA
from experiments.method.style import noise_axis
from experiments.script import markdown, plus_minus, rounded, run
from infonoise_ext.oracle import EmpiricalBayes
from infonoise_ext.state.profile import Profile
from infonoise_ext.watch.plot import BLUE, GREEN, ORANGE

LOW, HIGH = 0.15, 50.0  # below, no letter of DNA is in doubt
SEED = 1
PARTED = 0.1  # relative difference of the two mmse that counts as parting


def parting(exact: Profile, empirical: Profile) -> int:
    """Index of the highest bin in which the data set's mmse is too low by `PARTED`."""
    low = empirical.mmse < (1 - PARTED) * exact.mmse
    return int(low.nonzero()[-1])


def described(profile: Profile) -> dict:
    return {
        "rate": rounded(profile.rate, 4),
        "standard_error": rounded(profile.standard_error / profile.sigma.square(), 2),
        "told": rounded(told(profile), 4),
        "nats": rounded(nats(profile), 4),
        "nats_error": rounded(nats_error(profile), 2),
    }


def measure(short: bool) -> dict:
    sizes, draws, bins = ((64, 1024), 128, 30) if short else ((256, 2048, 16384), 1024, 80)
    truth = DNA(4 * draws)
    exact = truth.profile(LOW, HIGH, bins)
    sets = {}
    for n in tqdm(sizes, unit="set"):
        data = truth.sample(n, torch.Generator().manual_seed(SEED))
        profile = EmpiricalBayes(data, samples=draws).profile(LOW, HIGH, bins)
        k = parting(exact, profile)
        sets[str(n)] = described(profile) | {
            "parting": rounded(float(exact.edges[k + 1]), 3),
            "told_at_parting": rounded(float(told(exact)[k + 1]), 3),
        }
    grid = {"sigma": rounded(exact.sigma, 4), "edges": rounded(exact.edges, 4)}
    return {"seed": SEED, "draws": draws} | grid | {"exact": described(exact), "sets": sets}


def draw(results: dict) -> Figure:
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    rate, information = figure.subplots(1, 2)
    sigma, edges, exact = results["sigma"], results["edges"], results["exact"]
    rate.plot(sigma, exact["rate"], color="black", lw=1.8, label="the distribution")
    information.plot(edges, exact["told"], color="black", lw=1.8)
    for (n, found), colour in zip(results["sets"].items(), (ORANGE, GREEN, BLUE), strict=False):
        rate.errorbar(sigma, found["rate"], found["standard_error"], color=colour, lw=1.4, label=f"{n} sequences of it")
        information.plot(edges, found["told"], color=colour, lw=1.4)
        information.axhline(math.log(int(n)), color=colour, lw=0.8, ls=":")
        information.text(20, math.log(int(n)) + 0.4, f"log {n}", color=colour, fontsize=9)
        for axes in (rate, information):
            axes.axvline(found["parting"], color=colour, lw=0.8, ls="--")
    for axes, title in ((rate, "Rate, and where the set's is 10% too low"), (information, "Nats that y tells of x0")):
        noise_axis(axes, (0.2, 0.5, 1, 2, 5, 10, 20, 50), title)
        axes.set_ylim(0, None)
    rate.set_ylabel("nats per unit log σ")
    information.set_ylabel("nats")
    rate.legend(frameon=False, fontsize=9)
    return figure


def table(results: dict) -> str:
    header = ["sequences n", "log n", "nats of the set's curve", "10% too low below σ", "nats told there, of log n"]
    rows = []
    for n, found in results["sets"].items():
        share = found["told_at_parting"] / math.log(int(n))
        rows.append([n, f"{math.log(int(n)):.2f}", plus_minus(found, "nats"), f"{found['parting']:.2f}",
                     f"{found['told_at_parting']:.2f}, {100 * share:.0f}%"])  # fmt: skip
    rows.append(["the distribution", "", plus_minus(results["exact"], "nats"), "", ""])
    return markdown(header, rows)


def main() -> None:
    run("method_memory", __doc__, measure, draw, table)


if __name__ == "__main__":
    main()
