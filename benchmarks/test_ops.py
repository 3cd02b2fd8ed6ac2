"""pytest-benchmark suite, one thread; `python -m benchmarks` runs it and prints the table of ratios."""

import time

import pytest
import torch

from .cases import (
    BATCHED,
    BATCHES,
    BINS,
    IMPLEMENTATIONS,
    LOSS,
    LOSS_BATCHES,
    PER_TABLE,
    REFRESH_EVERY,
    make_case,
)

ROUND_SECONDS = 0.02
SLOWEST_CASE_SECONDS = 20.0


def measure(benchmark, name, implementation, batch, bins):
    torch.set_num_threads(1)
    case = make_case(name, implementation, batch, bins)
    case()
    start = time.perf_counter()
    case()
    once = time.perf_counter() - start
    iterations = max(1, round(ROUND_SECONDS / once))
    if name == "advance_":  # whole periods, so that every round holds its share of refreshes
        iterations = REFRESH_EVERY * max(1, round(iterations / REFRESH_EVERY)) if once < 0.01 else 1
    rounds = int(min(25, max(3, 1.0 / (once * iterations))))
    if once * iterations * rounds > SLOWEST_CASE_SECONDS:
        rounds = 3
    benchmark.extra_info.update(op=name, implementation=implementation, batch=batch, bins=bins)
    benchmark.pedantic(case, rounds=rounds, iterations=iterations, warmup_rounds=1)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("bins", BINS)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", BATCHED)
def test_batched(benchmark, name, batch, bins, implementation):
    measure(benchmark, name, implementation, batch, bins)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("bins", BINS)
@pytest.mark.parametrize("name", PER_TABLE)
def test_per_table(benchmark, name, bins, implementation):
    measure(benchmark, name, implementation, 1024, bins)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS[:3])
@pytest.mark.parametrize("batch", LOSS_BATCHES)
@pytest.mark.parametrize("name", LOSS)
def test_loss(benchmark, name, batch, implementation):
    measure(benchmark, name, implementation, batch, BINS[0])
