"""The picture of docs/oracles.md: fixed points, rates and errors of some oracles.

python experiments/oracles.py [--out docs/oracles.png]; a few seconds.
"""

import argparse

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infonoise_ext import oracle
from infonoise_ext.plot import BLUE, GREEN, GREY, ORANGE


def bifurcation(axes: Axes) -> None:
    """Fixed points of the two-point denoiser; unstable ones dashed."""
    sigma = torch.linspace(0.2, 1.6, 1401, dtype=torch.float64)
    for p, colour in ((0.5, BLUE), (0.6, ORANGE)):
        branches = oracle.TwoPoint(p).fixed_points(sigma)
        for k, points in enumerate(branches.unbind(1)):
            stable = points if k != 1 else points.where(sigma >= 1, torch.nan)
            axes.plot(sigma, stable, color=colour, lw=1.6, label=f"p = {p}" if k == 2 else None)
            if k == 1:
                axes.plot(sigma, points.where(sigma < 1, torch.nan), color=colour, lw=1.2, ls="--")
    axes.axvline(1, color=GREY, lw=0.8, ls=":")
    axes.set(xlabel="noise level σ", ylabel="y = denoise(y, σ)", title="Two points: where the flow rests")


def information(axes: Axes) -> None:
    """Entropy and its rate for two points."""
    sigma = torch.logspace(-1.7, 1, 400, dtype=torch.float64)
    model = oracle.TwoPoint()
    axes.plot(sigma, model.entropy(sigma), color=BLUE, lw=1.6, label="H(x0 | y), nats")
    axes.plot(sigma, model.entropy_rate(sigma), color=ORANGE, lw=1.6, label="rate, mmse / σ³")
    axes.plot(sigma, model.entropy_rate(sigma) * sigma, color=GREEN, lw=1.6, label="per log σ, mmse / σ²")
    axes.axvline(1, color=GREY, lw=0.8, ls=":")
    axes.set(xscale="log", xlabel="noise level σ", title="Two points: what the noise hides")


def windows(axes: Axes) -> None:
    """The two windows of two modes, and of the magnet."""
    sigma = torch.logspace(-2, 4, 400, dtype=torch.float64)
    for dim, colour in ((64, BLUE), (1024, ORANGE), (16384, GREEN)):
        axes.plot(sigma, oracle.TwoModes(dim).mmse(sigma) / dim, color=colour, lw=1.6, label=f"two modes, d = {dim}")
    magnet = oracle.CurieWeiss(1024).asymptotic_mmse(sigma) / 1024
    axes.plot(sigma, magnet, color=GREY, lw=1.4, ls="--", label="magnet, d = 1024, limit")
    axes.set(xscale="log", xlabel="noise level σ", ylabel="mmse / d", title="Modes part at σ ~ √d")


def main() -> None:
    """Draw and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="docs/oracles.png")
    figure = Figure(figsize=(12.0, 3.6), layout="constrained")
    drawings = ((bifurcation, "upper right"), (information, "upper left"), (windows, "lower right"))
    for axes, (draw, place) in zip(figure.subplots(1, 3), drawings, strict=True):
        draw(axes)
        axes.title.set_fontsize(10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc=place)
    figure.savefig(parser.parse_args().out, dpi=110)


if __name__ == "__main__":
    main()
