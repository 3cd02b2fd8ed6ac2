"""Random traffic for as long as you like: `python -m tests.faults.soak --minutes 60`.

Batches of 1 to 100,000 with spoiled losses among them, gradient accumulation, refreshes, resets, saves and
loads; every sigma is checked, and the memory of the process is watched.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import os
import random
import tempfile
import time
import tracemalloc
from pathlib import Path

import torch
from tqdm import tqdm

import infonoise_ext as inx

LOW, HIGH, LARGEST = 0.002, 80.0, 100_000
SPOILS = (math.nan, math.inf, -math.inf, -1.0)


def resident() -> int:
    """Bytes of memory that this process occupies now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Traffic:
    """One schedule of two groups, and what a careless training run does to it."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.file = folder / "schedule.pt"
        self.noise = torch.randn(2 * LARGEST, 4, generator=torch.Generator().manual_seed(seed)).square().mean(1)
        self.group = torch.arange(2 * LARGEST) % 2
        self.schedule = inx.InfoNoise(LOW, HIGH, groups=2, seed=seed, refresh_every=10)
        self.schedule.save(self.file)
        self.samples = 0

    def size(self) -> int:
        """1 to 100,000, most of them small: median 4, mean about 3000."""
        return int(LARGEST ** (self.random.random() ** 3))

    def losses(self, sigma: torch.Tensor) -> torch.Tensor:
        start = self.random.randrange(LARGEST)
        error = self.noise[start : start + len(sigma)] * sigma.square() / (1 + 4 * sigma.square())
        if self.random.random() < 0.01:
            error[self.random.randrange(len(error)) :] = self.random.choice(SPOILS)
        return error

    def step(self) -> None:
        """One training step, then now and then something rarer."""
        size, schedule = self.size(), self.schedule
        group = self.group[:size]
        sigma = schedule.sample(size, group)
        if self.random.random() < 0.5:
            sigma = schedule.advance(sigma, self.losses(sigma), group=group, next_group=group)
        else:
            schedule.observe(sigma, self.losses(sigma), group=group)
            schedule.step()
        low, high = sigma.aminmax()
        if not (float(low) >= LOW * (1 - 1e-6) and float(high) <= HIGH * (1 + 1e-6)):  # NaN fails too
            raise AssertionError(f"a sigma is out of range: {low} to {high}")
        self.samples += size
        self.rarely()

    def rarely(self) -> None:
        chance = self.random.random()
        if chance < 0.005:
            self.schedule.refresh()
        elif chance < 0.0052:
            self.schedule.save(self.file)
        elif chance < 0.0054:
            self.schedule.load(self.file)
        elif chance < 0.0055:
            self.schedule = copy.deepcopy(self.schedule)
        elif chance < 0.0056:
            self.schedule.summary()
        elif chance < 0.00561:
            self.schedule.reset()


def soak(steps: int | None = None, seconds: float = math.inf, seed: int = 0, trace: bool = False) -> dict[str, float]:
    """Run until `steps` or `seconds` are over; memory is compared from a tenth of the steps (or 1000) on.

    Raises:
        AssertionError: a noise level that is not finite or out of range.
    """
    settled = 1000 if steps is None else steps // 10
    start, before = time.monotonic(), {}
    if trace:
        tracemalloc.start()
    with tempfile.TemporaryDirectory() as folder:
        traffic = Traffic(seed, Path(folder))
        bar = tqdm(itertools.count() if steps is None else range(steps), total=steps, unit="step", mininterval=5)
        for i in bar:
            traffic.step()
            if i == settled:
                before = {"resident": resident(), "python": tracemalloc.get_traced_memory()[0]}
            if i % 1024 == 0 and time.monotonic() - start > seconds:
                break
        elapsed = time.monotonic() - start
        report = {
            "steps": i + 1, "samples": traffic.samples, "seconds": elapsed, "steps_per_second": (i + 1) / elapsed,
            "resident_mib": resident() / 2**20, "resident_growth_mib": (resident() - before["resident"]) / 2**20,
            "python_growth_kib": (tracemalloc.get_traced_memory()[0] - before["python"]) / 2**10,
        }  # fmt: skip
    tracemalloc.stop()
    return report


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trace", action="store_true", help="count Python's own allocations too; slower")
    arguments = parser.parse_args()
    print(json.dumps(soak(arguments.steps, 60 * arguments.minutes, arguments.seed, arguments.trace), indent=1))


if __name__ == "__main__":
    main()
