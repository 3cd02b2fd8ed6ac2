"""Files of dictionaries of tensors and plain values: whole or absent, and found out when they are damaged."""

from __future__ import annotations

import io
import json
import os
import uuid
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SAFETENSORS = ".safetensors"
_KEY = "infonoise_ext"
_FOLDER = 0x10
"""External attribute of a zip's entry that makes it a folder: `torch.load` would give memory never written."""


def write(saved: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write `saved`: to safetensors where the path ends so, else as `torch.save` does.

    Raises:
        ModuleNotFoundError: a .safetensors path without the library.
        OSError: the file cannot be written; an old one is left as it was.
    """
    path = Path(path)
    frozen = {k: v.detach().to("cpu", copy=True) if isinstance(v, Tensor) else v for k, v in saved.items()}
    write_whole(path, _to_safetensors(frozen) if path.suffix == SAFETENSORS else _to_torch(frozen))


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The dictionary that `write` or `torch.save` wrote, on the CPU.

    Raises:
        OSError: the file cannot be opened.
        ModuleNotFoundError: a .safetensors file without the library.
        ValueError: the file is damaged or something else.
    """
    path = Path(path)
    content = path.read_bytes()
    try:
        saved = _from_safetensors(content) if path.suffix == SAFETENSORS else _from_torch(content)
        if not isinstance(saved, dict):
            raise ValueError(f"it holds a {type(saved).__name__}")
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is damaged, or not a file of infonoise_ext: {error}") from error
    return saved


def write_whole(path: Path, content: bytes) -> None:
    """Write to a temporary file beside `path`, then rename: a crash leaves the old file whole, and its mode holds.

    Raises:
        OSError: the file cannot be written, or something else than a file has this name.
    """
    path = path.resolve()  # through a link, to the file that it names
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is a folder or a device, but must be a file or a new name")
    partial = path.with_name(f".{uuid.uuid4().hex}")  # short: any name may be given
    try:
        with partial.open("xb") as file:
            if path.exists():
                os.fchmod(file.fileno(), path.stat().st_mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _to_torch(saved: dict[str, Any]) -> bytes:
    from torch.utils.serialization import config

    content = io.BytesIO()
    with config.patch({"save.compute_crc32": True}):  # type: ignore[attr-defined]  # whatever torch.serialization.set_crc32_options says
        torch.save(saved, content)
    return content.getvalue()


def _from_torch(content: bytes) -> Any:
    """What torch.load gives, which compares no checksum, of a zip whose checksums are right."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    damaged = archive.testzip()
    damaged = damaged or next((entry.filename for entry in archive.infolist() if entry.external_attr & _FOLDER), None)
    if damaged is not None:
        raise ValueError(f"the checksum of its record {damaged} is wrong")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True, mmap=False)


def _to_safetensors(saved: dict[str, Any]) -> bytes:
    """Tensors as they are; the plain values as JSON, and a checksum of all, in the metadata."""
    from safetensors.torch import save

    tensors = {name: value for name, value in saved.items() if isinstance(value, Tensor)}
    plain = json.dumps({name: value for name, value in saved.items() if name not in tensors})
    return save(tensors, {"format": "pt", _KEY: plain, "crc32": str(_checksum(tensors, plain))})


def _from_safetensors(content: bytes) -> dict[str, Any]:
    from safetensors.torch import load

    length = int.from_bytes(content[:8], "little")  # of the header, JSON, as the format says
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    tensors, plain = load(content), metadata[_KEY]
    if metadata["crc32"] != str(_checksum(tensors, plain)):
        raise ValueError("its checksum is wrong")
    return json.loads(plain) | tensors


def _checksum(tensors: dict[str, Tensor], plain: str) -> int:
    """Of all names, kinds and values: the format has none of its own."""
    crc = zlib.crc32(plain.encode())
    for name, x in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {x.dtype} {list(x.shape)}".encode(), crc)
        crc = zlib.crc32(x.contiguous().numpy().tobytes(), crc)
    return crc
