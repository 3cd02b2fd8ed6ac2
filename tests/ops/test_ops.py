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
    MUTABLE,
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

from infonoise_ext.ops.schemas import COUNTERS, SIGNALS, STATS
from infonoise_ext.state.config import MAX_BINS

# numpy's, for the logarithm of a pivot of 0, which is meant
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
    "rounds signal pivot min_count empty",
    list(product([2], range(len(SIGNALS)), GATES, (1, 300), (0, 0.3))),
    [*product([1], range(len(SIGNALS)), GATES[1::3], (1, 300), [0.3]), *product([2], [0], GATES[::2], [2000], [0])],
)
def test_refresh(ways, rounds, signal, pivot, min_count, empty):
    """On a profile that falls in places, on a rising one with flat stretches, and where nothing is known."""
    rule, value = pivot
    options = {"pivot_rule": rule, "pivot_value": value, "min_count": min_count, "signal": signal}
    state, g = make_state(3, bins=27, seed=min_count + rule, **options), generator(int(100 * value) + 7)
    state["grid"][3, 5:12] = 1e-3
    state["count"].copy_(torch.randint(0, 99, (3, 27), generator=g))
    run = Parity(ways, state)
    for _ in range(rounds):
        rough = rough_moments(state, g, empty)
        flat = rough.clone()
        flat[..., 2] = (state["grid"][1, :-1] * 3).round().clamp(min=0.5) * (flat[..., 0] > 0)
        flat[..., 1] = flat[..., 2] * (flat[..., 0] - 1).clamp(min=0)
        for moments in (rough, flat):
            run("refresh_", moments)
    run("refresh_", 0 * rough)
    assert (counter(run.expected, "refreshes") > 0).all()
    assert (counter(run.expected, "waits") == 1).all()
    assert torch.equal(run.expected["previous_count"], state["count"].cpu().unsqueeze(1).expand(3, 2, 27))
    assert torch.equal(run.expected["previous_cdf"], run.expected["cdf"])


HUGE = 3.4e38
"""About the largest loss of float32."""
EXTREMES = {  # losses of a bin, each but the largest, the largest; of which bins; min_count; what comes of it
    "nothing": (0, 0, 0, slice(None), 1, "waits"),
    "too few": (3, 1.0, 1.0, slice(None), 32 * 3 + 1, "waits"),
    "just enough": (3, 1.0, 1.0, slice(None), 32 * 3, "refreshes"),
    "endless": (3, 1.0, 1.0, slice(None), math.inf, "waits"),
    "zeros": (10, 0.0, 0.0, slice(None), 3, "degenerates"),
    "zeros in places": (9, 0.0, 0.0, slice(3, None, 4), 3, "degenerates"),
    "one that is not zero": (10, 0.0, 1.0, slice(None), 3, "degenerates"),
    "one loss": (1, 0.0, 0.2, slice(9, 10), 1, "refreshes"),
    "one bin": (20, 0.2, 0.4, slice(9, 10), 20, "refreshes"),
    "the lowest bin": (20, 1e-5, 2e-5, slice(0, 1), 1, "refreshes"),
    "the highest bin": (20, 0.2, 0.4, slice(31, 32), 1, "refreshes"),
    "tiny": (10, 1e-38, 1e-38, slice(None), 3, "refreshes"),
    "one huge": (10, 0.1, HUGE, slice(None), 3, "refreshes"),
}


@over(
    "case rule signal",
    list(product(EXTREMES, PIVOTS, range(len(SIGNALS)))),
    [*product(EXTREMES, [0], [0]), *product(["one bin", "the lowest bin", "one huge"], PIVOTS, range(1, len(SIGNALS)))],
)
def test_refresh_of_extreme_moments(ways, case, rule, signal):
    number, each, largest, bins, min_count, wanted = EXTREMES[case]
    value = [0.2, 0.002, 0.1][rule]
    state = make_state(pivot_rule=rule, pivot_value=value, min_count=min_count, signal=signal)
    moments = torch.zeros(1, 32, 3, dtype=torch.float64)
    moments[0, bins] = torch.tensor([number, max(number - 1, 0) * each, largest], dtype=torch.float64)
    run = Parity(ways, state)
    run("refresh_", moments.to(DEVICE))
    assert torch.isfinite(run.expected["cdf"]).all()
    assert int(counter(run.expected, wanted)) == 1
    assert (wanted == "refreshes") != torch.equal(run.expected["cdf"], state["cdf"].cpu())


def gaussian_moments(state, variance, number):
    """Those of losses that are all the mmse of Gaussian data: float64 [G, K, 3]."""
    square = state["grid"][1, :-1].square()
    mmse = variance * square / (variance + square)
    moments = torch.stack((torch.full_like(mmse, number), (number - 1) * mmse, mmse), -1)
    return moments.expand(len(state["cdf"]), -1, -1).clone(), mmse


@over("bins min_count", list(product((1, 2, 32, 100), (1, 40))))
def test_bins_without_losses_of_gaussian_data_get_their_exact_mmse(ways, bins, min_count):
    """Whichever are empty: losses are pooled relative to Gaussian data, of which all bins then have the same."""
    state = make_state(2, bins=bins, min_count=min_count)
    moments, mmse = gaussian_moments(state, 0.49, 40)
    empty = torch.rand(2, bins, generator=generator(bins)) < 0.7
    empty[:, -1] = False  # which alone tells the variance
    moments[empty.to(DEVICE)] = 0
    run = Parity(ways, state)
    run("refresh_", moments)
    torch.testing.assert_close(run.expected["mmse"], mmse.cpu().expand(2, bins), rtol=1e-12, atol=0)
    variance = run.expected["stats"][:, STATS.index("variance")]
    torch.testing.assert_close(variance, torch.full_like(variance, 0.49), rtol=1e-11, atol=0)


@over("huge place", list(product((1e3, HUGE), (0, 13, 31))))
def test_one_loss_adds_no_more_than_a_sixteenth(ways, huge, place):
    """Whatever it is and wherever; other bins have no more than it allows them, which is none above it."""
    state = make_state(capacity=64, min_count=64)
    moments, mmse = gaussian_moments(state, 0.49, 64)
    moments[:, place, 2] = huge
    run = Parity(ways, state)
    run("refresh_", moments)
    ratio = run.expected["mmse"][0] / mmse.cpu()
    assert float(ratio.max()) < 1 + 1 / 16 + 1e-9
    assert place == 31 or float((ratio[place + 1 :] - 1).abs().max()) < 1e-9
    assert place == 0 or float((ratio[:place] - 1).abs().max()) < 1e-9


@over("signal", [(i,) for i in range(len(SIGNALS))])
def test_a_group_of_few_losses_leans_on_all(ways, signal):
    """Full groups get the table that they would get alone, one of few losses that of a ring with the losses of all."""
    state = make_state(3, min_count=100, signal=signal)
    moments = rough_moments(state, generator(3), 0.1)
    moments[1, :, 0], moments[1, :, 1] = 1, 0
    second, third = ({n: x[g : g + 1] if n in MUTABLE[:-1] else x for n, x in state.items()} for g in (1, 2))
    run, whole, alone = Parity(ways, state), Parity(ways, second), Parity(ways, third)
    run("refresh_", moments)
    alone("refresh_", moments[2:])
    largest = moments[..., 2].amax(0)
    count, total = moments[..., 0].sum(0), moments[..., 1:].sum((0, 2))
    whole("refresh_", torch.stack((count, total - largest, largest), -1).unsqueeze(0))
    assert counter(run.expected, "waits").tolist() == [0, 1, 0]
    assert counter(run.expected, "status").tolist() == [2, 1, 2]
    assert torch.equal(run.expected["cdf"][2:], alone.expected["cdf"])
    for name in ("cdf", "mmse", "stats"):
        torch.testing.assert_close(run.expected[name][1], whole.expected[name][0], rtol=1e-9, atol=1e-12)


@over("shape together", [((3, 500), True), ((3, 30), False), ((1, 500), False)])
def test_groups_that_all_have_few_losses_lean_on_one_another(ways, shape, together):
    """In steps and in a refresh, if together they have enough; a single group has nobody to lean on."""
    groups, size = shape
    often = {"warmup": 1, "refresh_every": 1, "min_count": size / 2 if groups > 1 else size + 1}
    state, g = make_state(groups, bins=24, capacity=40, **often), generator(size)
    run = Parity(ways, state)
    sigma, error = random_batch(state, size if together else 9, g, spoiled=False)
    group = torch.arange(len(sigma), device=DEVICE) % groups if groups > 1 else None
    run("advance_", sigma, error, None, group, 5, None)
    assert (counter(run.expected, "waits") == 1).all()
    assert (counter(run.expected, "refreshes") == 0).all()
    moved = (run.expected["cdf"] != state["cdf"].cpu()).any(-1)
    assert bool(moved.all()) == bool(moved.any()) == together
    if together:
        torch.testing.assert_close(run.expected["cdf"], run.expected["cdf"][:1].expand(groups, -1))


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
    often = {"warmup": 2, "refresh_every": 2, "min_count": 1}
    run, g = Parity(ways, make_state(groups, bins=24, capacity=9, **often), oracle_of(size)), generator(size + groups)
    for n in (size, 0, 5, 130):
        owner = group_of(run.states[0], n, g) if n % 2 else None
        run("advance_", *batch_of(run.states[0], size, g), n, owner)
    outcomes = [counter(run.expected, name) for name in ("refreshes", "waits", "degenerates")]
    assert (sum(outcomes) == 2).all()
    if size > 200:
        assert (counter(run.expected, "refreshes") == 2).all()


@over("groups rule", list(product((1, 3), PIVOTS)), [(1, 0), (3, 1), (1, 2)])
def test_advance_over_a_run(ways, groups, rule):
    """Forty steps: the sampled sigmas feed the next step, so a slip anywhere would spread."""
    signal = rule + 2 * (groups > 1)
    state = make_state(groups, pivot_rule=rule, pivot_value=PIVOTS[rule], seed=rule + 5, signal=signal)
    run, g = Parity(ways, state), generator(rule)
    sigma, _ = random_batch(state, 60, g)
    for _ in range(40):
        error = sigma.square() / (1 + sigma.square()) * torch.rand(60, generator=g).to(DEVICE)
        error[(torch.rand(60, generator=g) < 0.02).to(DEVICE)] = math.nan
        group, mask = group_of(state, 60, g), (torch.rand(60, generator=g) < 0.9).to(DEVICE)
        sigma = run("advance_", sigma, error, mask, group, 60, group).to(DEVICE)
    assert (counter(run.expected, "refreshes") >= 2).all()


BINS = [*product((1, 2), (4,), (1, 2)), (2, 1, 1), (513, 256, 1), (513, 4, 2)]
"""Numbers of bins, capacities and rules."""


def advance_twice(backend, ways, bins, capacity, rule):
    """Against another quick backend: the reference's loops are quadratic in the bins."""
    often = {"warmup": 1, "refresh_every": 1, "min_count": min(40, bins * capacity) if rule == 2 else 1}
    signal = SIGNALS.index("length" if rule == 2 else "learnable")
    state = make_state(bins=bins, capacity=capacity, pivot_rule=rule, pivot_value=PIVOTS[rule], signal=signal, **often)
    run = Parity(ways, state, "eager" if backend == "compiled" else "compiled")
    for seed in (1, 2):
        run("advance_", *batch_of(state, 5000, generator(seed)), 100, None)
    assert int(counter(run.expected, "refreshes")) == 2


@over("bins capacity rule", BINS, [case for case in BINS if case != (513, 256, 1)])
def test_advance_of_any_number_of_bins(backend, ways, bins, capacity, rule):
    advance_twice(backend, ways, bins, capacity, rule)


@pytest.mark.slow
@over("capacity rule", [(4, 1), (2, 2)], [(2, 2)])
def test_advance_of_the_most_bins(backend, ways, capacity, rule):
    advance_twice(backend, ways[::4], MAX_BINS, capacity, rule)  # of an emulator's ways, one for each limit


@over("", [()])
def test_advance_samples_before_it_refreshes(ways):
    """A table that becomes due serves from the next call."""
    state = make_state(warmup=1, refresh_every=1)
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
