"""mmse and signals of real images and of DNA, for docs/research/method.md.

python -m experiments.method.data [--short] [--out FILE]; a minute on one busy core, --short half of one.
Images: empirical Bayes, the mean over draws of the exact posterior of a finite set. DNA: its exact posterior.
"""

import math

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from experiments.method.curves import densities, levels, nats, nats_error, window
from experiments.method.dna import DNA
from experiments.method.samples import digits, mnist, patches
from experiments.method.style import COLOURS, noise_axis
from experiments.script import markdown, plus_minus, rounded, run
from infonoise_ext.oracle import EmpiricalBayes, Oracle
from infonoise_ext.watch.plot import BLUE, GREY

LOW, HIGH = 0.02, 80.0


def sources(draws: int) -> dict[str, Oracle]:
    """Digits, MNIST and patches as finite sets, and DNA as a distribution."""
    sets = {"digits 8x8": digits, "MNIST 14x14": mnist, "photograph patches 8x8": patches}
    return {name: EmpiricalBayes(load(), samples=draws) for name, load in sets.items()} | {"DNA": DNA(draws)}


def gaussian_mmse(data: Tensor, sigma: Tensor) -> Tensor:
    """The mmse of Gaussian data of the same covariance, which no data exceed: that of the best linear denoiser."""
    variances = torch.linalg.eigvalsh(data.T.cov(correction=0)).clamp(min=0)
    return (variances / (1 + variances / sigma.square().unsqueeze(1))).sum(1)


def described(source: Oracle, bins: int) -> dict:
    profile = source.profile(LOW, HIGH, bins)
    data = source.data if isinstance(source, EmpiricalBayes) else source.sample(20_000, torch.Generator())
    return {
        "n": len(data) if isinstance(source, EmpiricalBayes) else None,
        "d": source.dim,
        "std": rounded((source.total_variance / source.dim) ** 0.5, 3),
        "nats": rounded(nats(profile), 4),
        "nats_error": rounded(nats_error(profile), 2),
        "window": rounded(window(profile), 3),
        "mmse": rounded(profile.mmse, 4),
        "standard_error": rounded(profile.standard_error, 2),
        "gaussian_mmse": rounded(gaussian_mmse(data, profile.sigma), 4),
        "densities": {signal: rounded(density, 4) for signal, density in densities(profile).items()},
    }


def measure(short: bool) -> dict:
    draws, bins = (128, 32) if short else (512, 64)
    found = {name: described(source, bins) for name, source in tqdm(sources(draws).items(), unit="source")}
    centres = levels(LOW, HIGH, 2 * bins)[1::2]
    return {"draws": draws, "sigma": rounded(centres, 4), "data": found}


def draw(results: dict) -> Figure:
    figure = Figure(figsize=(9.0, 5.2), layout="constrained")
    rows = figure.subplots(2, 4, sharex=True)
    for column, (name, found) in enumerate(results["data"].items()):
        draw_mmse(rows[0][column], results["sigma"], found)
        for signal, density in found["densities"].items():
            rows[1][column].plot(results["sigma"], density, color=COLOURS[signal], lw=1.4, label=signal)
        rows[1][column].set_ylim(0, 1.3 * max(max(density) for density in found["densities"].values()))
        for axes, title in zip(rows[:, column], (name, ""), strict=True):
            noise_axis(axes, (0.02, 0.1, 1, 10, 80), title)
            if found["n"]:
                axes.axvline(found["window"][1], color="black", lw=0.8, ls=":")
        rows[0][column].set_xlabel("")
    rows[0][0].set_ylabel("mmse / d")
    rows[1][0].set_ylabel("density per unit log σ")
    rows[0][0].legend(frameon=False, fontsize=8, loc="lower right", handlelength=1.2)
    rows[1][0].legend(frameon=False, fontsize=8, loc="upper left", handlelength=1.2)
    return figure


def draw_mmse(axes: Axes, sigma: list[float], found: dict) -> None:
    d = found["d"]
    mmse, error, linear = ([x / d for x in found[key]] for key in ("mmse", "standard_error", "gaussian_mmse"))
    axes.plot(sigma, linear, color=GREY, lw=1.2, ls="--", label="best linear")
    axes.errorbar(sigma, mmse, error, color=BLUE, lw=1.4, label="posterior mean")
    axes.set(yscale="log", ylim=(1e-5, 2))


def table(results: dict) -> str:
    header = ["data", "samples", "d", "std", "nats", "log n", "σ at 10%, 50%, 90% of the nats"]
    rows = []
    for name, found in results["data"].items():
        n = found["n"]
        window = ", ".join(f"{sigma:.2g}" for sigma in found["window"])
        rows.append([name, str(n or "all"), str(found["d"]), f"{found['std']:.2f}", plus_minus(found, "nats"),
                     f"{math.log(n):.2f}" if n else "", window])  # fmt: skip
    return markdown(header, rows)


def main() -> None:
    run("method_data", __doc__, measure, draw, table)


if __name__ == "__main__":
    main()
