"""The ops with the CUDA kernels' source run by the emulator of `tests/native/emulator.h`."""

import inspect

import torch

from infonoise_ext.ops import reference

KINDS = {
    torch.float32: 1, torch.float64: 2, torch.float16: 3, torch.bfloat16: 4, torch.int64: 5, torch.int32: 6,
    torch.bool: 7,
}  # fmt: skip
PLANTED = (
    "missing_barrier", "missing_warp_barrier", "divergent_barrier", "missing_lane", "tile_edge", "strip_edge",
    "skipped_tile", "missing_pool_barrier", "missing_signal_barrier", "missing_strip_barrier", "early_offset",
    "missing_sums_barrier", "missing_table_barrier", "crowded_cell", "missing_edges_barrier",
    "crowded_float_cell", "missing_small_barrier", "missing_ranks_barrier", "early_end", "missing_tally_barrier",
)  # fmt: skip
PLANTED_IN_LOSS = ("missing_team_barrier", "piece_edge", "pack_edge", "fold_edge", "zero_scale")
"""Bugs by name: each a `PLANT(name, right, wrong)` in the C++ sources, asleep until `plant(name)`."""


def as_column(x):
    if not isinstance(x, torch.Tensor):
        return None
    return x.data_ptr(), x.stride(0) if x.dim() == 1 and x.numel() else 1, KINDS[x.dtype]


class Emulated:
    """Ops of one module under one schedule, with the signatures of the schemas; the loss's samples are cut small."""

    def __init__(
        self,
        module,
        seed=0,
        threads=64,
        one_launch=2048,
        tile=256,
        tallies=1 << 24,
        cells=100,
        recomputed=False,
        cut=(300, 5),
    ):
        self.module = module
        self.recomputed = recomputed
        self.options = (seed, threads, one_launch, tile, tallies, cells)
        self.cut = (seed, threads, *cut)
        self.launches = 0

    column = staticmethod(as_column)

    def launch(self, name, *args):
        return getattr(self.module, name)(*args)

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
            columns = tuple(map(self.column, args))
            places = (self.column(sigma)[0], self.column(moments)[0])
            self.launches = self.launch(name, columns, sizes, *places, *self.options)
            return moments if name == "bin_stats" else sigma

        return run

    def denoising_error(self, denoised, target):
        wide = torch.float64 in (denoised.dtype, target.dtype)
        out = torch.full(denoised.shape[:1], torch.nan, dtype=torch.float64 if wide else torch.float32)
        self._cut("denoising_error", denoised, target, out)
        return out

    def denoising_error_backward(self, grad_error, denoised, target):
        out = torch.full_like(denoised, torch.nan)
        self._cut("denoising_error_backward", grad_error, denoised, target, out)
        return out

    def _cut(self, name, *tensors):
        out = tensors[-1]
        samples, size = len(tensors[0]), tensors[-2][0].numel() if len(out) else 1
        self.launches = self.launch(name, *map(self.column, tensors), samples, size, self.cut)
