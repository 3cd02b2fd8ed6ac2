"""The CUDA kernels' own source, run on the CPU under unfair schedules, against the reference."""

import math
import re

import pytest
import torch
from support import (
    ADVANCE,
    FLOATS,
    MUTABLE,
    OPS,
    ROOT,
    assert_same_sigma,
    assert_same_state,
    copy_of,
    generator,
    make_state,
    put_edges_at_uniforms,
    random_batch,
    take,
)
from support.emulated import PLANTED, PLANTED_IN_LOSS, Emulated

from infonoise_ext.ops.schemas import COUNTERS, SIGNALS

pytestmark = pytest.mark.slow  # builds the emulator

RINGS = ("ring", "count", "counters", "grid")
TABLES = ("mmse", "cdf", "stats", "counters", "grid", "params")
DRAW = ("cdf", "rng", "grid", "params")
SEEDS = (0, 1, 2, 3)
LIMITS = {"one launch": {}, "three launches": {"one_launch": 200, "tile": 128}}
SIZES = (0, 1, 31, 33, 300, 1025)


def schedules(module, **options):
    return [Emulated(module, seed, **options) for seed in SEEDS]


def inputs(state, size, g, dtype=torch.float32):
    """A spoiled batch with a mask, and groups, some unknown, when there are several."""
    groups = len(state["cdf"])
    sigma, error = random_batch(state, size, g, dtype)
    mask = torch.rand(size, generator=g) < 0.8
    group = torch.randint(-1, groups + 1, (size,), generator=g) if groups > 1 else None
    return sigma, error, mask, group


def assert_identical(states):
    for state in states[1:]:
        for name in MUTABLE:
            assert torch.equal(state[name], states[0][name]), name


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_observe_is_the_reference_under_every_schedule(emulated, size, groups, limits):
    g = generator(size + groups)
    expected = make_state(groups, bins=20, capacity=6)
    ops = schedules(emulated, **LIMITS[limits])
    states = [copy_of(expected) for _ in ops]
    for dtype in (torch.float32, torch.bfloat16):
        batch = inputs(expected, size, g, dtype)
        OPS["reference"]["observe_"](*take(expected, RINGS), *batch)
        for op, state in zip(ops, states, strict=True):
            op.observe_(*take(state, RINGS), *batch)
            assert op.launches == (0 if size == 0 else 3 if size > op.options[2] else 1)
    assert_identical(states)
    assert_same_state(states[0], expected)


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("groups", [1, 3])
def test_what_backward_computes_again_is_counted_and_not_recorded(emulated, groups, limits):
    g = generator(groups)
    expected = make_state(groups, bins=20, capacity=6)
    ops = schedules(emulated, recomputed=True, **LIMITS[limits])
    states = [copy_of(expected) for _ in ops]
    sigma, error, mask, group = inputs(expected, 300, g)
    for op, state in zip(ops, states, strict=True):
        op.observe_(*take(state, RINGS), sigma, error, mask, group)
    owner = torch.zeros(300, dtype=torch.int64) if group is None else torch.where(group < groups, group, 0).clamp(0)
    expected["counters"][:, COUNTERS.index("recomputed")] = torch.bincount(owner, minlength=groups)
    for name in ("ring", "count", "counters"):
        assert torch.equal(states[0][name], expected[name]), name
    assert_identical(states)


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_advance_is_the_reference_under_every_schedule(emulated, size, groups, limits):
    """Four steps, refreshes at the second and the fourth; the batches drawn differ in size from the recorded."""
    g = generator(size + groups)
    expected = make_state(groups, bins=24, capacity=9, warmup=2, refresh_every=2, coverage=0.3, min_count=1, smooth=1)
    ops = schedules(emulated, **LIMITS[limits])
    states = [copy_of(expected) for _ in ops]
    for n in (size, 0, 5, 130):
        batch = inputs(expected, size, g)
        owner = torch.randint(0, groups, (n,), generator=g) if n % 2 and groups > 1 else None
        wanted = OPS["reference"]["advance_"](*take(expected, ADVANCE), *batch, n, owner)
        drawn = [op.advance_(*take(state, ADVANCE), *batch, n, owner) for op, state in zip(ops, states, strict=True)]
        assert ops[0].launches == (3 if max(size, n) > ops[0].options[2] else 1)
        assert all(torch.equal(sigma, drawn[0]) for sigma in drawn)
        assert_same_sigma(drawn[0], wanted)
        assert_identical(states)
        assert_same_state(states[0], expected)
    assert (expected["counters"][:, 2] + expected["counters"][:, 3] == 2).all()
    if size > 200:
        assert (expected["counters"][:, 2] == 2).all()


def test_two_launch_paths_and_block_sizes_agree(emulated):
    """A batch of 700 in one block, in tiles, in tiles squeezed for want of scratch memory, by 2 to 16 warps."""
    state = make_state(2, bins=40, capacity=7, warmup=1, refresh_every=1, coverage=0.3, min_count=1)
    batch = inputs(state, 700, generator(9))
    results = []
    for options in (
        {"threads": 64},
        {"threads": 512},
        {"threads": 64, "one_launch": 100, "tile": 99},
        {"threads": 96, "one_launch": 699, "tile": 64, "tallies": 400},
    ):
        results.append(copy_of(state))
        Emulated(emulated, 5, **options).advance_(*take(results[-1], ADVANCE), *batch, 700, None)
    assert_identical(results)
    assert (results[0]["counters"][:, 2] == 1).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_observe_reads_every_dtype_and_stride(emulated, dtype):
    g = generator(3)
    state = make_state(2)
    expected = copy_of(state)
    sigma, error = random_batch(state, 300, g, dtype)
    error[:4] = torch.tensor([0.0, 6e-8, 6.1e-5, 65504.0]).to(dtype)  # half: zero, denormals, the largest
    mask, group = torch.rand(300, generator=g) < 0.5, torch.randint(0, 2, (300,), generator=g)
    views = (sigma[::3], error.view(100, 3)[:, 0], mask[::3], group[::3].to(torch.int32))
    Emulated(emulated, 2).observe_(*take(state, RINGS), *views)
    OPS["reference"]["observe_"](*take(expected, RINGS), *views)
    assert_same_state(state, expected)


def test_widest_grid_fits_in_shared_memory(emulated):
    state = make_state(bins=4096, capacity=2, warmup=1, refresh_every=1, coverage=0.1, min_count=1, smooth=2, signal=3)
    expected = copy_of(state)
    batch = random_batch(state, 2000, generator(4))
    drawn = Emulated(emulated, 2, threads=128).advance_(*take(state, ADVANCE), *batch, None, None, 64, None)
    wanted = OPS["compiled"]["advance_"](*take(expected, ADVANCE), *batch, None, None, 64, None)
    assert_same_sigma(drawn, wanted)
    assert_same_state(state, expected)
    assert expected["counters"][0, 2] == 1


@pytest.mark.parametrize("capacity", [1, 8, 100])
def test_bin_stats_is_the_reference(emulated, capacity):
    state = make_state(2, capacity=capacity)
    g = generator(capacity)
    state["ring"].copy_(torch.rand(state["ring"].shape, generator=g) * 1e3)
    state["count"].copy_(torch.randint(0, 3 * capacity, (2, 32), generator=g))
    args = take(state, ("ring", "count"))
    found = [op.bin_stats(*args) for op in schedules(emulated)]
    assert all(torch.equal(x, found[0]) for x in found)
    torch.testing.assert_close(found[0], OPS["reference"]["bin_stats"](*args), rtol=1e-13, atol=0)


@pytest.mark.parametrize("rule", [(0, 0.3), (1, 0.002), (2, 0.02)])
@pytest.mark.parametrize("smooth", [0, 2.5])
@pytest.mark.parametrize("empty", [0, 0.3])
@pytest.mark.parametrize("signal", range(len(SIGNALS)))
def test_refresh_is_the_reference(emulated, rule, smooth, empty, signal):
    state = make_state(3, pivot_rule=rule[0], pivot_value=rule[1], smooth=smooth, coverage=0.3, signal=signal)
    state["grid"][3, 5:12] = 1e-3
    expected = copy_of(state)
    g = generator(rule[0])
    ops = schedules(emulated)
    states = [copy_of(state) for _ in ops]
    mean = state["grid"][1, :-1].square() * torch.rand(3, 32, generator=g, dtype=torch.float64)
    count = torch.where(torch.rand(3, 32, generator=g) < empty, 1.0, 50.0).double()
    moments = torch.stack((count, count * mean, count * mean.square() * 2), -1)
    for share in (1, 0, 1):  # the second has nothing measured
        OPS["reference"]["refresh_"](moments * share, *take(expected, TABLES))
        for op, each in zip(ops, states, strict=True):
            op.refresh_(moments * share, *take(each, TABLES))
    assert_identical(states)
    assert_same_state(states[0], expected)
    assert (expected["counters"][:, 2:4] == torch.tensor([2, 1])).all()


@pytest.mark.parametrize("n", [0, 1, 31, 33, 1025])
@pytest.mark.parametrize(("stratified", "rank", "groups"), [(0, 3, 1), (0, 0, 3), (1, 2, 3)])
def test_sample_is_the_reference(emulated, n, stratified, rank, groups):
    expected = make_state(groups, stratified=stratified, rank=rank, world=4, seed=n + 1)
    expected["rng"][1] = 2**33 - 1
    group = torch.randint(0, groups, (n,), generator=generator(n)) if groups > 1 else None
    ops = schedules(emulated)
    states = [copy_of(expected) for _ in ops]
    for _ in range(2):
        wanted = OPS["reference"]["sample_"](*take(expected, DRAW), n, group)
        drawn = [op.sample_(*take(state, DRAW), n, group) for op, state in zip(ops, states, strict=True)]
        assert all(torch.equal(sigma, drawn[0]) for sigma in drawn)
        assert_same_sigma(drawn[0], wanted)
    assert_identical(states)
    assert torch.equal(states[0]["rng"], expected["rng"])


@pytest.mark.parametrize("width", [0.3, 2.1])
def test_many_samples_of_one_table_are_the_cpus_bit_for_bit(emulated, width):
    """Enough for every block to look its rows up by cells; of bins too wide for rows, by search."""
    state = make_state(bins=20, low=0.01, high=0.01 * math.exp(20 * width))
    expected = copy_of(state)
    n = 13_003
    wanted = OPS["compiled"]["sample_"](*take(expected, DRAW), n, None)
    assert torch.equal(Emulated(emulated, 2).sample_(*take(state, DRAW), n, None), wanted)
    sigma, error = random_batch(state, 40, generator(1))
    rest = (None, None, n, None)
    wanted = OPS["compiled"]["advance_"](*take(expected, ADVANCE), sigma, error, *rest)
    assert torch.equal(Emulated(emulated, 2).advance_(*take(state, ADVANCE), sigma, error, *rest), wanted)


@pytest.mark.parametrize("stratified", [0, 1])
@pytest.mark.parametrize("groups", [1, 3])
def test_draws_of_tables_whose_edges_are_the_uniforms(emulated, stratified, groups):
    """Beyond an edge lie bins without mass, so the level of a draw in the wrong bin is far off."""
    expected = make_state(groups, bins=40, stratified=stratified, rank=1, world=2)
    put_edges_at_uniforms(expected, 300)
    group = torch.randint(0, groups, (300,), generator=generator(1)) if groups > 1 else None
    drawn = [op.sample_(*take(copy_of(expected), DRAW), 300, group) for op in schedules(emulated)]
    assert all(torch.equal(sigma, drawn[0]) for sigma in drawn)
    assert_same_sigma(drawn[0], OPS["reference"]["sample_"](*take(expected, DRAW), 300, group))


def caught(op, seed):
    """Whether a step on fresh data raises or differs from the reference."""
    expected = make_state(2, bins=12, capacity=5, warmup=1, refresh_every=1, coverage=0.1, min_count=1, signal=2)
    state = copy_of(expected)
    batch = inputs(expected, 260, generator(seed))
    rest = (260, torch.arange(260) % 2)
    wanted = OPS["reference"]["advance_"](*take(expected, ADVANCE), *batch, *rest)
    try:
        assert_same_sigma(op.advance_(*take(state, ADVANCE), *batch, *rest), wanted)
        assert_same_state(state, expected)
    except (AssertionError, RuntimeError):
        return True
    return False


def test_every_planted_bug_is_on_the_list():
    text = "".join(path.read_text() for path in (ROOT / "csrc").rglob("*.*h"))
    found = re.findall(r"PLANT\((\w+),", text)
    assert sorted(found) == sorted(("name", *PLANTED, *PLANTED_IN_LOSS))  # "name": the macro itself


@pytest.mark.parametrize("bug", ["", *PLANTED])
def test_every_planted_bug_is_caught(planted, bug):
    planted.plant(bug)
    found = [
        caught(Emulated(planted, seed, threads=128, one_launch=one_launch, tile=64), seed)
        for seed in SEEDS
        for one_launch in (9, 999)
    ]
    assert any(found) == bool(bug)
