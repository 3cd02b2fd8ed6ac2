"""What grids are made from: the shares of a measure of information, as a table over sigma."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..curves.arguments import refuse
from ..ops import eager
from ..state.checkpoint import read_profile
from ..state.measured import HasProfile
from ..state.profile import Profile
from ..state.table import Table

Source: TypeAlias = "HasProfile | Profile | str | os.PathLike[str]"


def profile_of(source: Source, group: int) -> Profile:
    """The profile of a source; `group` chooses from a file."""
    if isinstance(source, str | os.PathLike):
        return read_profile(source, group)
    if group != 0:
        refuse("group", group, f"0 unless source is a file: give schedule.profile({group})")
    return source if isinstance(source, Profile) else source.profile()


def signal_of(profile: Profile, signal: str) -> Tensor:
    """The signal, one of `CURVES`, of each bin."""
    width = (profile.edges[-1] / profile.edges[0]).log() / len(profile.sigma)
    return eager.curve(signal, profile.rate, profile.sigma, width)


def table_of(edges: Tensor, measure: Tensor) -> Table:
    """The table of a measure of bins."""
    total = measure.sum()
    if not bool(torch.isfinite(total) & (total > 0)):
        raise ValueError("source has no information to space by: nothing is measured yet, or every error is 0")
    return Table.from_mass(edges, measure)


def mean_table(source: Any, build: Callable[[Any], Table]) -> Table:
    """The table of a source, or the mean of the tables of several, on all their edges."""
    tables = [build(one) for one in (source if isinstance(source, list | tuple) else (source,))]
    if not tables:
        refuse("source", source, "one source or more")
    edges = torch.cat([table.edges for table in tables]).unique()
    return Table.trusted(edges, torch.stack([table.below(edges) for table in tables]).mean(0))


def to_zero(levels: Tensor) -> Tensor:
    """Positive levels, then 0, as float32."""
    return torch.cat((levels, levels.new_zeros(1))).float()
