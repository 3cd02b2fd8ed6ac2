"""The arms: schedules of the package, and the ones that are tried here."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import infonoise_ext as inx
from infonoise_ext.curves.density import Schedule
from infonoise_ext.demo.arms import SecondMoment
from infonoise_ext.demo.train import train_step
from infonoise_ext.ops.eager.signal import learnable, window

from .tasks import Task

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
FLOOR = 0.05


class Drawn(Schedule):
    """A fixed density with random numbers of its own."""

    def __init__(self, density: inx.Density, stream: int) -> None:
        self.density, self.weight = density, density.weight
        self.generator = torch.Generator().manual_seed(stream)

    def table(self, group: int = 0) -> inx.Density:
        return self.density

    def sample(self, n: int, group: Tensor | None = None) -> Tensor:
        return self.table(group).sample(n, generator=self.generator)


class Followed(Drawn):
    """A schedule that learns, drawn from with random numbers of its own."""

    def __init__(self, schedule: Schedule, stream: int) -> None:
        super().__init__(schedule.table(), stream)
        self.schedule, self.weight = schedule, schedule.weight

    def observe(self, sigma: Tensor, error: Tensor, mask: Tensor | None = None, group: Tensor | None = None) -> None:
        self.schedule.observe(sigma, error)

    def step(self) -> None:
        self.schedule.step()
        self.density = self.schedule.table()


class OfCrossEntropy(inx.InfoNoise):
    """Is to be told the cross-entropy of a sample in place of its squared error."""


class Redrawn(Drawn):
    """The control: records by `InfoNoise` and draws from its very table, by another sampler and stream."""

    def __init__(self, recorder: inx.InfoNoise, stream: int) -> None:
        super().__init__(recorder.table(), stream)
        self.recorder, self.weight, self.steps = recorder, recorder.weight, 0

    def observe(self, sigma: Tensor, error: Tensor, mask: Tensor | None = None, group: Tensor | None = None) -> None:
        self.recorder.observe(sigma, error, mask)

    def step(self) -> None:
        self.recorder.step()
        self.steps += 1
        due = self.steps % self.recorder.config.refresh_every == 0
        if due and self.recorder.summary()["refreshes"]:
            self.density = self.renewed()

    def renewed(self) -> inx.Table:
        return self.recorder.table()


class Sharpened(Redrawn):
    """The rule at a power that is given.

    Args:
        recorder: learns the mmse, and serves its own table until the warm-up is over.
        stream: seed of the draws.
        power: 0 is the floor alone; the larger, the narrower.
    """

    def __init__(self, recorder: inx.InfoNoise, stream: int, power: float) -> None:
        super().__init__(recorder, stream)
        self.power = torch.tensor(power, dtype=torch.float64)

    def renewed(self) -> inx.Table:
        profile = self.recorder.profile()
        sigma, found = profile.sigma, torch.tensor(self.recorder.summary()["variance"], dtype=torch.float64)
        weight = self.recorder.weight(sigma)
        mass = learnable(window(profile.rate, sigma, found), self.power, sigma, weight, found) / weight
        return floored(profile.edges, mass)


def floored(edges: Tensor, mass: Tensor) -> inx.Table:
    """A table of that mass in bins uniform in log sigma, with the floor under it."""
    return inx.Table.from_mass(edges, (1 - FLOOR) * mass / mass.sum() + FLOOR / len(mass))


def rule(task: Task, stream: int, **options: Any) -> inx.InfoNoise:
    """InfoNoise with the package's defaults, or some options."""
    return inx.InfoNoise(SIGMA_MIN, SIGMA_MAX, weight=task.weight, seed=stream, **options)


def entropy(task: Task, stream: int) -> Schedule:
    """The entropy rate without a gate."""
    return rule(task, stream, signal="entropy")


def published(task: Task, stream: int) -> Schedule:
    """The method as its paper has it: the entropy rate behind the gate for this kind of data."""
    return rule(task, stream, signal="entropy", pivot=inx.PowerLaw() if task.codes else inx.Onset())


def control(task: Task, stream: int) -> Schedule:
    return Redrawn(rule(task, stream), stream)


def sharpened(task: Task, stream: int, power: str) -> Schedule:
    return Sharpened(rule(task, stream), stream, float(power))


def edm(task: Task, stream: int) -> Schedule:
    """EDM's recipe, which was chosen for data of standard deviation 0.5."""
    return Drawn(inx.LogNormal(-1.2, 1.2, inx.EDMWeight(task.std)), stream)


def edm_shifted(task: Task, stream: int) -> Schedule:
    """EDM's recipe moved to the standard deviation of the data."""
    return Drawn(inx.LogNormal(-1.2 + math.log(task.std / 0.5), 1.2, inx.EDMWeight(task.std)), stream)


def log_uniform(task: Task, stream: int) -> Schedule:
    return Drawn(inx.LogUniform(SIGMA_MIN, SIGMA_MAX, task.weight), stream)


def log_normal(task: Task, stream: int, mean: str, std: str) -> Schedule:
    """One of a sweep by hand, over the same floor."""
    edges = torch.logspace(math.log10(SIGMA_MIN), math.log10(SIGMA_MAX), 257, dtype=torch.float64)
    table = floored(edges, inx.LogNormal(float(mean), float(std)).mass(edges))
    return Drawn(inx.Table(table.edges, table.cdf, task.weight), stream)


def logit_normal(task: Task, stream: int) -> Schedule:
    """SD3's logit-normal of the flow time sigma / (std + sigma)."""
    return Drawn(inx.LogitNormal(0.0, 1.0, shift=task.std, weight=task.weight), stream)


def second_moment(task: Task, stream: int) -> Schedule:
    """Importance sampling of what the score measures: log-uniform, with the loss weight or else the likelihood's."""
    if task.step is not train_step:
        raise ValueError("second moment is for squared errors, but the task is trained by cross-entropy")
    return Followed(SecondMoment(sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX, base=task.weight), stream)


def cdcd(task: Task, stream: int) -> Schedule:
    """CDCD's time warping (arXiv 2211.15089): density in proportion to the slope of the cross-entropy in log sigma."""
    if task.step is train_step:
        raise ValueError("CDCD is for cross-entropies, but the task is trained by squared errors")
    return OfCrossEntropy(SIGMA_MIN, SIGMA_MAX, signal="mmse", seed=stream)


RULES: dict[str, Callable[..., Schedule]] = {
    "rule": rule,
    "control": control,
    "entropy": entropy,
    "published": published,
    "EDM": edm,
    "EDM shifted": edm_shifted,
    "log-uniform": log_uniform,
    "logit-normal": logit_normal,
    "second moment": second_moment,
    "CDCD": cdcd,
    "log-normal": log_normal,
    "sharpened": sharpened,
}
UNFLOORED = ("EDM", "EDM shifted", "log-uniform", "logit-normal", "second moment")


def without_floor(arm: str, mean: float, std: float) -> tuple[float, float]:
    """Mean and standard deviation of log sigma of what an arm draws beside the floor, from those with it."""
    if arm.split(":")[0] in UNFLOORED:
        return mean, std
    low, high = math.log(SIGMA_MIN), math.log(SIGMA_MAX)
    middle, square = (low + high) / 2, (low**2 + low * high + high**2) / 3  # of the log-uniform floor
    own = (mean - FLOOR * middle) / (1 - FLOOR)
    return own, math.sqrt(max(0.0, (mean**2 + std**2 - FLOOR * square) / (1 - FLOOR) - own**2))


def schedule(arm: str, task: Task, stream: int) -> Schedule:
    """The schedule that an arm such as "rule", "sharpened:3" or "log-normal:0.1:0.25" names.

    Raises:
        KeyError: its first word is not a key of `RULES`.
    """
    rule, *numbers = arm.split(":")
    return RULES[rule](task, stream, *numbers)
