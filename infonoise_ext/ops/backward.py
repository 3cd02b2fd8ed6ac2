"""What the ops do in backward, where activation checkpointing computes its region again: record and draw nothing.

The ops ask, and nobody above them; csrc/backward.h has the same for the compiled ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .schemas import COUNTERS

_RECOMPUTED = COUNTERS.index("recomputed")


def in_backward() -> bool:
    """Whether this thread runs backward; False while a compiler traces, since the op asks again when it runs."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def refuse_in_backward(name: str, samples: int) -> None:
    """RuntimeError if the op is to do something in backward; a `step()` there has no samples."""
    if in_backward() and samples > 0:
        raise RuntimeError(
            f"{name} was called during backward, where activation checkpointing, or a compiler to save memory, "
            "computes a region again and would get other noise levels than the first time: call it outside of the "
            "region"
        )


def count_recomputed_(counters: Tensor, sigma: Tensor, group: Tensor | None) -> None:
    """Count a batch as recomputed, every sample in its group; those of unknown groups in group 0."""
    column = counters[:, _RECOMPUTED]
    if group is None:
        column[0] += sigma.numel()
        return
    owner = torch.where((group >= 0) & (group < len(counters)), group, 0).long()
    column.scatter_add_(0, owner, torch.ones_like(owner))
