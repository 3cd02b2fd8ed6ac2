"""The CUDA kernels' own source, run on the CPU under unfair schedules: what `tests/ops` does not compare."""

import math
import re
from functools import partial

import pytest
import torch
from support import OPS, ROOT, assert_same_bits, call, copy_of, generator, make_state, random_batch
from support.emulated import PLANTED, PLANTED_IN_LOSS, Emulated
from support.parity import LIMITS, SEEDS, SIZES, batch_of, schedules
from support.planted import step_goes_wrong

from infonoise_ext.ops.schemas import COUNTERS

pytestmark = pytest.mark.slow  # builds the emulator


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("size", SIZES)
def test_launches(emulated, size, limits):
    """Several groups take two more, for the moments of all rings and the tables."""
    for groups in (1, 3):
        op, state = Emulated(emulated, **LIMITS[limits]), make_state(groups)
        batch = batch_of(state, size, generator(size))
        call(op, "observe_", state, *batch)
        assert op.launches == (0 if size == 0 else 2 if size > op.options[2] else 1)
        for n in (5, 210):
            call(op, "advance_", state, *batch, n, None)
            assert op.launches == (2 if max(size, n) > op.options[2] else 1) + 2 * (groups > 1)


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("groups", [1, 3])
def test_what_backward_computes_again_is_counted_and_not_recorded(emulated, groups, limits):
    g = generator(groups)
    expected = make_state(groups, bins=20, capacity=6)
    ops = schedules("emulated", emulated, recomputed=True, **LIMITS[limits])
    states = [copy_of(expected) for _ in ops]
    batch = batch_of(expected, 300, g)
    for op, state in zip(ops, states, strict=True):
        call(op, "observe_", state, *batch)
    group = batch[3]
    owner = torch.zeros(300, dtype=torch.int64) if group is None else torch.where(group < groups, group, 0).clamp(0)
    expected["counters"][:, COUNTERS.index("recomputed")] = torch.bincount(owner, minlength=groups)
    for state in states:
        assert_same_bits(state, expected)


def test_two_launch_paths_and_block_sizes_agree(emulated):
    """A batch of 700 in one block, in tiles, in tiles squeezed for want of scratch memory, by 2 to 16 warps."""
    state = make_state(2, bins=40, capacity=7, warmup=1, refresh_every=1, min_count=1)
    batch = batch_of(state, 700, generator(9))
    results = []
    for options in (
        {"threads": 64},
        {"threads": 512},
        {"threads": 64, "one_launch": 100, "tile": 99},
        {"threads": 96, "one_launch": 699, "tile": 64, "tallies": 400},
    ):
        results.append(copy_of(state))
        call(Emulated(emulated, 5, **options), "advance_", results[-1], *batch, 700, None)
    for state in results:
        assert_same_bits(state, results[0])
    assert (results[0]["counters"][:, 2] == 1).all()


@pytest.mark.parametrize(("bins", "width"), [(20, 0.17), (20, 0.3), (20, 2.1), (700, 0.01)])
def test_many_samples_of_one_table_are_the_cpus_bit_for_bit(emulated, bins, width):
    """Enough for every block to look bins up by cells, of which some hold many bins; of bins too wide, by search."""
    state, n = make_state(bins=bins, low=0.01, high=0.01 * math.exp(bins * width)), 5_003
    state["cdf"][:, 2:4] = state["cdf"][:, 1:2]  # empty bins
    expected = copy_of(state)
    batch = random_batch(state, 40, generator(1))
    for name, rest in (("sample_", (n, None)), ("advance_", (*batch, None, None, n, None))):
        wanted = call(OPS["compiled"], name, expected, *rest)
        assert torch.equal(call(Emulated(emulated, 2), name, state, *rest), wanted)


@pytest.mark.parametrize("start", [0, 1, 4])
@pytest.mark.parametrize(("bins", "high"), [(32, 50.0), (400, 1.0), (64, 1e30)])
def test_a_plain_batch_in_tiles_is_the_cpus_bit_for_bit(emulated, bins, high, start):
    """Its bins are found by cells, of which some hold several edges; not where the range is beyond them, or a sample
    does not begin at a whole four."""
    state = make_state(bins=bins, high=high, capacity=5)
    sigma, error = (x[start:] for x in random_batch(state, 1031, generator(bins)))
    expected = copy_of(state)
    call(OPS["compiled"], "observe_", expected, sigma, error, None, None)
    for op in schedules("emulated", emulated, one_launch=100, tile=200):
        found = copy_of(state)
        call(op, "observe_", found, sigma, error, None, None)
        assert_same_bits(found, expected)
    assert (expected["count"] > 5).any()


def test_every_planted_bug_is_on_the_list():
    text = "".join(path.read_text() for path in (ROOT / "csrc").rglob("*.*h"))
    found = re.findall(r"PLANT\((\w+),", text)
    assert sorted(found) == sorted(("name", *PLANTED, *PLANTED_IN_LOSS))  # "name": the macro itself


@pytest.mark.parametrize("bug", ["", *PLANTED])
def test_every_planted_bug_is_caught(planted, bug):
    planted.plant(bug)
    found = [
        step_goes_wrong(partial(Emulated, planted, seed, threads=128, one_launch=one_launch), seed)
        for seed in SEEDS
        for one_launch in (9, 999)
    ]
    assert any(found) == bool(bug)
