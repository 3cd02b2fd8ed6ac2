"""Every backend on the GPU against what has been held to the float64 reference, at sizes that pick every launch."""

import pytest
import torch
from support import (
    ADVANCE,
    BACKENDS,
    DEVICE,
    FLOATS,
    OPS,
    assert_same_sigma,
    assert_same_state,
    copy_of,
    generator,
    make_state,
    random_batch,
    take,
)

import infonoise_ext as inx
from infonoise_ext.ops.schemas import SIGNALS

SIZES = (0, 1, 13, 700, 4096, 2**16, 2**16 + 1, 2**20)
LARGE = (2**16, 2**16 + 1)
SLOW = 4096
"""Up to this size the reference says what to expect; beyond, the CPU's ops, which tests/ops/test_ops.py holds to it."""
OFTEN = {"warmup": 2, "refresh_every": 2, "coverage": 0.05}
RINGS = ("ring", "count", "counters", "grid")


def expected(op, size, *args):
    """What the op should return on the CPU; the state among `args` is changed."""
    args = [a.cpu() if isinstance(a, torch.Tensor) else a for a in args]
    return OPS["reference" if size <= SLOW else "compiled"][op](*args)


def batch_of(state, size, g, dtype=torch.float32):
    groups = len(state["cdf"])
    mask = (torch.rand(size, generator=g) < 0.7).to(DEVICE)
    group = torch.randint(-1, groups + 1, (size,), generator=g).to(DEVICE) if groups > 1 else None
    return *random_batch(state, size, g, dtype), mask, group


def assert_agrees(state, other):
    assert_same_state(copy_of(state, "cpu"), other)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_steps(backend, groups, size):
    """Four steps with two refreshes; the sigmas drawn are the next step's."""
    g = generator(size + groups)
    state = make_state(groups, bins=48, capacity=32, **OFTEN)
    other = copy_of(state, "cpu")
    for _ in range(4):
        batch = batch_of(state, size, g)
        owner = batch[3].clamp(0, groups - 1) if groups > 1 else None
        drawn = OPS[backend]["advance_"](*take(state, ADVANCE), *batch, size, owner)
        wanted = expected("advance_", size, *take(other, ADVANCE), *batch, size, owner)
        assert_same_sigma(drawn.cpu(), wanted)
        assert_agrees(state, other)
    if size >= 4096:
        assert (other["counters"][:, 2] > 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", LARGE)
def test_observe_of_any_dtype_and_stride(backend, dtype, size):
    """Every third, every second, and one value for all."""
    g = generator(size)
    state = make_state(2, capacity=16)
    other = copy_of(state, "cpu")
    sigma, error, mask, group = batch_of(state, 3 * size, g, dtype)
    strided = (sigma[::3], error.view(size, 3)[:, 1], mask[::3], group.to(torch.int32)[::3])
    same = (sigma[5:6].expand(size), error[5:6].expand(size), None, None)
    for batch in (strided, same):
        OPS[backend]["observe_"](*take(state, RINGS), *batch)
        expected("observe_", size, *take(other, RINGS), *batch)
        assert_agrees(state, other)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("bins", "capacity"), [(2, 1), (512, 256), (4096, 4)])
def test_other_tables(backend, bins, capacity):
    """The least and the largest table that is allowed."""
    state = make_state(1, bins=bins, capacity=capacity, warmup=1, refresh_every=1, min_count=1, coverage=0.05)
    other = copy_of(state, "cpu")
    for _ in range(2):
        batch = batch_of(state, 20_000, generator(bins))
        drawn = OPS[backend]["advance_"](*take(state, ADVANCE), *batch, 1000, None)
        assert_same_sigma(drawn.cpu(), expected("advance_", 20_000, *take(other, ADVANCE), *batch, 1000, None))
        assert_agrees(state, other)
    assert int(other["counters"][0, 2]) > 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("stratified", [0, 1])
@pytest.mark.parametrize("n", [*LARGE, pytest.param(2**23 + 3, marks=pytest.mark.cuda)])
def test_draws(backend, groups, stratified, n):
    """The largest n is enough for the CUDA kernel to look its rows up by cells."""
    state = make_state(groups, stratified=stratified, rank=1, world=3)
    other = copy_of(state, "cpu")
    group = torch.randint(0, groups, (n,), generator=generator(n)).to(DEVICE) if groups > 1 else None
    for _ in range(2):
        drawn = OPS[backend]["sample_"](*take(state, ("cdf", "rng", "grid", "params")), n, group)
        wanted = expected("sample_", n, *take(other, ("cdf", "rng", "grid", "params")), n, group)
        assert_same_sigma(drawn.cpu(), wanted)
    assert_agrees(state, other)


@pytest.mark.parametrize("backend", ["auto", "eager", *(["triton"] if "triton" in BACKENDS else [])])
@pytest.mark.parametrize("signal", SIGNALS)
def test_cpu_and_gpu_train_alike(backend, signal):
    """One seed, two devices, thirty steps: the same levels, and every loss in the same bin."""
    options = {"warmup": 5, "refresh_every": 4, "weight": inx.EDMWeight(0.5), "seed": 11, "signal": signal}
    here, there = inx.InfoNoise(**options), inx.InfoNoise(device=DEVICE, backend=backend, **options)
    sigma = here.sample(3000)
    assert_same_sigma(there.sample(3000).cpu(), sigma)
    for _ in range(30):
        error = sigma.square() / (1 + sigma.square())
        moved = there.advance(sigma.to(DEVICE), error.to(DEVICE))
        sigma = here.advance(sigma, error)
        assert_same_sigma(moved.cpu(), sigma)
    assert torch.equal(there.state.count.cpu(), here.state.count)
    assert torch.equal(there.state.ring.cpu(), here.state.ring)
    assert here.summary()["refreshes"] > 3
    assert there.summary()["refreshes"] == here.summary()["refreshes"]
