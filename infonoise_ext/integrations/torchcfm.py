"""torchcfm: times of its conditional flow matchers from noise levels, and clean errors from velocity losses.

x0 is noise, x1 is data, and t runs from 0 (noise) to 1 (data). Exact for `ConditionalFlowMatcher(0)`,
`TargetConditionalFlowMatcher` and `VariancePreservingConditionalFlowMatcher(0)` with standard normal
x0. `ExactOptimalTransportConditionalFlowMatcher(0)` pairs x0 with x1, so its noise is not independent
of the data and the I-MMSE identity does not hold: there the profile is a heuristic.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import InfoNoise
from ..channel import UniformTime
from ..curves.arguments import refuse
from ..distributed import all_ranks
from ..grids.info import info_times
from ..grids.source import Source

if TYPE_CHECKING:
    from torchcfm import ConditionalFlowMatcher


def make_schedule(matcher: ConditionalFlowMatcher, **options: Any) -> InfoNoise:
    """The schedule of a matcher whose plain loss is trained at uniform times, which are the warm-up; all ranks.

    Args:
        matcher: of a kind that the module names.
        **options: for `InfoNoise`, in place of what is read: the range, the weight that the loss puts on the clean
            error, and the prior.

    Raises:
        ValueError: a matcher with another path.
    """
    own: dict[str, Any] = {
        "sigma_min": max(1e-3, float(matcher.sigma)),
        "sigma_max": 1e3,
        "weight": partial(_flow_weight, matcher),
        "prior": UniformTime(path="vp" if _is_cosine(matcher) else "flow"),
        "process_group": None if {"rank", "world"} & set(options) else all_ranks(),
    }
    return InfoNoise(**(own | options))


def _flow_weight(matcher: ConditionalFlowMatcher, sigma: Tensor) -> Tensor:
    return clean_error(matcher, torch.ones_like(sigma), sigma).reciprocal()


def time_of(matcher: ConditionalFlowMatcher, sigma: Tensor) -> Tensor:
    """Times at which the matcher's path has the noise levels sigma; pass them as `t=`.

    Args:
        matcher: of a kind that the module names.
        sigma: noise levels, any shape; at least `matcher.sigma` for `TargetConditionalFlowMatcher`,
            whose path ends there (below it t is 1).

    Returns:
        t float32 in [0, 1], of sigma's shape.

    Raises:
        ValueError: a matcher with another path.
    """
    if _is_cosine(matcher):
        return torch.atan(1 / sigma) * (2 / math.pi)
    return (1 / (sigma + 1 - matcher.sigma)).clamp(max=1)


def clean_error(matcher: ConditionalFlowMatcher, error: Tensor, sigma: Tensor) -> Tensor:
    """Convert the squared error of the flow ut to that of the clean sample x1.

    Args:
        matcher: of a kind that the module names.
        error: [B] unweighted squared error per sample, sum or mean over its elements.
        sigma: [B] noise levels that were used.

    Returns:
        [B] in the reduction of `error`.

    Raises:
        ValueError: a matcher with another path.
    """
    # With xt = a x1 + b x0, ut is a constant of xt plus x1 (a' b - a b') / b; here sigma = b / a.
    if _is_cosine(matcher):
        return error * (2 / math.pi) ** 2 * sigma.square() / (1 + sigma.square())
    return error * (sigma * time_of(matcher, sigma)).square()


def time_grid(source: Source, matcher: ConditionalFlowMatcher, n: int) -> Tensor:
    """`info_grid` in the matcher's time, for an ODE solver.

    Args:
        source: a schedule, its `profile()`, or a file; as of `info_grid`.
        matcher: of a kind that the module names.
        n: number of steps, at least 1.

    Returns:
        [n + 1] float32 ascending from exactly 0 (noise) to exactly 1 (data).

    Raises:
        ValueError: as `info_grid`, or a matcher with another path.
    """
    return info_times(source, n, lambda sigma: time_of(matcher, sigma))


def _is_cosine(matcher: ConditionalFlowMatcher) -> bool:
    from torchcfm import conditional_flow_matching as cfm

    if isinstance(matcher, cfm.TargetConditionalFlowMatcher):
        return False
    if isinstance(matcher, cfm.SchrodingerBridgeConditionalFlowMatcher) or matcher.sigma != 0:
        allowed = "one with sigma = 0 or a TargetConditionalFlowMatcher: else ut holds noise that x1 does not"
        refuse("matcher", f"{type(matcher).__name__} with sigma = {matcher.sigma}", allowed)
    return isinstance(matcher, cfm.VariancePreservingConditionalFlowMatcher)
