"""What a schedule should equalise in training: the demo's DNA under each signal, for docs/how-it-works.md.

python -m experiments.signals [--short] [--out FILE]; 15 runs of half a minute on an idle core, --short half a minute
in all. Everything but the schedule is equal, as in the demo. This data's entropy is known: the gap is to the truth.
"""

from functools import partial
from statistics import fmean, stdev

from matplotlib.figure import Figure
from tqdm import tqdm

import infonoise_ext as inx
from experiments.script import markdown, rounded, run
from infonoise_ext.demo.arms import ARMS, SIGMA_MAX, SIGMA_MIN, Arm
from infonoise_ext.demo.bound import HeldOut
from infonoise_ext.demo.dna import DNAGrammar
from infonoise_ext.demo.train import train_arm
from infonoise_ext.watch.plot import BLUE, GREEN, GREY, ORANGE

SCHEDULES = {
    '"learnable", the default': {},
    '"entropy"': {"signal": "entropy"},
    '"rescaled"': {"signal": "rescaled"},
    '"mmse"': {"signal": "mmse"},
    '"length"': {"signal": "length"},
}
COLOURS = (BLUE, "#56B4E9", ORANGE, GREEN, "#CC79A7")
FULL = {"steps": 4000, "seeds": 3, "generated": 1000, "held_out": 256}
SHORT = {"steps": 300, "seeds": 1, "generated": 50, "held_out": 8}


def scheduled(options: dict, seed: int) -> inx.InfoNoise:
    return inx.InfoNoise(SIGMA_MIN, SIGMA_MAX, seed=seed, **options)


def measure(short: bool) -> dict:
    size = SHORT if short else FULL
    found: dict = {}
    with tqdm(total=size["seeds"] * len(SCHEDULES) * size["steps"], unit="step", smoothing=0.05) as bar:
        for name, options in SCHEDULES.items():
            ARMS[name] = Arm(name, partial(scheduled, options))
            runs = [
                train_arm(name, size["steps"], seed, evaluations=2, held_out=size["held_out"],
                          generated=size["generated"], progress=bar.update)
                for seed in range(size["seeds"])
            ]  # fmt: skip
            found[name] = {
                "gap": rounded([one["gap"][-1] for one in runs]),
                "sample_nll": rounded([one["sample_nll"] for one in runs]),
                "motif_rate": rounded([one["motif_rate"] for one in runs]),
                "density": rounded(runs[0]["density"]),
            }
    test = HeldOut(DNAGrammar(), samples=size["held_out"], bins=60, sigma_min=0.1)
    exact = {"sigma": rounded(test.sigma), "rate": rounded(test.exact_rate())}
    return size | {"schedules": found, "sigma": rounded(runs[0]["sigma"]), "exact": exact}


def draw(results: dict) -> Figure:
    figure = Figure((9.0, 3.6), layout="constrained")
    axes = figure.subplots()
    sigma, rate = results["exact"]["sigma"], results["exact"]["rate"]
    axes.fill_between(
        sigma, [x / max(rate) for x in rate], color=GREY, alpha=0.25, lw=0, label="exact rate, its peak is 1"
    )
    for colour, (name, found) in zip(COLOURS, results["schedules"].items(), strict=True):
        axes.plot(results["sigma"], found["density"], color=colour, lw=1.6, label=name)
    axes.set(xscale="log", xlim=(0.05, 80), ylim=(0, None), xlabel="noise level σ",
             ylabel="density per unit log σ", title="DNA: what each signal draws, at the end of training")  # fmt: skip
    axes.legend(frameon=False)
    return figure


def table(results: dict) -> str:
    rows = [[name, *(spread(found[key], digits) for key, digits in (("gap", 2), ("sample_nll", 2), ("motif_rate", 3)))]
            for name, found in results["schedules"].items()]  # fmt: skip
    return markdown(["signal", "bound above the truth, nats", "-log p of its samples", "motif rate"], rows)


def spread(values: list[float], digits: int) -> str:
    """Mean over the seeds, and their standard deviation if there are several."""
    mean = f"{fmean(values):.{digits}f}"
    return f"{mean} ± {stdev(values):.{digits}f}" if len(values) > 1 else mean


def main() -> None:
    run("signals", __doc__, measure, draw, table)


if __name__ == "__main__":
    main()
