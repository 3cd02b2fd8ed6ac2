"""The grids that are compared: from a network's profile and a number of steps to noise levels."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

import infonoise_ext as inx
from infonoise_ext import Profile
from infonoise_ext.grids.source import signal_of

from .network import SIGMA_MAX, SIGMA_MIN


@dataclass(frozen=True)
class Known:
    """What is known of a trained network.

    Attributes:
        offline: the frozen network's profile, on training samples.
        online: what the schedule had measured when the training ended.
    """

    offline: Profile
    online: Profile


Rule = Callable[[Known, int], Tensor]


def by_order(profile: Profile, order: int) -> Profile:
    """A profile whose "entropy" grid has density (d mmse / d log sigma)^(1 / (order + 1)).

    Order 0 is the signal "mmse", order 1 is "length".
    """
    return replace(profile, rate=signal_of(profile, "mmse") ** (1 / (order + 1)))


def closed(signal: str, blend: float = 0.0) -> Rule:
    return lambda known, n: inx.info_grid(known.offline, n, signal, blend)


def second_order(known: Known, n: int) -> Tensor:
    return inx.open_grid(known.offline, n)


def edm_between(known: Known, n: int) -> Tensor:
    """EDM's density in the range that `second_order` finds: what the range alone is worth."""
    levels = second_order(known, n)
    return inx.grids.edm_grid(n, float(levels[-2]), float(levels[0]))


EDM, DEFAULT, BEST, RANGE = "EDM, rho 7", "rescaled, half EDM", "order 2, open", "EDM, range of order 2"
RULES: dict[str, Rule] = {
    EDM: lambda known, n: inx.grids.edm_grid(n, SIGMA_MIN, SIGMA_MAX),
    "log-uniform": lambda known, n: inx.grids.edm_grid(n, SIGMA_MIN, SIGMA_MAX, math.inf),
    "entropy": closed("entropy"),
    "rescaled": closed("rescaled"),
    DEFAULT: closed("rescaled", 0.5),
    "mmse": closed("mmse"),
    "length": closed("length"),
    "order 2": lambda known, n: inx.info_grid(by_order(known.offline, 2), n, "entropy", 0.0),
    "mmse, open": lambda known, n: inx.open_grid(known.offline, n, order=0),
    "length, open": lambda known, n: inx.open_grid(known.offline, n, order=1),
    BEST: second_order,
    "order 2, open, online": lambda known, n: inx.open_grid(known.online, n),
    RANGE: edm_between,
}
JUDGED_BY_SAMPLES = (EDM, DEFAULT, "length", BEST, RANGE)
