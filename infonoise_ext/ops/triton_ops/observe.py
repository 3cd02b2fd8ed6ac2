"""`observe_`: losses into FIFO rings, the same for every number of programs."""

from __future__ import annotations

from torch import Tensor

from ..backward import count_recomputed_, in_backward
from ..checks import check_batch, check_state
from .common import ONE_PROGRAM, on_device, options, padded
from .record import BLOCK, TILE, observe_kernel
from .record_many import record_many


def strides_of(*vectors: Tensor | None) -> tuple[int, ...]:
    """The stride of each vector, 0 for None."""
    return tuple(0 if x is None else x.stride(0) for x in vectors)


def observe_(
    ring: Tensor,
    count: Tensor,
    counters: Tensor,
    grid: Tensor,
    sigma: Tensor,
    error: Tensor,
    mask: Tensor | None,
    group: Tensor | None,
) -> None:
    """Append each loss to the FIFO ring of its bin: one launch, four for a large batch."""
    check_state(ring=ring, count=count, counters=counters, grid=grid)
    check_batch(ring, sigma, error, mask, group)
    if in_backward():
        count_recomputed_(counters, sigma, group)
        return
    groups, bins, capacity = ring.shape
    batch = sigma.numel()
    if batch == 0:
        return
    inputs = (sigma, error, mask, group)
    with on_device(ring):
        if batch > ONE_PROGRAM:
            record_many(ring, count, counters, grid, inputs, strides_of(*inputs))
            return
        observe_kernel[(1,)](
            ring, count, counters, grid, *inputs, *strides_of(*inputs), groups, batch,
            **padded(bins), C=capacity, BLOCK=BLOCK, TILE=TILE, **options(),
        )  # fmt: skip
