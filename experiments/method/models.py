"""The four signals of six models whose mmse is known, for docs/research/method.md.

python -m experiments.method.models [--short] [--out FILE]; a minute on one busy core, --short some seconds.
Exact but for the magnet, whose mmse is a mean over draws.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm import tqdm

from experiments.method.curves import above, below, densities, nats, nats_error, window
from experiments.method.style import COLOURS, noise_axis
from experiments.script import markdown, rounded, run
from infonoise_ext import oracle

LOW, HIGH = 0.02, 1000.0
MIXTURE = ((0.3, 0.4, 0.3), (-8.0, -0.5, 0.5), (0.03, 0.03, 0.03))


def models(draws: int) -> dict[str, oracle.Oracle]:
    return {
        "Gaussian": oracle.Gaussian(1),
        "two points": oracle.TwoPoint(),
        "mixture of three": oracle.GaussianMixture(*MIXTURE),
        "two modes, d = 64": oracle.TwoModes(64),
        "two modes, d = 1024": oracle.TwoModes(1024),
        "magnet, d = 256": oracle.CurieWeiss(256, samples=draws),
    }


def measure(short: bool) -> dict:
    draws, bins = (64, 60) if short else (512, 100)
    found = {}
    for name, model in tqdm(models(draws).items(), unit="model"):
        profile = model.profile(LOW, HIGH, bins)
        found[name] = {
            "d": model.dim,
            "nats": rounded(nats(profile), 4),
            "window": rounded(window(profile), 3),
            "nats_error": rounded(nats_error(profile), 2),
            "above": {signal: rounded(share, 3) for signal, share in above(profile, model.dim**0.25).items()},
            "below": rounded(below(profile, profile.sigma), 3),
            "densities": {signal: rounded(density, 4) for signal, density in densities(profile).items()},
        }
    return {"draws": draws, "sigma": rounded(profile.sigma, 4), "models": found}


def draw(results: dict) -> Figure:
    figure = Figure(figsize=(9.0, 5.0), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True).flatten()
    for axes, (name, found) in zip(panels, results["models"].items(), strict=True):
        draw_densities(axes, results["sigma"], found)
        noise_axis(axes, (0.02, 0.1, 1, 10, 100, 1000), name)
        if found["d"] > 1:
            axes.axvline(found["d"] ** 0.25, color="black", lw=0.8, ls=":")
    for axes in panels[:3]:
        axes.set_xlabel("")
    for axes in panels[::3]:
        axes.set_ylabel("density per unit log σ")
    panels[0].legend(frameon=False, fontsize=8, loc="upper right")
    return figure


def draw_densities(axes: Axes, sigma: list[float], found: dict) -> None:
    """The densities, over the share of the nats below sigma as an area as high as the panel."""
    top = 1.05 * max(max(density) for density in found["densities"].values())
    axes.fill_between(sigma, [top * share for share in found["below"]], color=COLOURS["entropy"], alpha=0.1, lw=0)
    for name, density in found["densities"].items():
        axes.plot(sigma, density, "--" if name == "length" else "-", color=COLOURS[name], lw=1.5, label=name)
    axes.set_ylim(0, top)


def table(results: dict) -> str:
    header = ["model", "nats", "σ at 10%, 50%, 90% of the nats", *(f"{name} above d^(1/4)" for name in COLOURS)]
    rows = []
    for name, found in results["models"].items():
        window = ", ".join(f"{sigma:.3g}" for sigma in found["window"])
        above = [f"{100 * found['above'][signal]:.2g}%" if found["d"] > 1 else "" for signal in COLOURS]
        error = f" ± {found['nats_error']:.2g}" if found["nats_error"] else ""
        rows.append([name, f"{found['nats']:.4g}{error}", window, *above])
    return markdown(header, rows)


def main() -> None:
    run("method_models", __doc__, measure, draw, table)


if __name__ == "__main__":
    main()
