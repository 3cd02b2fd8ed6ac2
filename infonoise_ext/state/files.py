"""Files of state dictionaries: written whole or not at all, and found out when they are damaged."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .atomic import write_whole
from .checkpoint import FORMAT, profile_of_saved
from .profile import Profile

SAFETENSORS = ".safetensors"
_CHECKSUM = "checksum"


def save(saved: dict[str, Any], path: Path) -> None:
    """Write a state dictionary: to safetensors where the path ends so, else as `torch.save` does."""
    frozen = {k: v.detach().to("cpu", copy=True) if isinstance(v, Tensor) else v for k, v in saved.items()}
    write_whole(path, _to_safetensors(frozen) if path.suffix == SAFETENSORS else _to_torch(frozen))


def read_profile(path: Path, group: int = 0) -> Profile:
    """What `Profile.save` or, of one of its groups, `InfoNoise.save` wrote: the content tells which.

    Raises:
        OSError: the file cannot be opened.
        ModuleNotFoundError: a .safetensors file without the library.
        ValueError: the file is damaged or something else, or it has no such group.
    """
    if path.suffix != SAFETENSORS and path.read_bytes()[:1] == b"{":
        if group != 0:
            raise ValueError(f"group is {group}, but {path} holds a single profile")
        return Profile.load(path)
    saved = read(path)
    try:
        return profile_of_saved(saved, group)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read(path: Path) -> dict[str, Any]:
    """The dictionary that `save` wrote, or that `torch.save` did, which adds no checksum.

    Raises:
        OSError: the file cannot be opened.
        ModuleNotFoundError: a .safetensors file without the library.
        ValueError: the file is damaged or something else.
    """
    content = path.read_bytes()
    try:
        saved, checksum = _from_safetensors(content) if path.suffix == SAFETENSORS else _from_torch(content)
        if checksum is not None and checksum != _checksum(saved):
            raise ValueError("its checksum is wrong")
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is not a file that InfoNoise.save wrote, or it is damaged: {error}") from error
    return saved


def _checksum(saved: dict[str, Any]) -> str:
    """Of every name and value; torch.load compares none, and reads some damaged records as anything at all."""
    digest = hashlib.sha256()
    for name, value in sorted(saved.items()):
        tensor = isinstance(value, Tensor)
        digest.update(json.dumps([name, [str(value.dtype), *value.shape] if tensor else value]).encode())
        if tensor:
            digest.update(value.contiguous().numpy())
    return digest.hexdigest()


def _to_torch(saved: dict[str, Any]) -> bytes:
    content = io.BytesIO()
    torch.save(saved | {_CHECKSUM: _checksum(saved)}, content)
    return content.getvalue()


def _from_torch(content: bytes) -> tuple[dict[str, Any], str | None]:
    saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True, mmap=False)
    return saved, saved.pop(_CHECKSUM, None) if isinstance(saved, dict) else None


def _to_safetensors(saved: dict[str, Any]) -> bytes:
    """Tensors as they are; the plain values as JSON under our name in the metadata."""
    from safetensors.torch import save

    tensors = {name: value for name, value in saved.items() if isinstance(value, Tensor)}
    plain = {name: value for name, value in saved.items() if name not in tensors}
    return save(tensors, {"format": "pt", FORMAT: json.dumps(plain), _CHECKSUM: _checksum(saved)})


def _from_safetensors(content: bytes) -> tuple[dict[str, Any], str | None]:
    from safetensors.torch import load

    length = int.from_bytes(content[:8], "little")  # of the header, JSON, as the format says
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    return json.loads(metadata[FORMAT]) | load(content), metadata.get(_CHECKSUM)
