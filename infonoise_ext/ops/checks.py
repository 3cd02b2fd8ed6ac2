"""Argument checks of the ops that Python implements: no read of a value off the CPU, so no wait."""

from __future__ import annotations

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
STATE = {
    "ring": (torch.float32, 3),
    "count": (torch.int64, 2),
    "mmse": (torch.float64, 2),
    "cdf": (torch.float64, 2),
    "stats": (torch.float64, 2),
    "counters": (torch.int64, 2),
    "rng": (torch.int64, 1),
    "grid": (torch.float64, 2),
    "params": (torch.float64, 1),
    "moments": (torch.float64, 3),
}
"""Dtype and number of dimensions of the tensors that a kernel addresses as one block of memory."""


def check_state(**tensors: Tensor) -> None:
    """ValueError unless every tensor is contiguous, on one device and as `STATE` says."""
    device = next(iter(tensors.values())).device
    for name, x in tensors.items():
        dtype, dims = STATE[name]
        if x.dtype != dtype or x.dim() != dims or not x.is_contiguous():
            raise ValueError(
                f"{name} must be a contiguous {dtype} tensor of {dims} dimensions, got {x.dtype} {list(x.shape)}"
            )
        if x.device != device:
            raise ValueError(f"{name} is on {x.device}, but the schedule's state is on {device}")


def check_vector(x: Tensor, name: str, like: Tensor, length: int | None, dtypes: tuple[torch.dtype, ...]) -> None:
    """ValueError unless x is a vector of one of `dtypes` on the device of `like`, `length` long."""
    if x.device != like.device:
        raise ValueError(f"{name} is on {x.device}, but the schedule's state is on {like.device}")
    if x.dtype not in dtypes:
        raise ValueError(f"{name} must be one of {dtypes}, got {x.dtype}")
    if x.dim() != 1 or (length is not None and x.numel() != length):
        wanted = "[B]" if length is None else f"[{length}]"
        raise ValueError(f"{name} must have shape {wanted}, got {list(x.shape)}")


def check_group(group: Tensor | None, name: str, like: Tensor, length: int, groups: int | None) -> None:
    """ValueError unless group is None or a vector of integers, on the CPU in [0, groups)."""
    if group is None:
        return
    check_vector(group, name, like, length, (torch.int64, torch.int32))
    if groups is not None and group.device.type == "cpu" and not torch.compiler.is_compiling():
        bad = (group < 0) | (group >= groups)
        if bool(bad.any()):
            raise ValueError(f"{name} holds {int(group[bad][0])}, which is not in [0, {groups})")


def check_batch(like: Tensor, sigma: Tensor, error: Tensor, mask: Tensor | None, group: Tensor | None) -> None:
    """ValueError unless these are what `observe_` takes, on the device of `like`."""
    check_vector(sigma, "sigma", like, None, FLOATS)
    batch = sigma.numel()
    check_vector(error, "error", like, batch, FLOATS)
    if mask is not None:
        check_vector(mask, "mask", like, batch, (torch.bool,))
    check_group(group, "group", like, batch, None)
