"""Every op of every backend against the float64 reference, on fresh random inputs.

On a CPU also Triton's ops in its interpreter, and the CUDA kernels' own source in an emulator, under unfair schedules.
"""

import math
from itertools import product

import pytest
import torch
from support import (
    BACKENDS,
    DEVICE,
    FLOATS,
    OPS,
    assert_same_bits,
    assert_same_sigma,
    call,
    copy_of,
    generator,
    make_state,
    put_edges_at_uniforms,
    random_batch,
)
from support.parity import LARGE, MOST, SIZES, Parity, batch_of, group_of, over, rough_moments

from infonoise_ext.ops.schemas import COUNTERS, SIGNALS

# numpy's, for the logarithm of a pivot of 0 and the mean of a sum of 1e308, both of which are meant
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton.runtime.interpreter")
PIVOTS = {0: 0.1, 1: 0.002, 2: 0.1}
"""A value for each rule."""
FEW = list(product(SIZES, (1, 3)))


def oracle_of(size):
    """What is quick enough: beyond some size the CPU's ops, which are held to the reference up to there."""
    return "reference" if size <= 4096 else "compiled"


def counter(state, name):
    return state["counters"][:, COUNTERS.index(name)]


@over(
    "dtype size groups",
    list(product(FLOATS, (*SIZES, *LARGE), (1, 3))),
    [(FLOATS[i % 4], *case) for i, case in enumerate(FEW)],
)
def test_observe(ways, dtype, size, groups):
    g = generator(size + groups)
    run = Parity(ways, make_state(groups, bins=27, capacity=5), oracle_of(size))
    for masked in (True, False, True):
        sigma, error, mask, group = batch_of(run.states[0], size, g, dtype)
        run("observe_", sigma, error, mask if masked else None, group)
    if size > 100:
        assert (run.expected["counters"][:, 5:].sum(0) > 0).sum() >= 3  # several causes occurred


@over("dtype size", list(product(FLOATS, (100, *LARGE[1:3]))))  # the last of one launch, the first of three
def test_observe_takes_any_stride_and_int32_groups(ways, dtype, size):
    """Every third of each, a column, and one value for all."""
    g = generator(3)
    run = Parity(ways, make_state(2, capacity=16), oracle_of(size))
    sigma, error, mask, group = batch_of(run.states[0], 3 * size, g, dtype)
    sigma[:15] = 1.0
    error[1:13:3] = torch.tensor([0.0, 6e-8, 6.1e-5, 65504.0]).to(error)  # half: zero, denormals, the largest
    views = (sigma[::3], error.view(size, 3)[:, 1], mask[::3], group.to(torch.int32)[::3])
    assert not any(view.is_contiguous() for view in views)
    run("observe_", *views)
    run("observe_", sigma[5:6].expand(size), error[4:5].expand(size), None, None)
    assert int(run.expected["count"].sum()) > size


@over("bins", [(32,), (33,)])
def test_observe_at_every_edge(ways, bins):
    """A sigma on an edge opens the bin above; rounding outside belongs to the end bins."""
    run = Parity(ways, make_state(bins=bins, capacity=4))
    edges = run.states[0]["grid"][0].float()
    ends = (edges[0] * (1 - 5e-6), edges[-1] * (1 + 5e-6), edges[0] * (1 - 2e-5), edges[-1] * (1 + 2e-5))
    sigma = torch.cat((edges, torch.stack(ends)))
    run("observe_", sigma, torch.ones_like(sigma), None, None)
    wanted = torch.ones(bins, dtype=torch.int64)
    wanted[0] += 1
    wanted[-1] += 2
    assert torch.equal(run.expected["count"][0], wanted)
    assert run.expected["counters"][0].sum() == 2


@over("capacity", [(1,), (8,), (100,)])
def test_bin_stats(ways, capacity):
    state, g = make_state(3, capacity=capacity), generator(capacity)
    state["ring"].copy_(torch.rand(state["ring"].shape, generator=g) * 1e3)
    state["count"].copy_(torch.randint(0, 3 * capacity, (3, 32), generator=g))
    Parity(ways, state)("bin_stats")


GATES = [(0, 0.0), (0, 0.3), (1, 0.002), (1, 0.2), (2, 0.02), (2, 0.5)]


@over(
    "rounds signal pivot smooth empty",
    [*product([3], [0], GATES, (0, 0.4, 2.5), (0, 0.3)), *product([3], (1, 2, 3), GATES[::3], (0, 2.5), (0, 0.3))],
    [*product([1], range(4), GATES[1::2], (0, 2.5), (0, 0.3)), *product([2], [0], GATES[::2], (0, 0.4), (0, 0.3))],
)
def test_refresh(ways, rounds, signal, pivot, smooth, empty):
    """On a profile that falls in places, on a rising one with flat stretches, and where nothing is measured."""
    rule, value = pivot
    options = {"pivot_rule": rule, "pivot_value": value, "smooth": smooth, "signal": signal, "coverage": 0.4}
    state, g = make_state(3, bins=27, seed=int(10 * smooth) + rule, **options), generator(int(100 * value) + 7)
    state["grid"][3, 5:12] = 1e-3
    run = Parity(ways, state)
    for _ in range(rounds):
        rough = rough_moments(state, g, empty)
        flat = rough.clone()
        flat[..., 1] = flat[..., 0] * (state["grid"][1, :-1] * 3).round().clamp(min=0.5)
        for moments in (rough, flat):
            run("refresh_", moments)
    run("refresh_", 0 * rough)
    assert (counter(run.expected, "refreshes") > 0).all()
    assert (counter(run.expected, "waits") > 0).all()


@over(
    "case rule signal",
    list(product(["nothing", "zeros", "zeros in places", "huge", "one bin", "too few"], PIVOTS, range(len(SIGNALS)))),
)
def test_refresh_of_extreme_moments(ways, case, rule, signal):
    """A bin that is unmeasured between two of no error is filled with none, not with the logarithm's floor."""
    coverage = {"one bin": 0.001, "zeros in places": 0.01}.get(case, 0.6)
    state = make_state(pivot_rule=rule, pivot_value=[0.2, 0.002, 0.1][rule], coverage=coverage, signal=signal)
    moments = torch.zeros(1, 32, 3, dtype=torch.float64)
    if case == "one bin":
        moments[0, 9] = torch.tensor([20.0, 4.0, 1.0])
    elif case == "zeros in places":
        moments[0, 3::4, 0] = 9
    elif case != "nothing":
        moments[..., 0] = 2 if case == "too few" else 10
        moments[..., 1] = 1e308 if case == "huge" else 0
    run = Parity(ways, state)
    run("refresh_", moments.to(DEVICE))
    assert torch.isfinite(run.expected["cdf"]).all()
    assert (case == "one bin") != torch.equal(run.expected["cdf"], state["cdf"].cpu())
    assert int(counter(run.expected, "degenerates")) == (case in ("zeros", "zeros in places", "huge"))


@over(
    "n stratified rank groups",
    [(n, *how) for n in (*SIZES, *LARGE, *MOST) for how in [(0, 3, 1), (0, 0, 3), (1, 2, 1), (1, 2, 3)]],
)
def test_sample(ways, n, stratified, rank, groups):
    """On a GPU the largest n is enough for the CUDA kernel to look its rows up by cells."""
    state = make_state(groups, stratified=stratified, rank=rank, world=4)
    state["rng"].copy_(torch.tensor([(-1) ** n * (2**62 + 12345 + n), 2**33 - 1]))
    run, group = Parity(ways, state, oracle_of(n)), group_of(state, n, generator(n))
    for _ in range(2):
        run("sample_", n, group)


@over("n stratified groups", list(product((9, 300, 5000), (0, 1), (1, 3))), list(product((300,), (0, 1), (1, 3))))
def test_draws_of_tables_whose_edges_are_the_uniforms(ways, n, stratified, groups):
    """Beyond an edge lie bins without mass, so the level of a draw in the wrong bin is far off."""
    state = make_state(groups, bins=40, stratified=stratified, rank=1, world=2)
    group = group_of(state, n, generator(1))
    put_edges_at_uniforms(state, n, group)
    wanted = Parity(ways, state)("sample_", n, group)
    assert len(wanted.unique()) > min(n, 40) / 3


@over("size", [(0,), (1,), (5,), (300,), (1025,)], [(300,)])
def test_strata_of_many_groups_some_empty(ways, size):
    """Eight groups of unlike sizes, as int32 with a stride, in a draw and in a step."""
    state = make_state(8, stratified=1, rank=3, world=5)
    group = torch.randint(0, 6, (3 * size,), generator=generator(size)).square().clamp(max=7).int().to(DEVICE)[::3]
    run = Parity(ways, state)
    for _ in range(2):
        run("sample_", size, group)
    run("advance_", *batch_of(state, size, generator(1)), size, group)


@over("size groups", list(product((*SIZES, *LARGE), (1, 3))))
def test_advance(ways, size, groups):
    """Four steps, refreshes at the second and the fourth; the batches drawn differ in size from the recorded."""
    often = {"warmup": 2, "refresh_every": 2, "coverage": 0.3, "min_count": 1, "smooth": 1}
    run, g = Parity(ways, make_state(groups, bins=24, capacity=9, **often), oracle_of(size)), generator(size + groups)
    for n in (size, 0, 5, 130):
        owner = group_of(run.states[0], n, g) if n % 2 else None
        run("advance_", *batch_of(run.states[0], size, g), n, owner)
    assert (counter(run.expected, "refreshes") + counter(run.expected, "waits") == 2).all()
    if size > 200:
        assert (counter(run.expected, "refreshes") == 2).all()


@over("groups rule", list(product((1, 3), PIVOTS)), [(1, 0), (3, 1), (1, 2)])
def test_advance_over_a_run(ways, groups, rule):
    """Forty steps: the sampled sigmas feed the next step, so a slip anywhere would spread."""
    signal = 3 * (groups > 1)
    state = make_state(groups, pivot_rule=rule, pivot_value=PIVOTS[rule], seed=rule + 5, ema=0.7, signal=signal)
    run, g = Parity(ways, state), generator(rule)
    sigma, _ = random_batch(state, 60, g)
    for _ in range(40):
        error = sigma.square() / (1 + sigma.square()) * torch.rand(60, generator=g).to(DEVICE)
        error[(torch.rand(60, generator=g) < 0.02).to(DEVICE)] = math.nan
        group, mask = group_of(state, 60, g), (torch.rand(60, generator=g) < 0.9).to(DEVICE)
        sigma = run("advance_", sigma, error, mask, group, 60, group).to(DEVICE)
    assert (counter(run.expected, "refreshes") >= 2).all()


@over(
    "bins capacity rule",
    [*product((1, 2), (4,), (1, 2)), (2, 1, 1), (513, 256, 1), (513, 4, 2), (4096, 4, 1), (4096, 2, 2)],
)
def test_advance_of_any_number_of_bins(backend, ways, bins, capacity, rule):
    """Against another quick backend: the reference's loops are quadratic in the bins."""
    options = {"warmup": 1, "refresh_every": 1, "min_count": 1, "coverage": 0.05, "smooth": 1}
    state = make_state(
        bins=bins, capacity=capacity, pivot_rule=rule, pivot_value=PIVOTS[rule], signal=3 * (rule == 2), **options
    )
    few = ways[::4] if bins == 4096 else ways  # of an emulator's, one for each limit
    run = Parity(few, state, "eager" if backend == "compiled" else "compiled")
    for seed in (1, 2):
        run("advance_", *batch_of(state, 5000, generator(seed)), 100, None)
    assert int(counter(run.expected, "refreshes")) == 2


@over("", [()])
def test_advance_samples_before_it_refreshes(ways):
    """A table that becomes due serves from the next call."""
    state = make_state(warmup=1, refresh_every=1, coverage=0.01)
    run = Parity(ways, state)
    drawn = run("advance_", *random_batch(state, 500, generator(4), spoiled=False), None, None, 64, None)
    assert not torch.equal(run.expected["cdf"], state["cdf"].cpu())
    assert_same_sigma(drawn, call(OPS["reference"], "sample_", copy_of(state, "cpu"), 64, None))


@pytest.mark.parametrize("backend", dict.fromkeys((*BACKENDS, "triton")))
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"error": torch.ones(7)}, "error"),
        ({"sigma": torch.ones(8, 1)}, "sigma"),
        ({"sigma": torch.ones(8, dtype=torch.int64)}, "sigma"),
        ({"error": torch.ones(8, dtype=torch.bool)}, "error"),
        ({"mask": torch.ones(8)}, "mask"),
        ({"mask": torch.ones(9, dtype=torch.bool)}, "mask"),
        ({"group": torch.zeros(8)}, "group"),
        ({"group": torch.zeros(3, dtype=torch.int64)}, "group"),
        ({"next_group": torch.zeros(3, dtype=torch.int64)}, "next_group|group"),
        pytest.param(
            {"next_group": torch.full((8,), 5)},
            r"group.*5.*\[0, 2\)",
            marks=pytest.mark.skipif(DEVICE != "cpu", reason="reading the values would wait for the device"),
        ),
        ({"error": torch.ones(8, device="meta")}, "error|meta"),
        ({"sigma": torch.ones(8, device="meta")}, "sigma|meta"),
    ],
)
def test_bad_arguments_change_nothing_and_get_a_clear_error(backend, change, message):
    state = make_state(2)
    before = copy_of(state)
    batch = {"sigma": torch.ones(8), "error": torch.ones(8), "mask": None, "group": None, "n": 8, "next_group": None}
    rest = [x.to(DEVICE) if isinstance(x, torch.Tensor) and x.is_cpu else x for x in (batch | change).values()]
    with pytest.raises(ValueError if backend == "triton" else (ValueError, RuntimeError), match=message):
        call(OPS[backend], "advance_", state, *rest)
    assert_same_bits(state, before)
