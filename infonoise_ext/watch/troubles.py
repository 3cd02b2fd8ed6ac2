"""What shows in a schedule's state that it trains at noise levels nobody chose: a title, when it holds, a sentence.

docs/troubleshooting.md goes from each to its cause and its cure. Everything here waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..ops.schemas import COUNTERS, SKIP_CAUSES, STATS, STATUSES
from ..state.config import InfoNoiseConfig
from ..state.profile import Profile
from ..state.table import Table
from ..state.tensors import State
from .held_out import parted

Facts = dict[str, Any]

FEW = 64
"""Losses below which nothing is said of them."""

APART = 0.1
"""Distance of the recorded levels' distribution from the drawn one's, beyond chance, that is another distribution."""

RESCALED = 8.0
"""Factor between newer and older losses of a bin that learning does not explain."""

SPIKE = 64.0
"""Factor between the largest loss of a bin and the mean of the others that makes it a spike."""

FLAT = 0.2
"""Share of the largest error, left at a tenth of its root and below, that no network makes which knows its input there.

Answering with the noisy sample itself would leave a hundredth.
"""

IDLE = 256
"""Draws in one step that no accumulation of gradients explains."""

PART = 0.1
"""Share of the bins in which training does better than on held-out samples beyond chance that is memory.

By chance it is reached at most once in 0.1 x 30,000 = 3,000 looks, however the bins' errors hang together.
"""

LATE = 5
"""Refreshes in vain before that is said."""

BEGUN = 20
"""Refreshes after which a network has begun to learn at low noise."""

STALE = 1000
"""Steps for which a weight that is trained may go without `refresh_weight`."""


class Trouble(NamedTuple):
    """A sentence under its title; docs/troubleshooting.md has an entry for each title."""

    title: str
    text: str

    def __str__(self) -> str:
        """One line of text."""
        return f"{self.title}: {self.text}"


RULES: dict[str, tuple[Callable[[Facts], Any], str]] = {
    "No steps": (
        lambda f: f["recorded"] >= 1000 and not f["steps"] and not f["refreshes"],
        "{recorded:,} losses are recorded, but `step()` was never called: the warm-up lasts for ever. Call it after "
        "each optimizer step, or use `advance`.",
    ),
    "Rare steps": (
        lambda f: f["steps"] and f["draws"] > IDLE * f["steps"],
        "noise levels were drawn {draws:,} times in {steps:,} steps: call `step()` after each optimizer step, not once "
        "an epoch.",
    ),
    "Nothing recorded": (
        lambda f: f["waits"] >= LATE and not f["refreshes"] and f["recorded"] < FEW and not f["leans"],
        "{waits:,} refreshes were due, but {recorded:,} losses are recorded and {skipped:,} were skipped: is `observe` "
        "called, and with sigma in the units of the data?",
    ),
    "Levels not drawn here": (
        lambda f: f["apart"] > APART,
        "the recorded noise levels are not those that were drawn: their medians are {recorded_median:.3g} and "
        "{drawn_median:.3g}. Record the sigma that the network got: not t, nor an index, and after any shift or clamp; "
        "levels that were drawn but rejected are not recorded by design.",
    ),
    "Not the clean error": (
        lambda f: f["refreshes"] >= BEGUN and f["flat"] > FLAT,
        "at low noise the errors are still {flat:.0%} of the largest, and the noisy sample itself would have less: are "
        "they UNWEIGHTED, of the CLEAN sample (`clean_error` converts others), and in the order of the levels? Else "
        "the network has not begun to learn there.",
    ),
    "Weight out of date": (
        lambda f: f["stale"] >= STALE,
        "the weight has parameters that are trained, and the tables are built with what it was {stale:,} steps "
        "ago: call `refresh_weight()` now and then.",
    ),
    "Loss rescaled": (
        lambda f: max(f["rescaled"], 1 / f["rescaled"]) > RESCALED,
        "newer errors are {rescaled:.3g} times the older ones of the same noise level: another reduction (sum for "
        "mean), other units or other code since a resume. The bins now mix both: call `reset()`, or keep one scale.",
    ),
    "Spikes": (
        lambda f: 10 * f["spikes"] >= f["bins"],
        "in {spikes:,} of {bins:,} bins one error is more than {factor:.0f} times the others: damaged samples, or an "
        "overflow. Each counts for little here, but not in the loss.",
    ),
    "Range too high": (
        lambda f: f["left_below"] > 0.25,
        "at sigma_min = {sigma_min:.3g} there is still much to learn: lower it, to about a hundredth of the data's "
        "standard deviation, unless another network serves the levels below.",
    ),
    "Range too low": (
        lambda f: f["left_above"] > 0.1,
        "at sigma_max = {sigma_max:.3g} the data, of standard deviation {std:.3g} or more, still shows through the "
        "noise: raise it, to about 20 standard deviations, unless another network serves the levels above.",
    ),
    "Information gated away": (
        lambda f: f["refreshes"] and f["kept"] < 0.1,
        "the gate keeps {kept:.1%} of the signal: its pivot, {pivot:.3g}, is too high for this data.",
    ),
    "Pure noise": (
        lambda f: f["saturated"] > 0.5,
        "{saturated:.0%} of the draws are above ten standard deviations of the data, where nothing is left to tell: is "
        "the weight the one that multiplies the error of the CLEAN sample?",
    ),
    "Low-noise collapse": (
        lambda f: f["refreshes"] and f["collapsed"] > max(0.5, 2 * f["uniform_mass"]),
        "{collapsed:.0%} of the draws are below ten times sigma_min, and below a tenth of the data's standard "
        "deviation: the network's own error floor looks like information there. Give a `bound`, or raise sigma_min.",
    ),
    "Memorised": (
        lambda f: f["better"] >= max(1, PART * f["compared"]),
        "in {better:,} of {compared:,} bins the training errors are {ratio:.2g} of those of held-out samples: the "
        "network remembers its data, and its losses are no information. Record errors of held-out samples instead.",
    ),
    "Degenerate profile": (
        lambda f: f["status"] == STATUSES.index("degenerate profile kept out"),
        "the last profile is no distribution and was kept out, as were {degenerates:,} in all; the last good table "
        "serves. Look at the recorded errors: all zero, or overflowing.",
    ),
}
"""By title: whether it holds, and its sentence."""


def troubles(
    state: State, config: InfoNoiseConfig, group: int = 0, held_out: Profile | None = None, weighed: int | None = None
) -> list[Trouble]:
    """What is wrong with a group's schedule, as far as its state tells, and what is beside it: see `facts`."""
    return told(facts(state, config, group, held_out, weighed))


def told(known: Facts) -> list[Trouble]:
    """The rules that hold."""
    return [Trouble(title, sentence.format(**known)) for title, (holds, sentence) in RULES.items() if holds(known)]


def facts(
    state: State, config: InfoNoiseConfig, group: int, held_out: Profile | None = None, weighed: int | None = None
) -> Facts:
    """What the rules and their sentences speak of, as plain numbers.

    Args:
        state: of the schedule.
        config: of the schedule.
        group: index.
        held_out: profile of samples that are not trained on, if there is one.
        weighed: steps when a weight that is trained was evaluated last; None of any other weight.
    """
    counters = dict(zip(COUNTERS, state.counters[group].tolist(), strict=True))
    stats = dict(zip(STATS, state.stats[group].tolist(), strict=True))
    edges, cdf = state.edges.cpu(), state.cdf[group].cpu()
    table = Table.trusted(edges, cdf)
    count, ring = state.count[group].cpu(), state.ring[group].cpu()
    earlier = state.previous_count[group].cpu()
    newer = count - earlier[0] if bool(earlier.any()) else count
    std = math.sqrt(max(0.0, stats["variance"]))
    compared, better, ratio = (
        (0, 0, 1.0) if held_out is None else parted(ring, count, state.row("sigma").cpu(), held_out)
    )
    return counters | stats | {
        "recorded": int(count.sum()),
        "skipped": sum(counters[cause] for cause in SKIP_CAUSES),
        "draws": int(state.rng[1]),
        "leans": len(state.mmse) > 1 and bool(state.mmse[group, 0] >= 0),
        "compared": compared,
        "better": better,
        "ratio": ratio,
        "bins": config.bins,
        "sigma_min": config.sigma_min,
        "sigma_max": config.sigma_max,
        "std": std,
        "apart": max(
            distance(count - earlier[1], cdf), distance(earlier[1] - earlier[0], state.previous_cdf[group].cpu())
        ),
        "recorded_median": _median(newer, edges),
        "drawn_median": float(table.level(0.5)),
        "rescaled": rescaled(ring, count, earlier[0]),
        "spikes": spikes(ring, count),
        "factor": SPIKE,
        "flat": flat(ring, count, state.row("sigma").cpu()),
        "stale": 0 if weighed is None else counters["steps"] - weighed,
        "mass_lowest_decade": float(table.below(10 * config.sigma_min)),
        "collapsed": float(table.below(min(10 * config.sigma_min, std / 10))),
        "uniform_mass": math.log(10) / math.log(config.sigma_max / config.sigma_min),
        "saturated": 1 - float(table.below(10 * std)) if counters["refreshes"] else 0.0,
        "left_below": _left_below(state, group, stats["variance"]),
        "left_above": stats["variance"] / (stats["variance"] + config.sigma_max**2),
    }  # fmt: skip


def distance(recorded: Tensor, cdf: Tensor) -> float:
    """How far the cdf of the recorded levels, by bin, is from the drawn one's beyond chance (Kolmogorov, 1 in 1500)."""
    total = int(recorded.sum())
    if total < FEW or bool((recorded < 0).any()):
        return 0.0
    return max(0.0, float((recorded.cumsum(0) / total - cdf[1:]).abs().max()) - 2 / math.sqrt(total))


def rescaled(ring: Tensor, count: Tensor, earlier: Tensor) -> float:
    """The median over bins, by their losses, of the mean of the losses since `earlier` over the mean of the older."""
    capacity = ring.shape[-1]
    age = (count.unsqueeze(-1) - 1 - torch.arange(capacity, device="cpu")) % capacity  # 0 is the newest
    held = age < count.clamp(max=capacity).unsqueeze(-1)
    new = held & (age < (count - earlier).unsqueeze(-1))
    old = held & ~new
    known = torch.minimum(new.sum(-1), old.sum(-1))
    ratio = _mean(ring, new) / _mean(ring, old)
    usable = (known >= 4) & ratio.isfinite() & (ratio > 0)
    if int(known[usable].sum()) < FEW:
        return 1.0
    order = ratio[usable].argsort()
    weight = known[usable][order].double().cumsum(0)
    return float(ratio[usable][order][int((weight < weight[-1] / 2).sum())])


def spikes(ring: Tensor, count: Tensor) -> int:
    """Bins of 16 losses or more of which one is more than `SPIKE` times the mean of the others."""
    held = torch.arange(ring.shape[-1], device="cpu") < count.unsqueeze(-1)
    losses = torch.where(held, ring.double(), 0.0)
    number, largest = held.sum(-1), losses.amax(-1)
    others = (losses.sum(-1) - largest) / (number - 1).clamp(min=1)
    return int(((number >= 16) & (largest > SPIKE * others)).sum())


def flat(ring: Tensor, count: Tensor, sigma: Tensor) -> float:
    """The errors below a tenth of the root of the largest, as a share of the largest; 0 while few are known there.

    Means of bins with 4 losses or more, each without its own largest.
    """
    held = torch.arange(ring.shape[-1], device="cpu") < count.unsqueeze(-1)
    losses = torch.where(held, ring.double(), 0.0)
    number = held.sum(-1)
    mean = (losses.sum(-1) - losses.amax(-1)) / (number - 1).clamp(min=1)
    known = number >= 4
    top = float(torch.where(known, mean, 0.0).max())
    low = known & (sigma < math.sqrt(top) / 10)
    total = int(number[low].sum())
    if total < FEW:
        return 0.0
    return float((number * mean)[low].sum()) / total / top


def _mean(ring: Tensor, chosen: Tensor) -> Tensor:
    return torch.where(chosen, ring.double(), 0.0).sum(-1) / chosen.sum(-1)


def _median(count: Tensor, edges: Tensor) -> float:
    """Of levels that are counted by bin."""
    if not bool((count >= 0).all() & (count > 0).any()):
        return math.nan
    return float(Table.from_mass(edges, count.double()).level(0.5))


def _left_below(state: State, group: int, variance: float) -> float:
    """What is learnable at the lowest level, as a share of the most."""
    mmse, sigma = state.mmse[group].cpu(), state.row("sigma").cpu()
    if not variance > 0 or bool(mmse[0] < 0):
        return 0.0
    gaussian = variance / (variance + sigma.square())
    r = torch.minimum(mmse / sigma.square(), gaussian)
    window = r * (1 - r) * gaussian * (1 - gaussian)
    return float(window[0] / window.max())
