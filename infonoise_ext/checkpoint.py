"""State dictionaries: tensors and plain values, copied in place, re-binned when the grid differs."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ._schemas import COUNTERS, STATS
from .config import InfoNoiseConfig
from .rebin import rebin
from .state import MUTABLE, State

VERSION = 1
SAFETENSORS = ".safetensors"
_FORMAT = "infonoise_ext"


def state_dict(state: State, config: InfoNoiseConfig) -> dict[str, Any]:
    """Live tensors under the names of `State`, "edges", and plain "format", "version", "config"."""
    plain = dataclasses.asdict(config) | {"pivot": repr(config.pivot)}
    tensors = {name: getattr(state, name) for name in MUTABLE}
    return {"format": _FORMAT, "version": VERSION, "config": plain, **tensors, "edges": state.edges.clone()}


def load_state_dict(state: State, config: InfoNoiseConfig, saved: dict[str, Any]) -> None:
    """Copy `saved` into `state`; see `InfoNoise.load_state_dict`."""
    tensors = _checked(saved)
    edges, capacity = tensors.pop("edges"), tensors["ring"].shape[-1]
    groups = len(state.ring)
    if len(tensors["ring"]) != groups:
        if len(tensors["ring"]) != 1:
            raise ValueError(f"the state has {len(tensors['ring'])} groups, but this schedule has {groups}")
        warnings.warn(f"a state of one group starts all {groups} groups", stacklevel=3)
        tensors |= {name: tensors[name].expand(groups, *tensors[name].shape[1:]) for name in MUTABLE if name != "rng"}
    if not torch.equal(edges, state.edges.cpu()) or capacity != config.capacity:
        warnings.warn(
            f"the state has {len(edges) - 1} bins on [{edges[0]:.4g}, {edges[-1]:.4g}] and rings of {capacity}; "
            f"it is re-binned to {config.bins} on [{config.sigma_min:.4g}, {config.sigma_max:.4g}] and "
            f"{config.capacity}",
            stacklevel=3,
        )
        tensors = rebin(tensors, edges, state.edges.cpu(), config)
    for name in MUTABLE:
        getattr(state, name).copy_(tensors[name])


def _checked(saved: dict[str, Any]) -> dict[str, Tensor]:
    if not isinstance(saved, dict) or saved.get("format") != _FORMAT:
        raise ValueError("not a state of infonoise_ext: the key 'format' is missing or different")
    if saved.get("version") != VERSION:
        raise ValueError(f"the state has version {saved.get('version')!r}, but this release reads {VERSION}")
    missing = [name for name in (*MUTABLE, "edges") if not isinstance(saved.get(name), Tensor)]
    if missing:
        raise ValueError(f"the state lacks the tensors {', '.join(missing)}")
    tensors = {name: saved[name].detach().cpu() for name in (*MUTABLE, "edges")}
    if tensors["ring"].dim() != 3:
        raise ValueError(f"ring has shape {list(tensors['ring'].shape)}, but must be [G, K, C]")
    groups, bins, capacity = tensors["ring"].shape
    wanted = {
        "ring": ((groups, bins, capacity), torch.float32),
        "count": ((groups, bins), torch.int64),
        "mmse": ((groups, bins), torch.float64),
        "cdf": ((groups, bins + 1), torch.float64),
        "stats": ((groups, len(STATS)), torch.float64),
        "counters": ((groups, len(COUNTERS)), torch.int64),
        "rng": ((2,), torch.int64),
        "edges": ((bins + 1,), torch.float64),
    }
    for name, (shape, dtype) in wanted.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != dtype:
            raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, but must be {dtype} {list(shape)}")
    cdf, edges = tensors["cdf"], tensors["edges"]
    rising = bool((cdf.diff() >= 0).all()) and bool((cdf[:, 0] == 0).all() and (cdf[:, -1] == 1).all())
    if not rising:
        raise ValueError("cdf is damaged: every row must rise from 0 to 1")
    if not bool((edges.diff() > 0).all() and (edges[0] > 0)):
        raise ValueError("edges are damaged: they must be positive and ascending")
    if not bool(torch.isfinite(tensors["ring"]).all() and (tensors["ring"] >= 0).all()):
        raise ValueError("ring is damaged: losses must be finite and at least 0")
    return tensors


def save(saved: dict[str, Any], path: Path) -> None:
    """Write to a temporary file beside `path`, then rename: a crash leaves the old file whole."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            if path.suffix == SAFETENSORS:
                file.write(_to_safetensors(saved))
            else:
                torch.save(saved, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read(path: Path) -> dict[str, Any]:
    """The dictionary that `save` wrote.

    Raises:
        ValueError: the file is damaged or something else.
    """
    try:
        if path.suffix == SAFETENSORS:
            return _from_safetensors(path)
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, ModuleNotFoundError):
        raise
    except Exception as error:
        raise ValueError(f"{path} is not a file that InfoNoise.save wrote, or it is damaged: {error}") from error
    return saved


def _to_safetensors(saved: dict[str, Any]) -> bytes:
    """Tensors as they are; the plain values as JSON under our name in the metadata."""
    from safetensors.torch import save

    tensors = {name: value for name, value in saved.items() if isinstance(value, Tensor)}
    plain = {name: value for name, value in saved.items() if name not in tensors}
    return save(tensors, {"format": "pt", _FORMAT: json.dumps(plain)})


def _from_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        plain = json.loads(file.metadata()[_FORMAT])
        return plain | {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
