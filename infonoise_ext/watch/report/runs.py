"""Reads what a run recorded: one file, or a folder with one for each rank."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..history import History

Record = dict[str, Any]
Entry = dict[str, Any]
"""One group at one record: "step", its summary without a prefix, "profile" with its curves, "found" troubles."""


@dataclass(frozen=True)
class Series:
    """One group of one rank over training.

    Attributes:
        rank: of the process that recorded it.
        group: index of the group.
        config: options, as `InfoNoiseConfig.to_dict` gives them.
        edges: [K + 1] bin edges in sigma.
        entries: oldest first.
    """

    rank: int
    group: int
    config: dict[str, Any]
    edges: list[float]
    entries: list[Entry]


@dataclass
class Run:
    """What a run recorded.

    Attributes:
        name: of the file or folder.
        records: by rank, in the order of the file, with those that a resumed run made again.
        notes: sentences on what was passed over in reading.
    """

    name: str
    records: dict[int, list[Record]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def series(self) -> list[Series]:
        """Every group of every rank, ranks ascending, from the records that stand."""
        out = []
        for rank in sorted(self.records):
            records = standing(self.records[rank])
            config, edges = records[-1]["config"], records[-1]["edges"]
            by_group = zip(*map(entries_of, records), strict=True)
            out += [Series(rank, group, config, edges, list(entries)) for group, entries in enumerate(by_group)]
        return out


def read_run(path: Path) -> Run:
    """Read a file of `History`, or every *.jsonl of a folder; files that are something else are passed over there.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: nothing in it is a record, or two files hold the same rank.
    """
    run = Run(path.resolve().name)
    for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
        history = _history(file, run, tolerant=path.is_dir())
        if history.damaged:
            run.notes.append(f"{file.name}: {history.damaged} damaged line(s) passed over, as a crash leaves them.")
        _add(run, history.records, file)
    if not run.records:
        raise ValueError(f"{path} holds no records" + (": no *.jsonl of a History" if path.is_dir() else ""))
    return run


def _history(file: Path, run: Run, tolerant: bool) -> History:
    try:
        return History.read(file)
    except ValueError as error:
        if not tolerant:
            raise
        run.notes.append(f"Passed over: {error}.")
        return History()


def _add(run: Run, records: list[Record], file: Path) -> None:
    mine: dict[int, list[Record]] = {}
    for record in records:
        mine.setdefault(record["rank"], []).append(record)
    for rank in mine.keys() & run.records.keys():
        raise ValueError(f"{file} and a file before it both hold rank {rank}: report on one of them alone")
    run.records |= mine


def standing(records: list[Record]) -> list[Record]:
    """The records that no later one replaces, on the grid and with the groups of the last.

    A run resumed from a checkpoint repeats steps: the later record of a step holds, and what the abandoned
    run recorded beyond it goes.
    """
    out: list[Record] = []
    for record in records:
        while out and out[-1]["step"] >= record["step"]:
            out.pop()
        out.append(record)
    last = records[-1]
    return [r for r in out if r["edges"] == last["edges"] and len(r["profiles"]) == len(last["profiles"])]


def entries_of(record: Record) -> list[Entry]:
    """A record's part for each group."""
    if len(record["profiles"]) != len(record["troubles"]):
        raise LookupError("it has not as many profiles as lists of troubles")
    pairs = zip(record["profiles"], record["troubles"], strict=True)
    entries: list[Entry] = [{"step": record["step"], "profile": profile, "found": found} for profile, found in pairs]
    for key, value in record["summary"].items():
        group, _, name = key.rpartition("/")
        if group:
            entries[int(group.removeprefix("group"))][name] = value
        elif len(entries) == 1:
            entries[0][name] = value
    return entries
