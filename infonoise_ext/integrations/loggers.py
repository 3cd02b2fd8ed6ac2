"""TensorBoard, Weights & Biases, and whatever takes a dictionary of numbers."""

from __future__ import annotations

from collections.abc import MutableMapping
from importlib.util import find_spec
from typing import Any

import torch

from .. import Density, InfoNoise, Profile
from ..curves.arguments import refuse

MAX_BUCKETS = 512  # what wandb.Histogram takes


def log(target: Any, schedule: InfoNoise | Density, step: int, name: str = "infonoise", figure: bool = True) -> None:
    """Log `summary()`, the histogram of sampled noise levels and a figure. Waits for the device.

    The histogram is of log10 sigma and exact: it is read off the table, not sampled. The figure needs
    matplotlib and is left out without it; a fixed density has numbers only.

    Args:
        target: a TensorBoard `SummaryWriter` (anything with `add_scalar`); a W&B run; a dictionary,
            which is updated; or a callable that is called as `target(numbers, step=step)`, such as
            `accelerator.log` or `mlflow.log_metrics`. The last two take the numbers alone.
        schedule: what to log.
        step: optimizer step.
        name: prefix of every key.
        figure: whether to draw, which costs more than the rest.

    Raises:
        ValueError: target is none of these.
    """
    numbers = {f"{name}/{key}": value for key, value in schedule.summary().items()}
    if hasattr(target, "add_scalar"):
        for key, value in numbers.items():
            target.add_scalar(key, value, step)
        for key, profile in _profiles(schedule, name).items():
            target.add_histogram_raw(f"{key}/log10_sigma", **_raw_histogram(profile), global_step=step)
        for key, drawn in _figures(schedule, name, figure).items():
            target.add_figure(f"{key}/figure", drawn, step)
    elif isinstance(target, MutableMapping):
        target.update(numbers)
    elif hasattr(target, "log"):
        import wandb

        media = {
            f"{key}/log10_sigma": wandb.Histogram(np_histogram=tuple(x.numpy() for x in _histogram(profile)))
            for key, profile in _profiles(schedule, name).items()
        }
        figures = _figures(schedule, name, figure)
        if figures:
            import matplotlib.pyplot  # noqa: F401 (wandb.Image takes for granted that it is imported)
        media |= {f"{key}/figure": wandb.Image(drawn) for key, drawn in figures.items()}
        target.log(numbers | media, step=step)
    elif callable(target):
        target(numbers, step=step)
    else:
        refuse("target", target, "a SummaryWriter, a W&B run, a dictionary or a callable")


def _groups(schedule: InfoNoise | Density, name: str) -> dict[str, int]:
    groups = schedule.groups if isinstance(schedule, InfoNoise) else 0
    return {name: 0} if groups == 1 else {f"{name}/group{g}": g for g in range(groups)}


def _profiles(schedule: Any, name: str) -> dict[str, Profile]:
    return {key: schedule.profile(g) for key, g in _groups(schedule, name).items()}


def _figures(schedule: Any, name: str, wanted: bool) -> dict[str, Any]:
    if not wanted or find_spec("matplotlib") is None:
        return {}
    from ..watch.plot import schedule_figure

    return {key: schedule_figure(schedule, g) for key, g in _groups(schedule, name).items()}


def _histogram(profile: Profile) -> tuple[torch.Tensor, torch.Tensor]:
    """Mass of each bucket and the edges in log10 sigma; bins are merged only beyond `MAX_BUCKETS`."""
    bins = len(profile.sigma)
    kept = torch.linspace(0, bins, min(bins, MAX_BUCKETS) + 1, dtype=torch.float64).round().long()
    return profile.cdf[kept].diff(), profile.edges[kept].log10()


def _raw_histogram(profile: Profile) -> dict[str, Any]:
    """Arguments of `add_histogram_raw`; the moments are those of a density uniform within a bucket."""
    mass, edges = _histogram(profile)
    low, high = edges[:-1], edges[1:]
    return {
        "min": float(edges[0]),
        "max": float(edges[-1]),
        "num": 1.0,
        "sum": float((mass * (low + high) / 2).sum()),
        "sum_squares": float((mass * (low * low + low * high + high * high) / 3).sum()),
        "bucket_limits": high.tolist(),
        "bucket_counts": mass.tolist(),
    }
