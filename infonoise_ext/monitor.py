"""Numbers and records of a schedule for people and loggers."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._schemas import COUNTERS, SKIP_CAUSES, STATS
from .config import InfoNoiseConfig
from .state import State

if TYPE_CHECKING:
    from .schedule import InfoNoise

QUANTILES = {"sigma_q05": 0.05, "sigma_q50": 0.5, "sigma_q95": 0.95}


def summarize(state: State, config: InfoNoiseConfig) -> dict[str, float]:
    """Flat numbers; with several groups every key but "steps" gets a "group{g}/" prefix."""
    groups = len(state.cdf)
    out = {"steps": float(state.counters[0, COUNTERS.index("steps")])}
    for g in range(groups):
        prefix = "" if groups == 1 else f"group{g}/"
        out |= {prefix + name: value for name, value in _summarize_group(state, config, g).items()}
    return out


def _summarize_group(state: State, config: InfoNoiseConfig, group: int) -> dict[str, float]:
    counters = dict(zip(COUNTERS, state.counters[group].tolist(), strict=True))
    cdf = state.cdf[group].tolist()
    out = {name: float(counters[name]) for name in ("status", "refreshes", "waits", "degenerates")}
    out |= dict(zip(STATS, state.stats[group].tolist(), strict=True))
    out |= {name: _quantile(u, cdf, config) for name, u in QUANTILES.items()}
    out["mass_lowest_decade"] = _cdf(10 * config.sigma_min, cdf, config)
    out["samples_needed"] = samples_needed(state, config, group)
    out["recorded"] = float(state.count[group].sum())
    out |= {f"skipped_{cause}": float(counters[cause]) for cause in SKIP_CAUSES}
    return out


def _quantile(u: float, cdf: list[float], config: InfoNoiseConfig) -> float:
    k = next(k for k in range(config.bins) if u < cdf[k + 1])
    return config.sigma_min * math.exp(config.width * (k + (u - cdf[k]) / (cdf[k + 1] - cdf[k])))


def _cdf(sigma: float, cdf: list[float], config: InfoNoiseConfig) -> float:
    position = min(math.log(sigma / config.sigma_min) / config.width, config.bins)
    k = min(int(position), config.bins - 1)
    return cdf[k] + (position - k) * (cdf[k + 1] - cdf[k])


def samples_needed(state: State, config: InfoNoiseConfig, group: int = 0) -> float:
    """Expected further samples from the current table until `coverage` of its mass is measured.

    0 when it is; infinity when bins that are needed have no mass.
    """
    mass = state.cdf[group].diff().tolist()
    missing = [config.min_count - n for n in state.count[group].tolist()]
    waits = sorted((n / m if m > 0 else math.inf, m) for n, m in zip(missing, mass, strict=True) if n > 0)
    uncovered = math.fsum(m for _, m in waits)
    needed = 0.0
    if len(waits) == config.bins and waits:
        needed = waits[0][0]
    for wait, m in waits:
        if uncovered <= 1 - config.coverage:
            break
        needed = wait
        uncovered -= m
    return needed


class History:
    """Profiles of a schedule over its refreshes, in memory and, if a path is given, as JSON lines.

    Args:
        path: file that every record is appended to, or None.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.records: list[dict[str, Any]] = []

    def record(self, schedule: InfoNoise) -> None:
        """Append the current profile of every group, with the summary. Waits for the device."""
        summary = schedule.summary()
        profiles = [schedule.profile(g).to_dict() for g in range(schedule.groups)]
        entry = {"step": int(summary["steps"]), "summary": summary, "profiles": profiles}
        self.records.append(entry)
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(entry) + "\n")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> History:
        """The history that a file holds; recording appends to it."""
        history = cls(path)
        with Path(path).open() as file:
            history.records = [json.loads(line) for line in file if line.strip()]
        return history

    def __len__(self) -> int:
        """Number of records."""
        return len(self.records)
