"""Numbers and records of a schedule for people and loggers."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ..ops.schemas import COUNTERS, SKIP_CAUSES, STATS
from ..state.config import InfoNoiseConfig
from ..state.profile import Profile, profile_of
from ..state.table import Table
from ..state.tensors import State
from .troubles import facts, told, troubles

FORMAT, VERSION = "infonoise_ext.history", 1
CURVES = ("count", "seen", "mean", "standard_error", "mmse", "rate", "gate", "allocation", "density")
"""Of a `Profile`, what a record keeps for each group: K values each."""

CHECKED = ("apart", "rescaled", "spikes", "saturated", "mass_lowest_decade")
"""Of the facts behind `troubles`, those that a summary holds."""


HeldOut: TypeAlias = "Sequence[Profile | None]"
"""Of every group, the profile of held-out samples if there is one."""


def summarize(state: State, config: InfoNoiseConfig, held_out: HeldOut, weighed: int | None = None) -> dict[str, float]:
    """Flat numbers; with several groups every key but "steps" gets a "group{g}/" prefix."""
    groups = len(state.cdf)
    out = {"steps": float(state.counters[0, COUNTERS.index("steps")])}
    for g in range(groups):
        prefix = "" if groups == 1 else f"group{g}/"
        out |= {
            prefix + name: value for name, value in _summarize_group(state, config, g, held_out[g], weighed).items()
        }
    return out


def _summarize_group(
    state: State, config: InfoNoiseConfig, group: int, held_out: Profile | None, weighed: int | None
) -> dict[str, float]:
    known = facts(state, config, group, held_out, weighed)
    table = Table.trusted(state.edges.cpu(), state.cdf[group].cpu())
    plain = ("status", "refreshes", "waits", "degenerates", *STATS, *CHECKED)
    out = {name: float(known[name]) for name in plain} | table.summary()
    out["recorded"] = float(known["recorded"])
    out |= {f"skipped_{cause}": float(known[cause]) for cause in SKIP_CAUSES}
    out["troubles"] = float(len(told(known)))
    return out


def snapshot(
    state: State, config: InfoNoiseConfig, rank: int, world: int, held_out: HeldOut, weighed: int | None = None
) -> dict[str, Any]:
    """What `History` keeps of a moment: the summary, and the profile of every group. Waits for the device."""
    summary = summarize(state, config, held_out, weighed)
    groups = range(len(state.cdf))
    profiles = [profile_of(state, g).to_dict() for g in groups]
    return {
        "step": int(summary["steps"]),
        "rank": rank,
        "world": world,
        "config": config.to_dict(),
        "edges": profiles[0]["edges"],
        "summary": summary,
        "profiles": [{name: profile[name] for name in (*CURVES, "pivot")} for profile in profiles],
        "troubles": [[list(trouble) for trouble in troubles(state, config, g, held_out[g], weighed)] for g in groups],
    }


class History:
    """Profiles of a schedule over its refreshes, in memory and, if a path is given, as JSON lines.

    A line holds one record; docs/monitoring.md lists its keys. Numbers have six significant digits, null
    stands for NaN and infinity. A file that cannot be written warns once, training goes on, and the next
    record brings the lines that are missing.

    Args:
        path: file that every record is appended to, or None; its folder is made. Ranks need one each.

    Attributes:
        damaged: lines that `read` passed over because a crash had cut them short.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.damaged = 0
        self._lines: list[str] = []
        self._saved = 0
        self._warned = False

    @property
    def records(self) -> list[dict[str, Any]]:
        """What is recorded, oldest first, as the file holds it."""
        return [json.loads(line) for line in self._lines]

    def record(self, snapshot: Mapping[str, Any]) -> None:
        """Append what `InfoNoise.snapshot` gives."""
        entry = {"format": FORMAT, "version": VERSION, **snapshot}
        self._lines.append(json.dumps(_plain(entry), separators=(",", ":"), allow_nan=False))
        if self.path is not None:
            try:
                _append(self.path, self._lines[self._saved :])
                self._saved = len(self._lines)
            except OSError as error:
                self._warn(error)

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(f"History cannot write {self.path}: {error}. Training goes on; so do attempts.", stacklevel=4)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> History:
        """The history that a file holds; recording appends to it. Lines cut short are passed over.

        Raises:
            ValueError: the file holds something else, or records of a version that is not known.
        """
        history = cls(path)
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    history._take(line.strip(), f"{path}, line {number},")
        history._saved = len(history)
        if history.damaged and not len(history):
            raise ValueError(f"{path} holds no record of a History")
        return history

    def _take(self, line: str, where: str) -> None:
        try:
            entry = json.loads(line)
        except ValueError:
            self.damaged += 1
            return
        if not isinstance(entry, dict) or entry.get("format") != FORMAT:
            raise ValueError(f"{where} is no record of a History")
        if entry.get("version") != VERSION:
            raise ValueError(f"{where} has version {entry.get('version')!r}, but this release reads {VERSION}")
        self._lines.append(line)

    def __len__(self) -> int:
        """Number of records."""
        return len(self._lines)


def _append(path: Path, lines: list[str]) -> None:
    """Add lines to a file, below whatever a crash or a full disk cut short there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        cut_short = False
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            cut_short = file.read(1) != b"\n"
        file.write("".join(["\n" * cut_short, *(line + "\n" for line in lines)]).encode())


def _plain(value: Any) -> Any:
    """`value` with its floats at six significant digits, whole ones as integers, and None for NaN and infinity."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else float(f"{value:.6g}")
