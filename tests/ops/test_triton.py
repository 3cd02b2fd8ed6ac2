"""The Triton ops in Triton's interpreter against the reference, and compiled for GPUs that are not here.

No test here runs on a GPU. `conftest.py` sets TRITON_INTERPRET=1.
"""

import json
import math
import os
import subprocess
import sys

import pytest
import torch
from support import (
    ADVANCE,
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
from torch._dynamo.testing import CompileCounterWithBackend

import infonoise_ext as inx
from infonoise_ext.ops import eager, reference, triton_ops
from infonoise_ext.ops.schemas import COUNTERS, SCHEMAS, SIGNALS
from infonoise_ext.ops.triton_ops import advance, draw, record

# numpy's, for the logarithm of a pivot of 0 and the mean of a sum of 1e308, both of which are meant
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton.runtime.interpreter")
RINGS = ("ring", "count", "counters", "grid")
TABLES = ("mmse", "cdf", "stats", "counters", "grid", "params")
DRAW = ("cdf", "rng", "grid", "params")
SIZES = (0, 1, 33, 300, 1025)
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def batch_of(state, size, g, dtype=torch.float32):
    groups = len(state["cdf"])
    sigma, error = random_batch(state, size, g, dtype)
    mask = torch.rand(size, generator=g) < 0.7
    group = torch.randint(-1, groups + 1, (size,), generator=g) if groups > 1 else None
    return sigma, error, mask, group


@pytest.fixture
def many_programs(monkeypatch):
    """Batches beyond 100 count as large, in chunks of 64."""
    for module in (record, draw, advance):
        monkeypatch.setattr(module, "ONE_PROGRAM", 100)
    monkeypatch.setattr(record, "CHUNK", 64)


@pytest.fixture(params=["forward", "backward"])
def program_order(request, monkeypatch):
    """Programs run from the first to the last, or from the last to the first."""
    from triton.runtime.interpreter import interpreter_builder as builder

    plain = builder.set_grid_idx
    if request.param == "backward":
        monkeypatch.setattr(builder, "set_grid_idx", lambda x, y, z: plain(builder.grid_dim[0] - 1 - x, y, z))
    return request.param


@pytest.mark.parametrize(("size", "dtype"), list(zip(SIZES, (*DTYPES, torch.float32), strict=True)))
@pytest.mark.parametrize("groups", [1, 3])
def test_observe(size, dtype, groups):
    g = generator(size + groups)
    state = make_state(groups, capacity=5)
    expected = copy_of(state)
    for masked in (True, False):
        sigma, error, mask, group = batch_of(state, size, g, dtype)
        for target, ops in ((state, triton_ops), (expected, reference)):
            ops.observe_(*take(target, RINGS), sigma, error, mask if masked else None, group)
    assert_same_state(state, expected)
    if size > 100:
        assert (expected["counters"][:, 5:].sum(0) > 0).sum() >= 3


@pytest.mark.parametrize("capacity", [3, 64])
def test_observe_by_many_programs_in_any_order(many_programs, program_order, capacity):
    """Exact ranks across chunks, with rings that overflow within a chunk and across chunks."""
    g = generator(capacity)
    state = make_state(3, capacity=capacity)
    expected = copy_of(state)
    for size in (101, 500):
        batch = batch_of(state, size, g)
        for target, ops in ((state, triton_ops), (expected, reference)):
            ops.observe_(*take(target, RINGS), *batch)
    assert_same_state(state, expected)


def test_a_large_batch_at_the_real_limits():
    state = make_state(capacity=16, bins=100)
    expected = copy_of(state)
    batch = batch_of(state, 5000, generator(9))
    triton_ops.observe_(*take(state, RINGS), *batch)
    eager.observe_(*take(expected, RINGS), *batch)
    assert_same_state(state, expected)


def test_observe_takes_any_stride_and_int32_groups():
    g = generator(3)
    state = make_state(2)
    expected = copy_of(state)
    sigma, error = random_batch(state, 600, g)
    mask, group = torch.rand(600, generator=g) < 0.5, torch.randint(0, 2, (600,), generator=g)
    views = (sigma[::3], error.view(200, 3)[:, 1], mask[::3], group.to(torch.int32)[::3])
    assert not any(view.is_contiguous() for view in views)
    constant = (sigma[5:6].expand(40), error[5:6].expand(40), None, None)  # stride 0
    for batch in (views, constant):
        triton_ops.observe_(*take(state, RINGS), *batch)
        reference.observe_(*take(expected, RINGS), *batch)
    assert_same_state(state, expected)


def test_observe_at_every_edge():
    """A sigma on an edge opens the bin above; rounding outside belongs to the end bins."""
    state = make_state(bins=33, capacity=4)
    edges = state["grid"][0].float()
    ends = (edges[0] * (1 - 5e-6), edges[-1] * (1 + 5e-6), edges[0] * (1 - 2e-5), edges[-1] * (1 + 2e-5))
    sigma = torch.cat((edges, torch.stack(ends)))
    triton_ops.observe_(*take(state, RINGS), sigma, torch.ones_like(sigma), None, None)
    wanted = torch.ones(33, dtype=torch.int64)
    wanted[0] += 1
    wanted[-1] += 2
    assert torch.equal(state["count"][0], wanted)
    assert state["counters"][0].sum() == 2


@pytest.mark.parametrize("capacity", [1, 8, 100])
def test_bin_stats(capacity):
    state = make_state(3, capacity=capacity)
    g = generator(capacity)
    state["ring"].copy_(torch.rand(state["ring"].shape, generator=g) * 1e3)
    state["count"].copy_(torch.randint(0, 3 * capacity, (3, 32), generator=g))
    args = take(state, ("ring", "count"))
    torch.testing.assert_close(triton_ops.bin_stats(*args), reference.bin_stats(*args), rtol=1e-13, atol=0)


def rough_moments(state, g, empty):
    """Moments of a bumpy profile in which a share of the bins holds too few losses."""
    sigma = state["grid"][1, :-1]
    bumps = 0.5 + torch.rand(len(state["cdf"]), len(sigma), generator=g, dtype=torch.float64)
    mean = sigma.square() / (1 + sigma.square()) * bumps
    count = torch.randint(3, 200, mean.shape, generator=g).double()
    count[torch.rand(mean.shape, generator=g) < empty] = 1
    return torch.stack((count, count * mean, count * mean.square() * 2), -1)


@pytest.mark.parametrize("pivot", [(0, 0.0), (0, 0.3), (1, 0.002), (1, 0.2), (2, 0.02), (2, 0.5)])
@pytest.mark.parametrize("smooth", [0, 0.4, 2.5])
@pytest.mark.parametrize("empty", [0, 0.3])
def test_refresh(pivot, smooth, empty):
    rule, value = pivot
    state = make_state(3, bins=27, pivot_rule=rule, pivot_value=value, smooth=smooth, seed=int(10 * smooth) + rule)
    state["grid"][3, 5:12] = 1e-3
    expected = copy_of(state)
    g = generator(int(100 * value) + 7)
    for _ in range(3):
        moments = rough_moments(state, g, empty)
        for target, ops in ((state, triton_ops), (expected, reference)):
            ops.refresh_(moments, *take(target, TABLES))
        assert_same_state(state, expected)
    assert (expected["counters"][:, 2] > 0).all()


@pytest.mark.parametrize("signal", range(1, len(SIGNALS)))
@pytest.mark.parametrize(("smooth", "empty"), [(0, 0), (2.5, 0.3)])
def test_refresh_of_every_signal(signal, smooth, empty):
    state = make_state(2, bins=27, coverage=0.3, pivot_rule=0, smooth=smooth, signal=signal, seed=signal)
    expected = copy_of(state)
    moments = rough_moments(state, generator(signal), empty)
    flat = moments.clone()
    flat[..., 1] = flat[..., 0] * (state["grid"][1, :-1] * 3).round().clamp(min=0.5)
    for each in (moments, flat):
        for target, ops in ((state, triton_ops), (expected, reference)):
            ops.refresh_(each, *take(target, TABLES))
        assert_same_state(state, expected)
    assert (expected["counters"][:, 2] == 2).all()


def test_errors_of_zero_are_no_distribution_with_bins_unmeasured():
    state = make_state(coverage=0.01, pivot_rule=0)
    before = copy_of(state)
    moments = torch.zeros(1, 32, 3, dtype=torch.float64)
    moments[0, 3::4, 0] = 9
    triton_ops.refresh_(moments, *take(state, TABLES))
    assert torch.equal(state["cdf"], before["cdf"])
    assert state["counters"][0, COUNTERS.index("degenerates")] == 1


@pytest.mark.parametrize("rule", [1, 2])
@pytest.mark.parametrize("bins", [1, 2, 513, 4096])
def test_refresh_of_any_number_of_bins(bins, rule):
    """Against eager torch: the reference's loops are quadratic in the bins."""
    value = [0.0, 0.002, 0.05][rule]
    state = make_state(bins=bins, pivot_rule=rule, pivot_value=value, smooth=1.0, signal=3 * (rule == 2))
    expected = copy_of(state)
    moments = rough_moments(state, generator(bins), 0.3 if bins > 2 else 0)
    triton_ops.refresh_(moments, *take(state, TABLES))
    eager.refresh_(moments, *take(expected, TABLES))
    assert_same_state(state, expected)
    assert expected["counters"][0, 2] == 1
    drawn, wanted = (
        ops.sample_(*take(target, DRAW), 50, None) for target, ops in ((state, triton_ops), (expected, eager))
    )
    assert_same_sigma(drawn, wanted)


@pytest.mark.parametrize("case", ["nothing", "zeros", "huge", "one bin", "too few"])
@pytest.mark.parametrize("rule", [0, 1, 2])
def test_refresh_of_extreme_moments(case, rule):
    value = [0.2, 0.002, 0.1][rule]
    state = make_state(pivot_rule=rule, pivot_value=value, coverage=0.001 if case == "one bin" else 0.6)
    moments = torch.zeros(1, 32, 3, dtype=torch.float64)
    if case == "one bin":
        moments[0, 9] = torch.tensor([20.0, 4.0, 1.0])
    elif case != "nothing":
        moments[..., 0] = 2 if case == "too few" else 10
        moments[..., 1] = 1e308 if case == "huge" else 0
    expected, before = copy_of(state), copy_of(state)
    for target, ops in ((state, triton_ops), (expected, reference)):
        ops.refresh_(moments, *take(target, TABLES))
    assert_same_state(state, expected)
    assert torch.isfinite(state["cdf"]).all()
    assert (case == "one bin") != torch.equal(state["cdf"], before["cdf"])


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("stratified", "rank", "groups"), [(0, 3, 1), (1, 2, 3)])
def test_sample(n, stratified, rank, groups):
    state = make_state(groups, stratified=stratified, rank=rank, world=4, seed=n + 1)
    state["rng"].copy_(torch.tensor([-(2**62) - 12345 - n, 2**33 - 1]))
    expected = copy_of(state)
    group = torch.randint(0, groups, (n,), generator=generator(n)) if groups > 1 else None
    for _ in range(2):
        sigma = triton_ops.sample_(*take(state, DRAW), n, group)
        assert_same_sigma(sigma, reference.sample_(*take(expected, DRAW), n, group))
    assert_same_state(state, expected)


def test_sample_by_many_programs_in_any_order(many_programs, program_order):
    state = make_state(3)
    expected = copy_of(state)
    group = torch.randint(0, 3, (2000,), generator=generator(0)).to(torch.int32)[::2]
    for _ in range(2):
        sigma = triton_ops.sample_(*take(state, DRAW), 1000, group)
        assert_same_sigma(sigma, reference.sample_(*take(expected, DRAW), 1000, group))
    assert torch.equal(state["rng"], expected["rng"])


@pytest.mark.parametrize("stratified", [0, 1])
@pytest.mark.parametrize("groups", [1, 3])
def test_draws_of_tables_whose_edges_are_the_uniforms(stratified, groups):
    """Beyond an edge lie bins without mass, so the level of a draw in the wrong bin is far off."""
    state = make_state(groups, bins=40, stratified=stratified, rank=1, world=2)
    put_edges_at_uniforms(state, 300)
    expected = copy_of(state)
    group = torch.randint(0, groups, (300,), generator=generator(1)) if groups > 1 else None
    sigma = triton_ops.sample_(*take(state, DRAW), 300, group)
    assert_same_sigma(sigma, reference.sample_(*take(expected, DRAW), 300, group))


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "size"), [(1, 60), (3, 60), (3, 130)])
@pytest.mark.parametrize("rule", [0, 1, 2])
def test_advance_over_a_run(groups, size, rule, many_programs):
    """Twenty steps in which the sampled sigmas feed the next; size 130 takes the path of large batches."""
    state = make_state(groups, pivot_rule=rule, pivot_value=[0.1, 0.002, 0.1][rule], seed=rule + 5, ema=0.7)
    expected = copy_of(state)
    g = generator(rule)
    sigma, _ = random_batch(state, size, g)
    for _ in range(20):
        error = sigma.square() / (1 + sigma.square()) * torch.rand(size, generator=g)
        error[torch.rand(size, generator=g) < 0.02] = math.nan
        group = torch.randint(0, groups, (size,), generator=g) if groups > 1 else None
        mask = torch.rand(size, generator=g) < 0.9
        drawn = triton_ops.advance_(*take(state, ADVANCE), sigma, error, mask, group, size, group)
        sigma = reference.advance_(*take(expected, ADVANCE), sigma, error, mask, group, size, group)
        assert_same_sigma(drawn, sigma)
        assert_same_state(state, expected)
    assert (expected["counters"][:, 2] >= 2).all()


@pytest.mark.parametrize(("batch", "n"), [(0, 0), (0, 5), (7, 0), (120, 0), (0, 120), (3, 120)])
@pytest.mark.parametrize("groups", [1, 2])
def test_advance_of_unequal_batches(batch, n, groups, many_programs):
    state = make_state(groups, warmup=2, refresh_every=1, coverage=0.01, min_count=1)
    expected = copy_of(state)
    sigma, error = random_batch(state, batch, generator(batch))
    for _ in range(3):
        drawn = triton_ops.advance_(*take(state, ADVANCE), sigma, error, None, None, n, None)
        assert_same_sigma(drawn, reference.advance_(*take(expected, ADVANCE), sigma, error, None, None, n, None))
        assert_same_state(state, expected)


@pytest.fixture
def launches(monkeypatch):
    """How often a kernel was launched, by name."""
    from triton.runtime.interpreter import GridExecutor

    seen = []
    plain = GridExecutor.__call__
    monkeypatch.setattr(
        GridExecutor, "__call__", lambda self, *a, **k: (seen.append(self.fn.__name__), plain(self, *a, **k))[1]
    )
    return seen


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("observe_", 1), ("bin_stats", 1), ("refresh_", 1), ("sample_", 1),
        ("denoising_error", 1), ("denoising_error_backward", 1),
    ],
)  # fmt: skip
def test_an_ordinary_op_is_one_launch(name, wanted, launches):
    getattr(triton_ops, name)(*arguments(name))
    assert len(launches) == wanted


@pytest.mark.parametrize(
    ("groups", "size", "wanted"),
    [
        (1, 60, ["step_kernel"]),
        (2, 60, ["step_kernel", "moments_kernel", "finish_kernel"]),
        (1, 130, ["rank_kernel", "prefix_kernel", "write_kernel", "sample_kernel", "moments_kernel", "finish_kernel"]),
    ],
)
@pytest.mark.parametrize("due", [False, True])
def test_launches_of_advance_do_not_depend_on_what_is_due(groups, size, wanted, due, launches, many_programs):
    state = make_state(groups, warmup=1 if due else 9, coverage=0.01, min_count=1)
    sigma, error = random_batch(state, size, generator(1))
    triton_ops.advance_(*take(state, ADVANCE), sigma, error, None, None, size, None)
    assert launches == wanted
    assert bool(state["counters"][0, 2]) == due


def arguments(name):
    state = make_state(2, warmup=1, refresh_every=1, coverage=0.05)
    sigma, error = random_batch(state, 40, generator(2))
    group = torch.randint(0, 2, (40,), generator=generator(3))
    u = torch.rand(40, generator=generator(4), dtype=torch.float64)
    batch = [sigma, error, sigma > 0.1, group]
    return {
        "observe_": [*take(state, RINGS), *batch],
        "bin_stats": take(state, ("ring", "count")),
        "refresh_": [reference.bin_stats(state["ring"], state["count"]), *take(state, TABLES)],
        "sample_": [*take(state, DRAW), 40, group],
        "advance_": [*take(state, ADVANCE), *batch, 40, group],
        "denoising_error": [u.view(8, 5), u.view(8, 5).bfloat16()],
        "denoising_error_backward": [error[:8].clone(), u.view(8, 5).bfloat16(), u.view(8, 5).float()],
    }[name]


@pytest.mark.parametrize("name", SCHEMAS)
def test_opcheck(name):
    torch.library.opcheck(getattr(torch.ops.infonoise_triton, name).default, tuple(arguments(name)))


def test_the_object_on_triton_compiles_whole_and_matches_the_default():
    torch._dynamo.reset()
    options = {"seed": 1, "warmup": 3, "refresh_every": 2, "bins": 40, "min_count": 1, "coverage": 0.1}
    schedule, plain = inx.InfoNoise(backend="triton", **options), inx.InfoNoise(**options)
    counter = CompileCounterWithBackend("aot_eager")
    fast = torch.compile(lambda s, x: s.advance(x, x.square()), backend=counter, fullgraph=True)
    for batch in (64, 32, 64, 7, 33, 64):
        sigma = plain.sample(batch)
        assert_same_sigma(schedule.sample(batch), sigma)
        assert_same_sigma(fast(schedule, sigma), plain.advance(sigma, sigma.square()))
    assert counter.frame_count <= 2
    assert_same_state(vars(schedule.state), vars(plain.state))
    assert int(plain.state.counters[0, 2]) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"error": torch.ones(7)}, "error"),
        ({"sigma": torch.ones(8, 1)}, "sigma"),
        ({"sigma": torch.ones(8, dtype=torch.int64)}, "sigma"),
        ({"mask": torch.ones(8)}, "mask"),
        ({"group": torch.zeros(3, dtype=torch.int64)}, "group"),
        ({"next_group": torch.full((8,), 5)}, r"group.*5.*\[0, 2\)"),
        ({"error": torch.ones(8, device="meta")}, "error"),
    ],
)
def test_bad_arguments_change_nothing_and_get_a_clear_error(change, message):
    state = make_state(2)
    before = copy_of(state)
    args = {"sigma": torch.ones(8), "error": torch.ones(8), "mask": None, "group": None, "next_group": None} | change
    batch = [args[name] for name in ("sigma", "error", "mask", "group")]
    with pytest.raises(ValueError, match=message):
        triton_ops.advance_(*take(state, ADVANCE), *batch, 8, args["next_group"])
    assert_same_state(state, before)


def test_bad_state_gets_a_clear_error():
    state = make_state(2)
    rest = take(state, DRAW[1:])
    wanted = r"cdf is float64 \[33, 2\], not contiguous, but must be contiguous float64 \[G, K \+ 1\]"
    with pytest.raises(ValueError, match=wanted):
        triton_ops.sample_(state["cdf"].t(), *rest, 3, None)
    with pytest.raises(ValueError, match=r"cdf is float32 \[2, 33\], but must be contiguous float64"):
        triton_ops.sample_(state["cdf"].float(), *rest, 3, None)
    with pytest.raises(ValueError, match="n is -1, but must be at least 0"):
        triton_ops.sample_(state["cdf"], *rest, -1, None)
    with pytest.raises(ValueError, match="bins is 5000, but must be at most 4096"):
        triton_ops.sample_(*take(make_state(bins=5000), DRAW), 3, None)


def without_interpreter(*command):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = str(ROOT)  # a script's own folder comes first, and then what is installed
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, env=environment)


def test_cpu_tensors_without_the_interpreter_get_a_clear_error():
    result = without_interpreter("-c", "import infonoise_ext as inx; inx.InfoNoise(backend='triton').sample(3)")
    assert "RuntimeError: backend 'triton' serves CPU tensors only through Triton's interpreter" in result.stderr
    assert "TRITON_INTERPRET=1" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("target", "registers"), [("cuda:80", 255), ("cuda:90", 255), ("hip:gfx942", 256)])
def test_kernels_compile_for_a_gpu_without_spills(target, registers):
    """Every kernel at 64 bins with all options and at 512 without, no GPU needed; a missing target fails."""
    result = without_interpreter("tests/native/triton_targets.py", target)
    assert result.returncode == 0, result.stderr
    rows = json.loads(result.stdout)
    assert len(rows) == 24
    for row in rows:
        assert row["spilled"] == 0, row
        assert row["registers"] <= registers, row
        assert row["approximate"] == [], row
