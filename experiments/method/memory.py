"""Where a finite data set stops standing for its distribution: DNA, whose mmse is exact, for docs/method.md.

python -m experiments.method.memory [--short] [--out FILE]; two minutes on one busy core, --short some seconds.
Both mmse are means over draws of an exact posterior, with standard errors.
"""

import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

from experiments.method.curves import Curve, levels
from experiments.method.dna import DNA
from experiments.method.style import noise_axis
from experiments.script import markdown, plus_minus, rounded, run
from infonoise_ext.oracle import EmpiricalBayes
from infonoise_ext.plot import BLUE, GREEN, ORANGE

LOW, HIGH = 0.15, 50.0  # below, no letter of DNA is in doubt
SEED = 1
PARTED = 0.1  # relative difference of the two mmse that counts as parting


def told(curve: Curve) -> Tensor:
    """Nats [K + 1] that y tells of x0 beyond what it tells at the top level, from the integral of the rate."""
    return torch.cat((curve.masses()["entropy"].flip(0).cumsum(0).flip(0), curve.mmse.new_zeros(1)))


def parting(exact: Curve, empirical: Curve) -> int:
    """Index of the highest level at which the data set's mmse is too low by `PARTED`."""
    low = empirical.mmse < (1 - PARTED) * exact.mmse
    return int(low.nonzero()[-1])


def described(curve: Curve) -> dict:
    return {
        "rate": rounded(curve.mmse / curve.sigma.square(), 4),
        "standard_error": rounded(curve.error / curve.sigma.square(), 2),
        "told": rounded(told(curve), 4),
        "nats": rounded(curve.nats, 4),
        "nats_error": rounded(curve.nats_error, 2),
    }


def measure(short: bool) -> dict:
    sigma = levels(LOW, HIGH, 30 if short else 80)
    truth = DNA(256 if short else 4096)
    exact = Curve.of(truth, sigma)
    sets = {}
    for n in (64, 1024) if short else (256, 2048, 16384):
        data = truth.sample(n, torch.Generator().manual_seed(SEED))
        curve = Curve.of(EmpiricalBayes(data, samples=128 if short else 1024), sigma)
        k = parting(exact, curve)
        found = {"parting": rounded(float(sigma[k]), 3), "told_at_parting": rounded(float(told(exact)[k]), 3)}
        sets[str(n)] = described(curve) | found
    return {"seed": SEED, "sigma": rounded(sigma, 4), "exact": described(exact), "sets": sets}


def draw(results: dict) -> Figure:
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    rate, told = figure.subplots(1, 2)
    sigma, exact = results["sigma"], results["exact"]
    rate.plot(sigma, exact["rate"], color="black", lw=1.8, label="the distribution")
    told.plot(sigma, exact["told"], color="black", lw=1.8)
    for (n, found), colour in zip(results["sets"].items(), (ORANGE, GREEN, BLUE), strict=False):
        rate.errorbar(sigma, found["rate"], found["standard_error"], color=colour, lw=1.4, label=f"{n} sequences of it")
        told.plot(sigma, found["told"], color=colour, lw=1.4)
        told.axhline(math.log(int(n)), color=colour, lw=0.8, ls=":")
        told.text(20, math.log(int(n)) + 0.4, f"log {n}", color=colour, fontsize=9)
        for axes in (rate, told):
            axes.axvline(found["parting"], color=colour, lw=0.8, ls="--")
    for axes, title in ((rate, "Rate, and where the set's is 10% too low"), (told, "Nats that y tells of x0")):
        noise_axis(axes, (0.2, 0.5, 1, 2, 5, 10, 20, 50), title)
        axes.set_ylim(0, None)
    rate.set_ylabel("nats per unit log σ")
    told.set_ylabel("nats")
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
