"""Where two points are decided: fixed points, sample paths and information, for docs/research/method.md.

python -m experiments.method.decision [--short] [--out FILE]; a few seconds, and --short is the same.
Exact: quadratures for the information, bisection for the noise levels; Heun's method for the paths drawn.
"""

import math

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from experiments.method.curves import WINDOW, crossing, levels
from experiments.method.style import noise_axis
from experiments.script import markdown, rounded, run
from infonoise_ext import oracle
from infonoise_ext.interpolant import sample_ode
from infonoise_ext.watch.plot import BLUE, GREEN, GREY, ORANGE

LOW, HIGH = 0.05, 50.0
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)
PROBABILITIES = (0.5, 0.6, 0.8, 0.95)
PATH_QUANTILES = (0.03, 0.12, 0.25, 0.4, 0.47, 0.53, 0.6, 0.75, 0.88, 0.97)


def decision(p: float) -> dict:
    """Noise levels at which the branches part, information is had and its rate peaks."""
    model = oracle.TwoPoint(p)
    total = -p * math.log(p) - (1 - p) * math.log1p(-p)
    sigma = levels(0.55, 0.9, 5000)
    rate = model.entropy_rate(sigma)
    return {
        "nats": rounded(total),
        "parting": rounded(crossing(lambda s: model.fixed_points(s)[0].isnan(), 1, 0.1, 2.0)),
        "window": rounded([crossing(model.entropy, share * total, LOW, HIGH) for share in WINDOW]),
        "rate_peak": rounded(sigma[rate.argmax()].item(), 4),
        "log_rate_peak": rounded(sigma[(rate * sigma).argmax()].item(), 4),
    }


def paths(model: oracle.TwoPoint, sigma: Tensor) -> Tensor:
    """The probability flow [len(sigma), paths] on a descending grid, from quantiles of the first noise."""
    start = math.sqrt(2) * torch.special.erfinv(2 * torch.tensor(PATH_QUANTILES, dtype=torch.float64) - 1)
    y = [sigma[0] * start.unsqueeze(1)]
    for pair in sigma.unfold(0, 2, 1):
        y.append(sample_ode(model.denoise, y[-1] / pair[0], pair))
    return torch.stack(y).squeeze(2)


def measure(short: bool) -> dict:
    model = oracle.TwoPoint()
    just_below_one = torch.tensor([1 - 1e-6], dtype=torch.float64)  # where the pitchfork closes
    sigma = torch.cat((levels(TICKS[0], TICKS[-1], 240), just_below_one)).sort().values
    return {
        "decisions": {str(p): decision(p) for p in PROBABILITIES},
        "sigma": rounded(sigma),
        "fixed_points": {str(p): rounded(oracle.TwoPoint(p).fixed_points(sigma).T, 4) for p in (0.5, 0.8)},
        "paths": rounded(paths(model, sigma.flip(0)).flip(0).T, 4),
        "entropy": rounded(model.entropy(sigma), 4),
        "log_rate": rounded(model.entropy_rate(sigma) * sigma, 4),
    }


def draw(results: dict) -> Figure:
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    flow, information = figure.subplots(1, 2)
    low, _, high = results["decisions"]["0.5"]["window"]
    for axes in (flow, information):
        axes.axvspan(low, high, color=GREEN, alpha=0.12, lw=0)
        axes.axvline(1, color=GREY, lw=0.8, ls=":")
    draw_flow(flow, results)
    draw_information(information, results)
    return figure


def draw_flow(axes: Axes, results: dict) -> None:
    sigma = results["sigma"]
    for path in results["paths"]:
        axes.plot(sigma, path, color=GREY, lw=0.8, alpha=0.8)
    for p, colour in (("0.5", BLUE), ("0.8", ORANGE)):
        for k, points in enumerate(results["fixed_points"][p]):
            y = [math.nan if value is None else value for value in points]
            if k == 1:
                axes.plot(sigma, [v if s < 1 else math.nan for s, v in zip(sigma, y, strict=True)], "--", color=colour)
                y = [v if s >= 1 else math.nan for s, v in zip(sigma, y, strict=True)]
            axes.plot(sigma, y, color=colour, lw=1.8)
    noise_axis(axes, TICKS, "Two points: fixed points, and paths of the flow")
    axes.set(ylim=(-3, 3), ylabel="y")
    axes.text(0.23, 0.05, "p = 0.5", color=BLUE, fontsize=9)
    axes.text(3.2, 0.75, "p = 0.8", color=ORANGE, fontsize=9)
    axes.text(0.11, -2.7, "paths, p = 0.5", color=GREY, fontsize=9)


def draw_information(axes: Axes, results: dict) -> None:
    sigma = results["sigma"]
    axes.plot(sigma, results["entropy"], color=BLUE, lw=1.8)
    axes.plot(sigma, results["log_rate"], color=ORANGE, lw=1.8)
    axes.axhline(math.log(2), color=GREY, lw=0.8, ls=":")
    noise_axis(axes, TICKS, "What the noise hides, p = 0.5")
    axes.text(3.2, 0.59, "H(x0 | y)", color=BLUE, fontsize=9)
    axes.text(2.7, 0.15, "rate, mmse / σ²", color=ORANGE, fontsize=9)
    axes.text(0.11, 0.66, "log 2", color=GREY, fontsize=9)
    axes.text(0.75, 0.02, "80% of the nats", color=GREEN, fontsize=9)
    axes.set(ylim=(0, None), ylabel="nats; nats per unit log σ")


def table(results: dict) -> str:
    header = ["P(x0 = 1)", "nats", "branches part at σ", "σ at 10%, 50%, 90% of the nats",
              "rate peaks at σ, per unit σ", "per unit log σ"]  # fmt: skip
    rows = []
    for p, found in results["decisions"].items():
        window = ", ".join(f"{sigma:.3f}" for sigma in found["window"])
        peaks = [f"{found[key]:.3f}" for key in ("parting", "rate_peak", "log_rate_peak")]
        rows.append([p, f"{found['nats']:.3f}", peaks[0], window, *peaks[1:]])
    return markdown(header, rows)


def main() -> None:
    run("method_decision", __doc__, measure, draw, table)


if __name__ == "__main__":
    main()
