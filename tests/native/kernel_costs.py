"""What the CUDA kernels cost by counts and by a model, without a GPU: the stop-watch of work on them.

    python tests/native/kernel_costs.py --save before.json      # in one checkout
    python tests/native/kernel_costs.py --against before.json   # in another: ratios, after over before
    python tests/native/kernel_costs.py --intervals             # instructions between barriers of the block
    python tests/native/kernel_costs.py --fill                  # the table of docs/benchmarks.md, and these numbers
    python tests/native/kernel_costs.py --against benchmarks/results/kernels.json

Counts are of PTX, by the interpreter of `tests/native/ptx`; its `cost.h` says what the model knows and what it does
not. A small step is as long as its slowest block; of large ones the instructions of one more strip of 32 samples are
counted, and issued by all multiprocessors without a pause. Needs nvcc.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from conftest import KERNELS, built  # noqa: E402
from support import OPS, call, copy_of, generator, make_state, random_batch  # noqa: E402
from support.builds import ptx  # noqa: E402
from support.interpreted import Interpreted  # noqa: E402
from support.parity import pair_of  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "kernels.json"
PAGE, MARK = ROOT / "docs" / "benchmarks.md", "kernel-table"
CLOCK, MULTIPROCESSORS, NODE = 1.9e3, 132, 1.5
"""An H200: cycles a microsecond, multiprocessors of four schedulers, and an empty kernel's node in microseconds."""
BANDWIDTH = {"copy": 4.3e6, "fill": 4.1e6}
"""Bytes a microsecond, of both directions together."""
FREE = ("move", "load_param")
CELLS = 8192
"""As `Limits` of csrc/cuda/block.cuh; tests take fewer."""


@dataclass(frozen=True)
class Work:
    """One row: what runs, at which sizes, and the goal. Of two sizes the difference counts, and `whole` samples."""

    name: str
    run: object
    sizes: tuple
    goal: str
    whole: int = 0
    bytes: int = 0  # of a sample


def learned(bins):
    """A state whose rings are full, due for a refresh at every second step."""
    state = make_state(bins=bins, capacity=256, warmup=1, refresh_every=2, min_count=2)
    for seed in range(12):
        batch = random_batch(state, 4096, generator(seed), spoiled=False)
        call(OPS["compiled"], "observe_", state, *batch, None, None)
    return state


def step(bins=128, refresh=False, **limits):
    def run(module, size):
        state = learned(bins)
        state["counters"][:, 0] = 2 if refresh else 1
        sigma, error = random_batch(state, size, generator(size), spoiled=False)
        batch = (sigma.clamp(*state["grid"][0, [0, -1]].tolist()), error)  # what a schedule drew is within its range
        op = Interpreted(module, threads=512, cells=CELLS, **limits)
        call(op, "advance_", copy_of(state), *batch, None, None, size, None)

    return run


def draw(module, n):
    call(Interpreted(module, threads=512, cells=CELLS), "sample_", learned(128), n, None)


def loss(module, samples):
    a, b = pair_of((samples, 49_152))
    op = Interpreted(module, threads=512, cut=(32_768, 4096))
    op.denoising_error(a, b)
    op.denoising_error_backward(torch.ones(samples), a, b)


TILED = {"one_launch": 1024, "tile": 16_384}
WORKS = (
    Work("advance_, B = 64", step(), (64,), "1.6 nodes"),
    Work("advance_, B = 256", step(), (256,), "1.6 nodes"),
    Work("advance_, B = 512", step(), (512,), "1.6 nodes"),
    Work("advance_, B = 4,096", step(), (4096,), "2.2 nodes"),
    Work("advance_, B = 65,536", step(tile=500), (65_536,), "5 nodes"),  # a tile for each multiprocessor
    Work("advance_ with a refresh, K = 128, B = 256", step(refresh=True), (256,), "+7 µs"),
    Work("advance_ with a refresh, K = 512, B = 256", step(512, refresh=True), (256,), "+12 µs"),
    Work("advance_, B = 2^24, a strip", step(**TILED), (131_072, 262_144), "60% of the bandwidth bound", 2**24, 12),
    Work("sample_, n = 2^26, a strip", draw, (131_072, 262_144), "78% of a fill", 2**26, 4),
    Work("denoising_loss, 2 GB, a strip", loss, (4, 8), "93% of a copy", 2**29, 20),
)


def measured(module, work):
    """Counts of a row, by the model's units."""
    counts = []
    for size in work.sizes:
        module.measure(True)
        work.run(module, size)
        kernels = module.costs()
        counts.append(sum(k["instructions"] for k in kernels.values()))
    slowest = max(kernels.values(), key=lambda k: k["cycles"])
    row = {
        "instructions": counts[0],
        "conflicts": sum(k["conflicts"] for k in kernels.values()),
        "launches": sum(k["launches"] for k in kernels.values()),
        "intervals": slowest["intervals"],
    }
    if not work.whole:
        return row | {"model": round(sum(k["cycles"] for k in kernels.values()) / CLOCK, 2)}
    elements = (work.sizes[1] - work.sizes[0]) * (49_152 if work.run is loss else 1)
    strip = 32 * (counts[1] - counts[0]) / elements
    issued = strip * work.whole / 32 / (4 * MULTIPROCESSORS)
    return row | {"instructions": round(strip, 1), "model": round(issued / CLOCK, 1)}


def reached(work, row):
    """The model in the goal's unit."""
    if work.goal.endswith("nodes"):
        return f"{row['launches'] + row['model'] / NODE:.1f} nodes"
    if work.goal.startswith("+"):
        return f"{row['model']:.1f} µs in all"
    bound = work.whole * work.bytes / BANDWIDTH["fill" if "fill" in work.goal else "copy"]
    return f"{bound / max(bound, row['model']):.0%} if issue and memory overlap"


def table(rows):
    """Of docs/benchmarks.md."""
    lines = [
        "Model, not measured: no GPU has run these kernels. PTX of sm_90; K = 128, C = 256 where a row says nothing.",
        "",
        "| work | warp instructions | launches | model, µs | model, as the goal | goal |",
        "|---|---|---|---|---|---|",
    ]
    for work in WORKS:
        row = rows[work.name]
        lines.append(
            f"| {work.name} | {row['instructions']:,} | {row['launches']} | {row['model']:,} | {reached(work, row)} "
            f"| {work.goal} |"
        )
    return "\n".join(lines)


def fill(rows):
    text = PAGE.read_text()
    before, rest = text.split(f"<!-- {MARK} -->\n")
    after = rest.split(f"<!-- /{MARK} -->\n")[1]
    PAGE.write_text(f"{before}<!-- {MARK} -->\n{table(rows)}\n<!-- /{MARK} -->\n{after}")


def told(name, row, old, intervals):
    print(f"{name:44} {row['instructions']:>12,} instructions {row['model']:>9,} µs", end="")
    if old:
        print("".join(f"  x{row[key] / old[key]:.3f} {key}" for key in ("instructions", "model")), end="")
    print()
    for cycles, counts in row["intervals"] if intervals else ():
        paid = {c: n for c, n in sorted(counts.items(), key=lambda pair: -pair[1]) if c not in FREE}
        print(f"    {cycles:9.0f} cycles  " + " ".join(f"{c} {n}" for c, n in paid.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--intervals", action="store_true")
    parser.add_argument("--fill", action="store_true")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    module = built("_interpreted")[0]
    module.load(ptx(*KERNELS))
    module.watch(False)
    old = json.loads(options.against.read_text()) if options.against else {}
    rows = {}
    for work in WORKS:
        if options.only in work.name:
            rows[work.name] = measured(module, work)
            told(work.name, rows[work.name], old.get(work.name), options.intervals)
    if options.fill:
        fill(rows)
    if options.save or options.fill:
        saved = {name: {k: v for k, v in row.items() if k != "intervals"} for name, row in rows.items()}
        (options.save or RESULTS).write_text(json.dumps(saved, indent=1) + "\n")


if __name__ == "__main__":
    main()
