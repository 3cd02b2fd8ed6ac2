"""State that no schedule made: whatever it holds, an op reads and writes within its tensors and divides by no zero."""

import os
import subprocess
import sys
import time

import pytest
import torch
from support import OPS, REFRESH, make_state

import infonoise_ext as inx
from infonoise_ext.ops.schemas import GRID_ROWS, LAYOUT, PARAMS

GUARD = 4096
SIGMA = torch.tensor([0.0, 0.01, 0.3, 1.0, 10.0, float("inf"), float("nan"), -1.0]).repeat(8)
NUMBERS = (0.0, -1.0, 0.5, 3.0, 1e300, -1e300, float("inf"), float("nan"), 2.0**62, 2.0**63)


def guarded(state):
    """Each tensor within a larger one, whose margins must stay as they are."""
    margins, out = {}, {}
    for name, x in state.items():
        whole = torch.full((x.numel() + 2 * GUARD,), 77, dtype=x.dtype)
        whole[GUARD:-GUARD] = x.reshape(-1)
        out[name], margins[name] = whole[GUARD:-GUARD].view(x.shape), whole
    return out, margins


def use(state, ops):
    """Every op that reads or changes the state."""
    batch = (SIGMA, SIGMA.abs(), None, None)
    for _ in range(2):
        ops.advance_(*(state[name] for name in LAYOUT), *batch, 70, None)
        ops.observe_(*(state[name] for name in ("ring", "count", "counters", "grid")), *batch)
        ops.sample_(*(state[name] for name in ("cdf", "rng", "grid", "params")), 5000, None)
        moments = ops.bin_stats(state["ring"], state["count"])
        ops.refresh_(moments, *(state[name] for name in REFRESH))


def spoiled(generator):
    """A state of which some tensors, or single values of them, are anything at all."""
    capacity = int(torch.randint(1, 8, (), generator=generator))
    state = make_state(bins=int(torch.randint(2, 40, (), generator=generator)), capacity=capacity)
    for x in state.values():
        share = float(torch.rand((), generator=generator)) ** 3
        chosen = torch.rand(x.shape, generator=generator) < share
        if x.dtype.is_floating_point:
            values = torch.tensor(NUMBERS, dtype=x.dtype)[torch.randint(len(NUMBERS), x.shape, generator=generator)]
        else:
            values = torch.randint(-(2**63), 2**63 - 1, x.shape, generator=generator)
        x.copy_(torch.where(chosen, values, x))
    return state


def fuzz(first, last):
    for seed in range(first, last):
        state, margins = guarded(spoiled(torch.Generator().manual_seed(seed)))
        use(state, OPS["compiled"])
        for name, whole in margins.items():
            assert bool((whole[:GUARD] == 77).all() & (whole[-GUARD:] == 77).all()), (seed, name)


def fuzz_for(seconds):
    """For scripts/fuzz.sh: without margins, beyond which a sanitizer sees every access."""
    start = seed = time.time_ns()
    while time.time_ns() - start < seconds * 1e9:
        use(spoiled(torch.Generator().manual_seed(seed)), OPS["compiled"])
        seed += 1
    print(f"{seed - start} states from seed {start} on: no access out of bounds, nothing undefined")


@pytest.mark.slow
def test_compiled_ops_survive_any_state():
    """In a process of its own: a division by zero or a write far out would end it."""
    code = "from faults.test_hostile import fuzz; fuzz(0, 1500)"
    here = os.path.dirname(os.path.dirname(__file__))
    result = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True)
    assert result.returncode == 0, (result.returncode, result.stderr[-2000:])


@pytest.mark.parametrize("backend", ["compiled", "triton"])
@pytest.mark.parametrize("count", [2**63 - 3, -7, -(2**63)])
def test_counts_that_wrapped_name_slots_still(backend, count):
    state, margins = guarded(make_state(bins=5, capacity=3))
    state["count"].fill_(count)
    sigma = state["grid"][GRID_ROWS.index("sigma"), :-1].repeat(6).float()
    OPS[backend].observe_(*(state[n] for n in ("ring", "count", "counters", "grid")), sigma, sigma, None, None)
    whole = margins["ring"]
    assert bool((whole[:GUARD] == 77).all() & (whole[-GUARD:] == 77).all())
    assert bool((state["ring"] >= 0).all())


def test_a_cadence_of_zero_never_comes_due():
    schedule = inx.InfoNoise(seed=1, warmup=1, min_count=1)
    schedule.state.params[PARAMS.index("refresh_every")] = 0
    sigma = schedule.sample(64)
    schedule.advance(sigma, sigma)
    assert schedule.summary()["refreshes"] == 0
