"""Compiles every Triton kernel for GPUs that need not be there, and prints what each needs, as JSON.

Run as a program without TRITON_INTERPRET: `python tests/native/triton_targets.py cuda:80 hip:gfx942`.
"""

import itertools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from infonoise_ext.ops.triton_ops import advance, draw, loss, moments, record, refresh
from infonoise_ext.ops.triton_ops.common import options, padded

KERNELS = (
    record.observe_kernel,
    record.rank_kernel,
    record.prefix_kernel,
    record.write_kernel,
    draw.places_kernel,
    draw.sample_kernel,
    moments.moments_kernel,
    refresh.refresh_kernel,
    advance.step_kernel,
    advance.finish_kernel,
    loss.denoising_error_kernel,
    loss.denoising_fold_kernel,
    loss.denoising_gradient_kernel,
)
WIDE = {"refresh_kernel": 1, "step_kernel": 2, "finish_kernel": 1}  # a table in registers: warps grow with the bins
POINTERS = {
    "int64": ("count", "previous_count", "counters", "rng", "group", "next_group"),
    "float64": ("previous_cdf", "mmse", "cdf", "stats", "grid", "params", "moments", "everyone", "shares"),
    "float32": ("ring", "sigma", "error", "loss", "grad_error", "denoised", "target"),
    "int32": ("bins", "rank", "histogram", "total", "places"),
    "bool": ("mask",),
}
SHORT = {"int64": "*i64", "float64": "*fp64", "float32": "*fp32", "int32": "*i32", "bool": "*i1"}
APPROXIMATE = r"\b(?:div\.full|ex2\.approx|lg2\.approx|sqrt\.approx|v_exp_f32|v_log_f32|v_sqrt_f32)\S*"
TYPES = {name: SHORT[dtype] for dtype, names in POINTERS.items() for name in names}


def source_of(kernel, bins, capacity, plain):
    """A kernel at a size as the compiler takes it.

    Plain: contiguous float32 vectors, neither mask nor groups. Else every option, bfloat16 vectors, any stride.
    """
    constants = padded(bins) | {
        "C": capacity, "BLOCK": record.BLOCK, "TILE": record.TILE, "DRAW": draw.BLOCK, "RINGS": moments.RINGS,
        "SLOTS": moments.SLOTS, "REFRESH": plain, "ROWS": 1 if plain else 16, "COLS": loss.TILE // (1 if plain else 16),
        "WIDE": tl.float32,
    }  # fmt: skip
    types = TYPES | {"out": "*fp64" if kernel is moments.moments_kernel else "*fp32"}
    if plain and kernel is not draw.places_kernel:
        constants |= dict.fromkeys(("mask", "group", "next_group", "places"))
        constants |= dict.fromkeys(("sigma_stride", "error_stride"), 1)
    else:
        types |= dict.fromkeys(("sigma", "error", "denoised"), "*bf16")
        types |= {"out": "*bf16"} if kernel is loss.denoising_gradient_kernel else {}
    names = [parameter.name for parameter in kernel.params]
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    constexprs = {(i,): constants[name] for i, name in enumerate(names) if name in constants}
    return ASTSource(kernel, signature, constexprs)


def cuda_needs(compiled):
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        text = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", text)
    registers, stack, local = map(int, found.groups())
    return {"registers": registers, "spilled": stack + local}


def hip_needs(compiled):
    text = compiled.asm["amdgcn"]
    registers, private, spills = (
        int(re.search(rf"\.{key}:\s*(\d+)", text)[1])
        for key in ("vgpr_count", "private_segment_fixed_size", "vgpr_spill_count")
    )
    return {"registers": registers, "spilled": private + spills}


def main(targets):
    out = []
    for target, (bins, plain), kernel in itertools.product(targets, ((64, False), (512, True)), KERNELS):
        backend, arch = target.split(":")
        gpu = GPUTarget(backend, int(arch) if arch.isdigit() else arch, 64 if backend == "hip" else 32)
        launch = options(bins * WIDE.get(kernel.__name__, 0))
        compiled = triton.compile(source_of(kernel, bins, 256, plain), target=gpu, options=launch)
        needs = hip_needs(compiled) if backend == "hip" else cuda_needs(compiled)
        assembly = compiled.asm["amdgcn" if backend == "hip" else "ptx"]
        approximate = sorted(set(re.findall(APPROXIMATE, assembly)))
        row = {"target": target, "kernel": kernel.__name__, "bins": bins, "plain": plain, "warps": launch["num_warps"]}
        out.append(row | needs | {"approximate": approximate})
    print(json.dumps(out))


if __name__ == "__main__":
    main(sys.argv[1:])
