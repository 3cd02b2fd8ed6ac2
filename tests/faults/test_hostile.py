"""State that no schedule made: whatever it holds, an op reads and writes within its tensors and divides by no zero."""

import math
import os
import subprocess
import sys
import time
from itertools import product

import pytest
import torch
from support import OPS, REFRESH, assert_same_bits, generator, make_state, take
from support.parity import rough_moments

import infonoise_ext as inx
from infonoise_ext.ops.schemas import COUNTERS, GRID_ROWS, LAYOUT, MOMENTS, PARAMS

# numpy's, where Triton's interpreter computes with what is hostile
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton.runtime.interpreter")
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
        ops.refresh_(moments, *take(state, REFRESH))
        ops.refresh_(state["moments"], *take(state, REFRESH))


def spoiled(generator):
    """A state of which some tensors, or single values of them, are anything at all."""
    capacity = int(torch.randint(1, 8, (), generator=generator))
    state = make_state(bins=int(torch.randint(2, 40, (), generator=generator)), capacity=capacity)
    state["moments"] = torch.rand(1, state["count"].shape[1], len(MOMENTS), generator=generator, dtype=torch.float64)
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


HOSTILE = [*product(("min_count", "reach", "signal", "pivot_rule", "width"), (0.0, -1.0, 1e300, math.inf, math.nan))]


@pytest.mark.parametrize("backend", ["compiled", "triton"])
@pytest.mark.parametrize(("name", "value"), [*HOSTILE, (None, math.nan), (None, math.inf), (None, -1.0)])
def test_refresh_survives_any_constant_and_any_moments(backend, name, value):
    """Without a name the value is a moment of every third bin. What comes of it is counted, once."""
    state, margins = guarded(make_state(bins=21, signal=0))
    moments = rough_moments(state, generator(2), 0.2)
    if name is None:
        moments[0, ::3] = value
    else:
        state["params"][PARAMS.index(name)] = value
    OPS[backend].refresh_(moments, *take(state, REFRESH))
    for whole in margins.values():
        assert bool((whole[:GUARD] == 77).all() & (whole[-GUARD:] == 77).all())
    first = COUNTERS.index("refreshes")
    assert int(state["counters"][0, first : first + 3].sum()) == 1


@pytest.mark.parametrize("backend", ["compiled", "eager", "triton"])
def test_a_table_that_is_also_the_previous_one_is_refreshed_all_the_same(backend):
    """And counts that are also the previous ones stay."""
    state = make_state(bins=21)
    moments = rough_moments(state, generator(2), 0.2)
    state["count"].copy_(moments[..., 0])
    alias = {name: x.clone() for name, x in state.items()}
    counts = alias["count"].expand(2, 21).clone().unsqueeze(0)
    alias |= {"previous_cdf": alias["cdf"], "previous_count": counts, "count": counts[:, 1]}
    for each in (state, alias):
        OPS[backend].refresh_(moments, *take(each, REFRESH))
    assert_same_bits(alias, {name: state[name] for name in ("cdf", "mmse", "stats", "counters", "count")})


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
    assert int(schedule.state.counters[0, COUNTERS.index("refreshes")]) == 0
