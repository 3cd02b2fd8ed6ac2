"""A schedule across the ranks of a process group: all build one table from the moments of all."""

from __future__ import annotations

import math
import os
import warnings

import torch
import torch.distributed as dist
from torch import Tensor

from .curves.arguments import refuse, whole
from .ops.schemas import COUNTERS, PARAMS
from .state.config import InfoNoiseConfig
from .state.tensors import State, make_params

TOLERANCE = 1e-9
"""Relative difference that the processors of two ranks may make in the same computation."""


def placement(group: dist.ProcessGroup | None, rank: int | None, world: int | None) -> tuple[int, int]:
    """Rank and world of this process: those of the group, else as given, else torch.distributed's.

    Warns:
        UserWarning: several processes train and no argument says how they relate.

    Raises:
        ValueError: not a group that this process is in, a group beside rank or world, or a rank outside
            [0, world).
    """
    if group is not None:
        if rank is not None or world is not None:
            refuse("(rank, world)", (rank, world), "left out beside process_group, which gives both")
        if not isinstance(group, dist.ProcessGroup):
            refuse("process_group", group, "a ProcessGroup that this process is in")
        return group.rank(), group.size()
    if rank is None and world is None:
        _warn_if_alone(stacklevel=4)
    rank = (dist.get_rank() if initialized() else 0) if rank is None else rank
    world = (dist.get_world_size() if initialized() else rank + 1) if world is None else world
    world = whole("world", world, least=1, most=2**32)  # a rank is a word of the random stream's counter
    return whole("rank", rank, least=0, most=world - 1), world


def late_placement() -> tuple[int, int]:
    """Rank and world of this process among those that were formed after its schedule was made.

    Warns:
        UserWarning: as `placement`, where no launcher had told the number of processes by then.
    """
    if not torch.compiler.is_compiling() and "WORLD_SIZE" not in os.environ:
        _warn_if_alone(stacklevel=5)
    return dist.get_rank(), dist.get_world_size()


def initialized() -> bool:
    """Whether torch.distributed knows this process's rank."""
    return dist.is_available() and dist.is_initialized()


def all_ranks() -> dist.ProcessGroup | None:
    """The group of all ranks where several processes train, for `process_group`; else None."""
    return dist.group.WORLD if initialized() and dist.get_world_size() > 1 else None


def _warn_if_alone(stacklevel: int) -> None:
    """Once per run, on its first rank."""
    rank = dist.get_rank() if initialized() else int(os.environ.get("RANK") or 0)
    world = dist.get_world_size() if initialized() else int(os.environ.get("WORLD_SIZE") or 1)
    if world > 1 and rank == 0:
        warnings.warn(
            f"{world} processes train, but each learns a table of its own: after init_process_group, pass "
            "process_group=torch.distributed.group.WORLD to share one, or rank= and world= if you mean it",
            stacklevel=stacklevel,
        )


def over_ranks(moments: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """The moments of the losses of all ranks [G, K, 3], equal on every rank; without a group they are as given."""
    if group is None:
        return moments
    ranks = gathered(moments, group)
    count, rest, largest = ranks.unbind(-1)
    ordered = largest.sort(0).values  # all but the largest of all belong to the rest
    return torch.stack((count.sum(0), rest.sum(0) + ordered[:-1].sum(0), ordered[-1]), -1)


def gathered(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The tensors of all ranks, [world, ...], by one collective."""
    ranks = x.new_empty(group.size() * x.numel())  # as one vector: gloo takes no other dimensions than x has
    gather = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)  # its name since torch 2.13
    gather(ranks, x.reshape(-1), group=group)
    return ranks.view(group.size(), *x.shape)


def compare_ranks(state: State, config: InfoNoiseConfig, group: dist.ProcessGroup) -> None:
    """Compare options, step count and table over a process group; see `InfoNoise.check_ranks`."""
    own = _traits(state, config, group.size())
    row = torch.tensor(list(own.values()), dtype=torch.float64)
    first, *others = gathered(row.to(state.ring.device), group).tolist()
    for other_rank, other in enumerate(others, start=1):
        differences = [
            f"{name} = {value:.10g} (rank 0: {wanted:.10g})"
            for name, value, wanted in zip(own, other, first, strict=True)
            if not math.isclose(value, wanted, rel_tol=TOLERANCE)
        ]
        if differences:
            raise ValueError(
                f"the schedules of the process group differ: rank {other_rank} has {', '.join(differences)}"
            )


def _traits(state: State, config: InfoNoiseConfig, world: int) -> dict[str, float]:
    """What must be equal on all ranks, as a fixed number of numbers; curves by their mean."""
    traits = dict(zip(PARAMS, make_params(config, 0, world).tolist(), strict=True))
    return traits | {
        "bins": config.bins,
        "capacity": config.capacity,
        "groups": len(state.ring),
        "weight": float(state.row("weight").mean()),
        "bound": float((1 / (1 + state.row("bound"))).mean()),
        "steps": float(state.counters[0, COUNTERS.index("steps")]),
        "mean of cdf": float(state.cdf.mean()),
        "mean of mmse": float(state.mmse.mean()),
    }
