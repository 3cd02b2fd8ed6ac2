"""The ops with the CUDA kernels' source run by the emulator of `tests/native/emulator.h`."""

import inspect
import subprocess
import sys
from pathlib import Path

import torch

from infonoise_ext.ops import reference

KINDS = {
    torch.float32: 1, torch.float64: 2, torch.float16: 3, torch.bfloat16: 4, torch.int64: 5, torch.int32: 6,
    torch.bool: 7,
}  # fmt: skip
PLANTED = {
    "missing_barrier": (
        "  __syncthreads();\n  write_rings(tile, rings, grid, header_of(shared), b, g);\n}",
        "  if (!BUG) __syncthreads();\n  write_rings(tile, rings, grid, header_of(shared), b, g);\n}",
    ),
    "missing_warp_barrier": (
        "    __syncwarp();\n    if (recorded && __ffs",
        "    if (!BUG) __syncwarp();\n    if (recorded && __ffs",
    ),
    "divergent_barrier": (
        "  if (!header->due) return;\n",
        "  if (!header->due) return;\n  if (BUG && threadIdx.x < 32) __syncthreads();\n",
    ),
    "missing_lane": ("__match_any_sync(kAllLanes, key[j])", "__match_any_sync(BUG ? 1 : kAllLanes, key[j])"),
    "tile_edge": ("last < b.size ? last : b.size", "last < b.size ? last + BUG : b.size"),
    "strip_edge": ("i + 32 * j < end ? key_of", "i + 32 * j + BUG < end ? key_of"),
    "skipped_tile": ("+ column[index * row] > kept)", "+ column[index * row] > kept + BUG)"),
    "missing_signal_barrier": (
        "make_isotonic(grid.bins, mmse, signal);\n  team.sync();",
        "make_isotonic(grid.bins, mmse, signal);\n  if (!BUG) team.sync();",
    ),
    "early_offset": ("seen / kTicket == readers - 1", "(BUG || seen / kTicket == readers - 1)"),
}
PLANTED_IN_LOSS = {
    "missing_team_barrier": (
        "shared[threadIdx.x / 32] = x;\n  __syncthreads();",
        "shared[threadIdx.x / 32] = x;\n  if (!BUG) __syncthreads();",
    ),
    "piece_edge": ("{sample, piece, first, last, int(", "{sample, piece, first, last - BUG, int("),
    "pack_edge": ("if (i + j < last) out.of[j]", "if (i + j < last + BUG) out.of[j]"),
    "fold_edge": ("j < count; j += blockDim.x)", "j < count - BUG; j += blockDim.x)"),
    "zero_scale": ("factor == 0 ?", "factor == 0 && !BUG ?"),
}
"""Bugs by name: a text of the CUDA sources, which must occur there once, and the text with the bug."""


def plant(sources: Path, folder: Path) -> None:
    """Write the CUDA sources with every bug, each asleep until `bug` names it."""
    texts = {
        path.name: path.read_text() for path in (*sources.glob("*.cuh"), sources / "launch.h", sources / "refresh.h")
    }
    for name, (right, wrong) in (PLANTED | PLANTED_IN_LOSS).items():
        found = [file for file, text in texts.items() if right in text]
        assert len(found) == 1, f"{name}: the text it changes is in {found}"
        assert texts[found[0]].count(right) == 1, name
        texts[found[0]] = texts[found[0]].replace(right, wrong.replace("BUG", f'int(emulator::bug == "{name}")'))
    for file, text in texts.items():
        write(folder / file, text)


def write(path: Path, text: str) -> None:
    """Write what is new, so that nothing else is compiled again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def as_column(x):
    if not isinstance(x, torch.Tensor):
        return None
    return x.data_ptr(), x.stride(0) if x.dim() == 1 and x.numel() else 1, KINDS[x.dtype]


class Emulated:
    """Ops of one module under one schedule, with the signatures of the schemas."""

    def __init__(self, module, seed=0, threads=64, one_launch=65536, tile=8192, tallies=1 << 24, recomputed=False):
        self.module = module
        self.recomputed = recomputed
        self.options = (seed, threads, one_launch, tile, tallies)
        self.launches = 0

    def __getattr__(self, name):
        def run(*args):
            named = dict(zip(inspect.signature(getattr(reference, name)).parameters, args, strict=True))
            sizes = {"groups": 1, "capacity": 1, "bins": 1, "batch": 0, "n": named.get("n", 0)}
            sizes["recomputed"] = self.recomputed
            if "grid" in named:
                sizes["bins"] = named["grid"].shape[1] - 1
            if "ring" in named:
                sizes["groups"], sizes["bins"], sizes["capacity"] = named["ring"].shape
            elif "cdf" in named:
                sizes["groups"] = len(named["cdf"])
            if "sigma" in named:
                sizes["batch"] = len(named["sigma"])
            sigma = torch.full((sizes["n"],), torch.nan)
            moments = torch.full((sizes["groups"], sizes["bins"], 3), torch.nan, dtype=torch.float64)
            columns = tuple(map(as_column, args))
            self.launches = getattr(self.module, name)(
                columns, sizes, sigma.data_ptr(), moments.data_ptr(), *self.options
            )
            return moments if name == "bin_stats" else sigma

        return run


class EmulatedLoss:
    """The loss's ops of one module under one schedule, with samples cut small."""

    def __init__(self, module, seed=0, threads=64, piece=300, pieces=5):
        self.module = module
        self.how = (seed, threads, piece, pieces)
        self.launches = 0

    def denoising_error(self, denoised, target):
        wide = torch.float64 in (denoised.dtype, target.dtype)
        out = torch.full(denoised.shape[:1], torch.nan, dtype=torch.float64 if wide else torch.float32)
        self._run("denoising_error", denoised, target, out)
        return out

    def denoising_error_backward(self, grad_error, denoised, target):
        out = torch.full_like(denoised, torch.nan)
        self._run("denoising_error_backward", grad_error, denoised, target, out)
        return out

    def _run(self, name, *tensors):
        out = tensors[-1]
        samples, size = len(tensors[0]), tensors[-2][0].numel() if len(out) else 1
        columns = [as_column(x) for x in tensors]
        self.launches = getattr(self.module, name)(*columns, samples, size, self.how)


def pybind11_dir() -> str:
    """Where CMake finds pybind11."""
    command = [sys.executable, "-m", "pybind11", "--cmakedir"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
