#!/usr/bin/env python3
"""Compiles the CUDA ops for every architecture, without a GPU, and holds what the machine code may cost.

Needs nvcc and an installed torch of any kind, and the cuobjdump that lies beside triton or nvcc. The budgets lie in
`scripts/kernel_budgets.json`, and are what one nvcc made; of another's code only spills are judged. `--accept` writes
today's values there.

registers, stack     of a thread; a stack is a spill or an array in local memory
shared               bytes of static shared memory
code                 bytes of machine code
generic              loads, stores and atomics that do not know which memory they go to
loop                 instructions of the shortest loop that does the work, and `of`: samples or elements a thread
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUDGETS = ROOT / "scripts" / "kernel_budgets.json"
ARCHITECTURES = ("75", "80", "90", "100", "120")
SOURCES = ("ops", "loss_ops")
SLACK = {"code": 1.05, "loop": 1.03}
"""How far above its budget a value may lie; others may not."""
MATCH, PACKS = r"MATCH", r"LDG?\.E(\.\w+)*\.128"
COUNTS = r"ATOMS\.POPC\.INC"
PHILOX, FOUR = r"IMAD\.(HI|WIDE)\.U32", r"STG?\.E(\.\w+)*\.128"
ANCHORS = {
    "observe_kernel": ({MATCH: 4}, 4), "advance_kernel": ({MATCH: 4}, 4), "tally_kernel": ({COUNTS: 4, PACKS: 2}, 4),
    "place_kernel": ({MATCH: 4}, 4), "sample_kernel": ({FOUR: 1, PHILOX: 19}, 4),
    "denoising_error_kernel": ({PACKS: 4}, 8), "denoising_gradient_kernel": ({PACKS: 4}, 8),
}  # fmt: skip
"""By kernel: instructions of its hot loop and how often it has them at least, and what a thread has done in a turn."""


def cuobjdump():
    """Where it lies."""
    found = [shutil.which("cuobjdump")]
    try:
        import triton

        found.insert(0, Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump")
    except ImportError:
        pass
    for tool in found:
        if tool and Path(tool).exists():
            return tool
    sys.exit("cuobjdump is missing: it lies beside triton, and beside nvcc in a whole CUDA toolkit")


def compiled(architectures, folder):
    """Paths of cubins by architecture."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    running = {}
    for arch in architectures:
        for source in SOURCES:
            cubin = folder / f"{source}.sm_{arch}.cubin"
            command = [
                "nvcc", "-cubin", f"-gencode=arch=compute_{arch},code=sm_{arch}", "-std=c++17", "-O3", "-fmad=false",
                "-DUSE_CUDA", "-DTORCH_TARGET_VERSION=0x020a000000000000ULL", f"-I{ROOT / 'csrc'}", "-isystem",
                Path(torch.__file__).parent / "include", ROOT / "csrc" / "cuda" / f"{source}.cu", "-o", cubin,
            ]  # fmt: skip
            running[arch, cubin] = subprocess.Popen(command)
    if any([process.wait() for process in running.values()]):
        sys.exit("nvcc failed")
    return running


def kernel_of(name):
    """Its name in the source."""
    return re.search(r"\d([a-z_]+_kernel)", name)[1]


def loop_of(kernel, code):
    """Instructions of the shortest loop with the kernel's anchors; None where there is none."""
    if kernel not in ANCHORS:
        return None
    wanted = [
        ([at for at, text in code if re.search(pattern, text.split(";")[0])], times)
        for pattern, times in ANCHORS[kernel][0].items()
    ]
    lengths = []
    for at, text in code:
        target = re.search(r"\bBRA\b.*?0x([0-9a-f]+)", text)
        if target and int(target[1], 16) < at:
            first = int(target[1], 16)
            if all(sum(first <= anchor <= at for anchor in anchors) >= times for anchors, times in wanted):
                lengths.append((at - first) // 16 + 1)
    return min(lengths, default=None)


def measured(cubin):
    """What each kernel of a cubin needs, by name."""
    usage = subprocess.run([cuobjdump(), "-res-usage", cubin], capture_output=True, text=True, check=True).stdout
    sass = subprocess.run([cuobjdump(), "-sass", cubin], capture_output=True, text=True, check=True).stdout
    out = {}
    for name, registers, stack, shared, local in re.findall(
        r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", usage
    ):
        out[kernel_of(name)] = {"registers": int(registers), "stack": int(stack) + int(local), "shared": int(shared)}
    for part in sass.split("Function : ")[1:]:
        kernel = kernel_of(part.split()[0])
        code = [(int(at, 16), text) for at, text in re.findall(r"/\*([0-9a-f]{4,5})\*/ +([^/]*;)", part)]
        generic = sum(bool(re.match(r"(@!?\w+ )?(LD|ST|ATOM)(\.|\s)", text)) for _, text in code)
        out[kernel] |= {"code": 16 * len(code), "generic": generic}
        loop = loop_of(kernel, code)
        if loop is not None:
            out[kernel] |= {"loop": loop, "of": ANCHORS[kernel][1]}
    return out


def over(found, budget):
    """Names of the values above their budgets."""
    return [name for name, value in found.items() if value > budget.get(name, 0) * SLACK.get(name, 1)]


def main():
    """Compile, print, judge; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architectures", nargs="*", default=ARCHITECTURES)
    parser.add_argument("--accept", action="store_true", help="make today's values the budgets")
    options = parser.parse_args()
    nvcc = re.search(r"V([\d.]+)", subprocess.run(["nvcc", "--version"], capture_output=True, text=True).stdout)[1]
    found = {arch: {} for arch in options.architectures}
    for arch, cubin in compiled(options.architectures, ROOT / "build" / "cuda-check"):
        found[arch] |= measured(cubin)
    if options.accept:
        BUDGETS.write_text(json.dumps({"nvcc": nvcc, "budgets": found}, indent=1, sort_keys=True) + "\n")
    table = json.loads(BUDGETS.read_text())
    judged = table["nvcc"] == nvcc
    if not judged:
        print(f"The budgets are of nvcc {table['nvcc']}, this is {nvcc}: only spills are judged.")
    failed = False
    for arch, kernels in found.items():
        budgets = table["budgets"].get(arch, {})
        if judged and budgets.keys() != kernels.keys():
            failed = True
            print(f"sm_{arch}: kernels with a budget and kernels compiled differ: {sorted(budgets.keys() ^ kernels)}")
        for kernel, values in sorted(kernels.items()):
            wrong = over(values, budgets.get(kernel, {})) if judged else ["stack"] * (values["stack"] > 0)
            failed = failed or bool(wrong)
            told = " ".join(f"{name} {value}" for name, value in values.items())
            print(f"sm_{arch:4} {kernel:26} {told}{'  OVER BUDGET: ' + ', '.join(wrong) if wrong else ''}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
