"""The `params` tensor by name."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ..schemas import PARAMS


class Params(NamedTuple):
    """The `params` tensor by name."""

    log_min: float
    width: float
    warmup: float
    refresh_every: float
    min_count: float
    coverage: float
    ema: float
    smooth: float
    floor: float
    gate_power: float
    pivot_rule: float
    pivot_value: float
    pivot_span: float
    stratified: float
    rank: float
    world: float
    signal: float

    @classmethod
    def of(cls, params: Tensor) -> Params:
        """Read a float64 [17] tensor."""
        return cls(**dict(zip(PARAMS, params.tolist(), strict=True)))
