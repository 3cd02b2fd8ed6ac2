"""Every op of every backend against the float64 reference, on fresh random inputs."""

import math

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
    put_edges_at_uniforms,
    random_batch,
    take,
)

from infonoise_ext.ops.schemas import COUNTERS, SIGNALS

RINGS = ("ring", "count", "counters", "grid")
TABLES = ("mmse", "cdf", "stats", "counters", "grid", "params")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("size", "groups"), [(0, 1), (1, 1), (13, 3), (700, 1), (700, 4)])
@pytest.mark.parametrize("masked", [False, True])
def test_observe_matches_reference(backend, dtype, size, groups, masked):
    g = generator(size + groups)
    state = make_state(groups, capacity=5)
    expected = copy_of(state)
    for _ in range(3):
        sigma, error = random_batch(state, size, g, dtype)
        mask = (torch.rand(size, generator=g) < 0.7).to(DEVICE) if masked else None
        group = torch.randint(-1, groups + 1, (size,), generator=g).to(DEVICE) if groups > 1 else None
        for target, name in ((state, backend), (expected, "reference")):
            OPS[name]["observe_"](*take(target, RINGS), sigma, error, mask, group)
    assert_same_state(state, expected)
    if size > 100:
        assert (expected["counters"][:, 5:].sum(0) > 0).sum() >= 3  # several causes occurred


@pytest.mark.parametrize("backend", BACKENDS)
def test_observe_takes_any_stride_and_int32_groups(backend):
    g = generator(3)
    state = make_state(2)
    expected = copy_of(state)
    sigma, error = random_batch(state, 600, g)
    mask = (torch.rand(600, generator=g) < 0.5).to(DEVICE)
    group = torch.randint(0, 2, (600,), generator=g).to(DEVICE)
    views = (sigma[::3], error.view(200, 3)[:, 1], mask[::3], group[::3].to(torch.int32))
    assert not any(view.is_contiguous() for view in views[:3])
    OPS[backend]["observe_"](*take(state, RINGS), *views)
    OPS["reference"]["observe_"](*take(expected, RINGS), *(view.contiguous() for view in views))
    assert_same_state(state, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_observe_at_every_edge(backend):
    """A sigma on an edge opens the bin above; rounding outside belongs to the end bins."""
    state = make_state(bins=32, capacity=4)
    edges = state["grid"][0].float()
    below, above = edges[0] * (1 - 5e-6), edges[-1] * (1 + 5e-6)
    outside = torch.stack((edges[0] * (1 - 2e-5), edges[-1] * (1 + 2e-5)))
    sigma = torch.cat((edges, below.view(1), above.view(1), outside))
    OPS[backend]["observe_"](*take(state, RINGS), sigma, torch.ones_like(sigma), None, None)
    wanted = torch.ones(32, dtype=torch.int64, device=DEVICE)
    wanted[0] += 1
    wanted[-1] += 2
    assert torch.equal(state["count"][0], wanted)
    assert state["counters"][0].sum() == 2


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("capacity", [1, 8, 100])
def test_bin_stats_matches_reference(backend, capacity):
    state = make_state(2, capacity=capacity)
    g = generator(capacity)
    state["ring"].copy_(torch.rand(state["ring"].shape, generator=g) * 1e3)
    state["count"].copy_(torch.randint(0, 3 * capacity, (2, 32), generator=g))
    args = take(state, ("ring", "count"))
    torch.testing.assert_close(
        OPS[backend]["bin_stats"](*args), OPS["reference"]["bin_stats"](*args), rtol=1e-13, atol=0
    )


def rough_moments(state, g, empty):
    """Moments of a bumpy profile in which a share of the bins holds too few losses."""
    sigma = state["grid"][1, :-1].cpu()
    groups = len(state["cdf"])
    mean = (
        sigma.square() / (1 + sigma.square()) * (0.5 + torch.rand(groups, len(sigma), generator=g, dtype=torch.float64))
    )
    count = torch.randint(3, 200, mean.shape, generator=g).double()
    count[torch.rand(mean.shape, generator=g) < empty] = 1
    return torch.stack((count, count * mean, count * mean.square() * 2), -1).to(DEVICE)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("pivot", [(0, 0.0), (0, 0.3), (1, 0.002), (1, 0.2), (2, 0.02), (2, 0.5)])
@pytest.mark.parametrize("smooth", [0, 0.4, 2.5])
@pytest.mark.parametrize("empty", [0, 0.3])
def test_refresh_matches_reference(backend, pivot, smooth, empty):
    rule, value = pivot
    state = make_state(3, pivot_rule=rule, pivot_value=value, smooth=smooth, seed=int(10 * smooth) + rule)
    state["grid"][3, 5:12] = 1e-3
    expected = copy_of(state)
    g = generator(int(100 * value) + 7)
    for _ in range(6):
        moments = rough_moments(state, g, empty)
        for target, name in ((state, backend), (expected, "reference")):
            OPS[name]["refresh_"](moments, *take(target, TABLES))
        assert_same_state(state, expected)
    assert (expected["counters"][:, 2] > 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("signal", range(1, len(SIGNALS)))
@pytest.mark.parametrize("pivot", [(0, 0.0), (1, 0.2)])
@pytest.mark.parametrize("smooth", [0, 2.5])
@pytest.mark.parametrize("empty", [0, 0.3])
def test_refresh_of_every_signal_matches_reference(backend, signal, pivot, smooth, empty):
    """Half the refreshes on a profile that falls in places, half on a rising one with flat stretches."""
    state = make_state(3, signal=signal, pivot_rule=pivot[0], pivot_value=pivot[1], smooth=smooth, seed=signal)
    state["grid"][3, 5:12] = 1e-3
    expected = copy_of(state)
    g = generator(signal + int(smooth))
    for _ in range(3):
        rough = rough_moments(state, g, empty)
        flat = rough.clone()
        flat[..., 1] = flat[..., 0] * (state["grid"][1, :-1] * 3).round().clamp(min=0.5)
        for moments in (rough, flat):
            for target, name in ((state, backend), (expected, "reference")):
                OPS[name]["refresh_"](moments, *take(target, TABLES))
            assert_same_state(state, expected)
    assert (expected["counters"][:, 2] > 0).all()


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
@pytest.mark.parametrize("signal", [*range(len(SIGNALS))])
def test_errors_of_zero_are_no_distribution_with_bins_unmeasured(backend, signal):
    """An unmeasured bin between two of no error is filled with none, not with the logarithm's floor."""
    state = make_state(coverage=0.01, signal=signal, pivot_rule=0)
    before = copy_of(state)
    moments = torch.zeros(1, 32, 3, dtype=torch.float64)
    moments[0, 3::4, 0] = 9
    OPS[backend]["refresh_"](moments.to(DEVICE), *take(state, TABLES))
    assert torch.equal(state["cdf"], before["cdf"])
    assert state["counters"][0, COUNTERS.index("degenerates")] == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ["nothing", "zeros", "huge", "one bin", "too few"])
@pytest.mark.parametrize("rule", [0, 1, 2])
@pytest.mark.parametrize("signal", range(len(SIGNALS)))
def test_refresh_of_extreme_moments(backend, case, rule, signal):
    coverage = 0.02 if case == "one bin" else 0.6
    state = make_state(pivot_rule=rule, pivot_value=[0.2, 0.002, 0.1][rule], coverage=coverage, signal=signal)
    moments = torch.zeros(1, 32, 3, dtype=torch.float64)
    if case == "one bin":
        moments[0, 9] = torch.tensor([20.0, 4.0, 1.0])
    elif case != "nothing":
        moments[..., 0] = 2 if case == "too few" else 10
        moments[..., 1] = 1e308 if case == "huge" else 0
    moments = moments.to(DEVICE)
    expected, before = copy_of(state), copy_of(state)
    for target, name in ((state, backend), (expected, "reference")):
        OPS[name]["refresh_"](moments, *take(target, TABLES))
    assert_same_state(state, expected)
    assert torch.isfinite(state["cdf"]).all()
    if case != "one bin":
        assert torch.equal(state["cdf"], before["cdf"])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n", [0, 1, 5, 256, 1003])
@pytest.mark.parametrize(("stratified", "rank", "groups"), [(0, 0, 1), (0, 3, 3), (1, 2, 1), (1, 0, 3)])
def test_sample_matches_reference(backend, n, stratified, rank, groups):
    state = make_state(groups, stratified=stratified, rank=rank, world=4, seed=n + 1)
    state["rng"][1] = 2**33 - 1
    expected = copy_of(state)
    group = torch.randint(0, groups, (n,), generator=generator(n)).to(DEVICE) if groups > 1 else None
    names = ("cdf", "rng", "grid", "params")
    for _ in range(3):
        sigma = OPS[backend]["sample_"](*take(state, names), n, group)
        assert_same_sigma(sigma, OPS["reference"]["sample_"](*take(expected, names), n, group))
    assert_same_state(state, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stratified", [0, 1])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("n", [9, 300, 5000])
def test_draws_of_tables_whose_edges_are_the_uniforms(backend, stratified, groups, n):
    """Beyond an edge lie bins without mass, so the level of a draw in the wrong bin is far off."""
    state = make_state(groups, bins=40, stratified=stratified, rank=1, world=2)
    put_edges_at_uniforms(state, n)
    expected = copy_of(state)
    group = torch.randint(0, groups, (n,), generator=generator(1)).to(DEVICE) if groups > 1 else None
    sigma, wanted = (
        OPS[name]["sample_"](*take(target, ("cdf", "rng", "grid", "params")), n, group)
        for name, target in ((backend, state), ("reference", expected))
    )
    assert_same_sigma(sigma, wanted)
    assert len(wanted.unique()) > min(n, 40) / 3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("rule", [0, 1, 2])
def test_advance_matches_reference_over_a_run(backend, groups, rule):
    """Forty steps: the sampled sigmas feed the next step, so a slip anywhere would spread."""
    value, signal = [0.1, 0.002, 0.1][rule], 3 * (groups > 1)
    state = make_state(groups, pivot_rule=rule, pivot_value=value, seed=rule + 5, ema=0.7, signal=signal)
    expected = copy_of(state)
    g = generator(rule)
    sigma, _ = random_batch(state, 60, g)
    for _ in range(40):
        error = sigma.square() / (1 + sigma.square()) * torch.rand(60, generator=g).to(DEVICE)
        error[(torch.rand(60, generator=g) < 0.02).to(DEVICE)] = math.nan
        group = torch.randint(0, groups, (60,), generator=g).to(DEVICE) if groups > 1 else None
        mask = (torch.rand(60, generator=g) < 0.9).to(DEVICE)
        drawn = OPS[backend]["advance_"](*take(state, ADVANCE), sigma, error, mask, group, 60, group)
        sigma = OPS["reference"]["advance_"](*take(expected, ADVANCE), sigma, error, mask, group, 60, group)
        assert_same_sigma(drawn, sigma)
        assert_same_state(state, expected)
    assert (expected["counters"][:, 2] >= 2).all()


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_advance_samples_before_it_refreshes(backend):
    """A table that becomes due serves from the next call."""
    state = make_state(warmup=1, refresh_every=1, coverage=0.01)
    sigma, error = random_batch(state, 500, generator(4), spoiled=False)
    before = copy_of(state)
    drawn = OPS[backend]["advance_"](*take(state, ADVANCE), sigma, error, None, None, 64, None)
    assert not torch.equal(state["cdf"], before["cdf"])
    old = OPS["reference"]["sample_"](*take(before, ("cdf", "rng", "grid", "params")), 64, None)
    assert_same_sigma(drawn, old)


@pytest.mark.parametrize("backend", BACKENDS)
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
def test_bad_arguments_get_a_clear_error(backend, change, message):
    state = make_state(2)
    args = {"sigma": torch.ones(8), "error": torch.ones(8), "mask": None, "group": None, "next_group": None} | change
    args = {name: x.to(DEVICE) if x is not None and x.device.type == "cpu" else x for name, x in args.items()}
    group, next_group = args["group"], args["next_group"]
    with pytest.raises((ValueError, RuntimeError), match=message):
        OPS[backend]["advance_"](
            *take(state, ADVANCE), args["sigma"], args["error"], args["mask"], group, 8, next_group
        )
