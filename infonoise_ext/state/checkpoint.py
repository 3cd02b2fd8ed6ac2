"""State dictionaries: tensors and plain values, copied in place, re-binned when the grid differs."""

from __future__ import annotations

import os
import warnings
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from ..curves.arguments import refuse
from ..curves.weights import unit_weight
from ..ops.schemas import COUNTERS, LAYOUT, STATUSES
from . import files
from .config import InfoNoiseConfig
from .profile import FORMAT as PROFILE_FORMAT
from .profile import Profile, profile_of
from .rebin import rebin
from .tensors import MUTABLE, State, make_grid, make_params

VERSION = 1
FORMAT = "infonoise_ext"


def state_dict(state: State, config: InfoNoiseConfig) -> dict[str, Any]:
    """Live tensors under the names of `State`, "edges", and plain "format", "version", "config"."""
    tensors = {name: getattr(state, name) for name in MUTABLE}
    return {"format": FORMAT, "version": VERSION, "config": config.to_dict(), **tensors, "edges": state.edges.clone()}


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
        with torch.device("cpu"):
            tensors = rebin(tensors, edges, state.edges.cpu(), config)
    for name in MUTABLE:
        getattr(state, name).copy_(tensors[name])


def read_profile(path: str | os.PathLike[str], group: int = 0) -> Profile:
    """What `Profile.save` or, of one of its groups, `InfoNoise.save` wrote: the content tells which.

    Of a saved schedule it is the profile that the schedule gives, less its `bound`, which no state holds.

    Raises:
        OSError: the file cannot be opened.
        ModuleNotFoundError: a .safetensors file without the library.
        ValueError: the file is damaged or something else, or it has no such group.
    """
    saved = files.read(path)
    try:
        if saved.get("format") != PROFILE_FORMAT:
            return _profile_of_saved(saved, group)
        if group != 0:
            refuse("group", group, "0, for the file holds a single profile")
        return Profile.from_saved(saved)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _profile_of_saved(saved: dict[str, Any], group: int) -> Profile:
    tensors = _checked(saved)
    config = _config_of(saved)
    with torch.device("cpu"):
        grid = make_grid(config, unit_weight, None)
        params = make_params(config, rank=0, world=1)
    if not torch.equal(grid[0], tensors.pop("edges")):
        raise ValueError("config and edges are damaged: they disagree")
    return profile_of(State(**tensors, grid=grid, params=params), group)


def _config_of(saved: dict[str, Any]) -> InfoNoiseConfig:
    """The options that the state was saved under, but for the pivot's rule: the pivot itself is in the stats."""
    known = {f.name for f in fields(InfoNoiseConfig)} - {"pivot"}
    try:
        return InfoNoiseConfig(**{name: value for name, value in saved["config"].items() if name in known})
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError("config is missing or damaged") from error


def _checked(saved: dict[str, Any]) -> dict[str, Tensor]:
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        raise ValueError("not a state of infonoise_ext: the key 'format' is missing or different")
    if saved.get("version") != VERSION:
        raise ValueError(f"the state has version {saved.get('version')!r}, but this release reads {VERSION}")
    missing = [name for name in (*MUTABLE, "edges") if not isinstance(saved.get(name), Tensor)]
    if missing:
        raise ValueError(f"the state lacks the tensors {', '.join(missing)}")
    for name in (*MUTABLE, "edges"):  # what cannot be copied must be found before anything is
        if saved[name].layout != torch.strided or saved[name].is_meta:
            raise ValueError(f"{name} is {saved[name].layout} on {saved[name].device}, but must be dense, with values")
    tensors = {name: saved[name].detach().cpu() for name in (*MUTABLE, "edges")}
    if tensors["ring"].dim() != 3:
        raise ValueError(f"ring has shape {list(tensors['ring'].shape)}, but must be [G, K, C]")
    groups, bins, capacity = tensors["ring"].shape
    wanted = {name: (LAYOUT[name].sizes(G=groups, K=bins, C=capacity), LAYOUT[name].dtype) for name in MUTABLE}
    for name, (shape, dtype) in (wanted | {"edges": ((bins + 1,), torch.float64)}).items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != dtype:
            raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, but must be {dtype} {list(shape)}")
    _check_values(tensors)
    held = _held(tensors["ring"], tensors["count"])
    return tensors | {"count": held, "previous_count": torch.minimum(tensors["previous_count"], held.unsqueeze(1))}


def _held(ring: Tensor, count: Tensor) -> Tensor:
    """`count`, but no more than the ring of each bin holds.

    They differ when a distributed checkpoint took the one from another rank than the other.
    """
    held = (ring >= 0).sum(-1)
    return torch.where(held < ring.shape[-1], torch.minimum(count, held), count)


def _counts(x: Tensor) -> Tensor:
    """Whether these may have been counted: no training comes near 2^62, beyond which int64 wraps."""
    return (x >= 0) & (x < 2**62)


def _check_values(tensors: dict[str, Tensor]) -> None:
    ring, count, mmse, cdf, before, counters, edges = (
        tensors[n] for n in ("ring", "count", "mmse", "cdf", "previous_cdf", "counters", "edges")
    )
    for name, sound, rule in (
        ("ring", ring.isfinite() & ((ring >= 0) | (ring == -1)), "losses must be finite and at least 0, or -1"),
        ("count", _counts(count), "it must be at least 0, and a number that can be reached"),
        ("previous_count", _counts(tensors["previous_count"]), "it must be at least 0, and can be reached"),
        ("mmse", mmse.isfinite() & ((mmse >= 0) | (mmse == -1)), "it must be finite and at least 0, or -1"),
        ("stats", ~tensors["stats"].isnan(), "they must be numbers"),
        ("cdf", cdf.diff() >= 0, "every row must rise from 0 to 1"),
        ("cdf", (cdf[:, 0] == 0) & (cdf[:, -1] == 1), "every row must rise from 0 to 1"),
        ("previous_cdf", before.diff() >= 0, "every row must rise from 0 to 1"),
        ("previous_cdf", (before[:, 0] == 0) & (before[:, -1] == 1), "every row must rise from 0 to 1"),
        ("counters", _counts(counters), "they must be at least 0, and numbers that can be reached"),
        ("counters", counters[:, COUNTERS.index("status")] < len(STATUSES), "the status is unknown"),
        ("edges", edges.diff() > 0, "they must be positive and ascending"),
        ("edges", edges.isfinite() & (edges > 0), "they must be positive and ascending"),
    ):
        if not bool(sound.all()):
            raise ValueError(f"{name} is damaged: {rule}")
