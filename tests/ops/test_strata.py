"""What `sampling="stratified"` promises: every stratum once, in an order that says nothing about the place.

`test_ops.py` holds every backend to the reference, so the statistics are those of the compiled ops alone. Each
statistical bound has a false-alarm rate of 1e-6.
"""

import math
from itertools import permutations

import pytest
import torch
from scipy import stats
from support import BACKENDS, DEVICE, OPS, call, generator, make_state

from infonoise_ext.ops.reference.draw import shuffle, shuffle_keys

RARE = 1e-6
LOW, HIGH = 1.0, math.exp(8.0)
"""Of a grid whose table is uniform, so that log sigma / 8 is the uniform number, but for float32's rounding."""


def uniform_state(groups=1, **params):
    state = make_state(groups, bins=4, low=LOW, high=HIGH, stratified=1, **params)
    state["cdf"].copy_(torch.linspace(0, 1, 5, dtype=torch.float64))
    return state


def draw(ops, state, n, group=None):
    """The uniforms of one draw, float64 [n]."""
    return call(ops, "sample_", state, n, group).cpu().double().log() / 8


def assert_exactly_covered(u):
    """One number in each n-th of (0, 1), to the rounding of sigma."""
    n = len(u)
    edges = torch.arange(n + 1, dtype=torch.float64) / n
    ordered, rounding = u.sort().values, 2e-8
    assert (ordered >= edges[:-1] - rounding).all()
    assert (ordered <= edges[1:] + rounding).all()


@pytest.fixture(params=BACKENDS)
def ops(request):
    return OPS[request.param]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 64, 101, 1000, 65_537, 2**20])
def test_every_call_covers_its_strata(ops, n):
    state = uniform_state()
    first, second = draw(ops, state, n), draw(ops, state, n)
    for u in (first, second):
        assert_exactly_covered(u)
    if n >= 64:
        assert not torch.equal((first * n).long(), (second * n).long())


@pytest.mark.parametrize("how", ["blocks", "in turn", "shuffled"])
def test_every_call_covers_the_strata_of_every_group(ops, how):
    state, n = uniform_state(5), 1003
    label = {
        "blocks": torch.arange(n) * 5 // n,
        "in turn": torch.arange(n) % 5,
        "shuffled": torch.randint(0, 4, (n,), generator=generator(1)).square().clamp(max=4),
    }[how]
    for _ in range(3):
        u = draw(ops, state, n, label.to(DEVICE))
        for g in range(5):
            assert_exactly_covered(u[label == g])


@pytest.mark.parametrize(("n", "world"), [(1, 8), (1, 7), (25, 4), (64, 3), (1000, 16)])
@pytest.mark.parametrize("groups", [1, 2])
def test_ranks_cover_the_strata_together_whatever_their_seeds(ops, n, world, groups):
    """And each for itself one in each n-th, so that no rank is left to one end of the grid."""
    ranks = [uniform_state(groups, rank=r, world=world, seed=r % 3) for r in range(world)]
    label = torch.arange(n) % groups if groups > 1 else None
    for _ in range(3):
        u = torch.stack([draw(ops, state, n, None if label is None else label.to(DEVICE)) for state in ranks])
        for of_group in [u] if label is None else [u[:, label == g] for g in label.unique()]:
            assert_exactly_covered(of_group.flatten())
            for mine in of_group:
                assert_exactly_covered(mine)


def strata_of_calls(n, calls, seed=1, group=None, **params):
    """The stratum of each sample of each call: [calls, n]."""
    state = uniform_state(1 if group is None else 2, seed=seed, **params)
    u = torch.stack([draw(OPS["compiled"], state, n, group) for _ in range(calls)])
    return u, (u * n).long().clamp(0, n - 1)


def assert_even(counts):
    assert stats.chisquare(counts.double().numpy()).pvalue > RARE


@pytest.mark.parametrize("n", [2, 3, 8, 20])
def test_place_in_the_batch_says_nothing_about_the_level(n):
    """Counts [place, stratum] of shuffles are even: chi-square, of (n - 1)^2 degrees of freedom but for n / (n - 1)."""
    calls = 4000
    _, strata = strata_of_calls(n, calls)
    counts = torch.stack([(strata == k).sum(0) for k in range(n)]).double()
    expected = calls / n
    statistic = float(((counts - expected).square() / expected).sum()) * (n - 1) / n
    assert stats.chi2.sf(statistic, (n - 1) ** 2) > RARE


@pytest.mark.parametrize("places", [(0, 1), (0, 4), (3, 7), (6, 2)])
def test_pairs_of_places_meet_every_pair_of_strata_alike(places):
    _, strata = strata_of_calls(8, 8000)
    pairs = strata[:, places[0]] * 8 + strata[:, places[1]]
    counts = torch.bincount(pairs, minlength=64).view(8, 8)
    assert (counts.diag() == 0).all()
    assert_even(counts[~torch.eye(8, dtype=torch.bool)])


@pytest.mark.parametrize("n", [2, 3, 4])
def test_all_orders_of_few_samples_are_alike(n):
    _, strata = strata_of_calls(n, 6000)
    orders = [torch.tensor(order) for order in permutations(range(n))]
    assert_even(torch.stack([(strata == order).all(1).sum() for order in orders]))


def test_halves_of_a_batch_draw_alike():
    """Batches are grouped, say first instances, then classes: the means of both halves differ by chance alone."""
    n, calls = 8, 4000
    u, _ = strata_of_calls(n, calls)
    gap = u[:, : n // 2].mean(1) - u[:, n // 2 :].mean(1)
    assert abs(float(gap.mean() / gap.std() * calls**0.5)) < stats.norm.isf(RARE / 2)
    neighbours = torch.corrcoef(torch.stack((u[:, :-1].flatten(), u[:, 1:].flatten())))[0, 1]
    assert abs(float(neighbours) + 1 / (n - 1)) < 0.05  # of distinct strata, -1 / (n - 1) but for the strata's width


def test_groups_are_shuffled_apart():
    """Sample j of one group and sample j of another meet every pair of strata alike."""
    n = 8
    label = torch.arange(n) % 2
    u, _ = strata_of_calls(n, 4000, group=label.to(DEVICE))
    of_group = [(u[:, label == g] * 4).long().clamp(0, 3) for g in (0, 1)]
    assert_even(torch.bincount(of_group[0][:, 1] * 4 + of_group[1][:, 1], minlength=16))


@pytest.mark.parametrize("every", [1, 2, 8])
def test_rank_and_call_say_nothing_about_the_level(every):
    """One sample a rank: at every 8th call, as of a fixed number of micro-batches, a rank meets all strata alike."""
    u, _ = strata_of_calls(1, 8000, rank=5, world=8)
    assert_even(torch.bincount((u[::every, 0] * 8).long().clamp(0, 7), minlength=8))


@pytest.mark.parametrize("n", [4, 32])
def test_a_mean_over_strata_varies_as_it_should(n):
    """Var of the mean of u is 1 / (12 n^3), where independent draws give 1 / (12 n): chi-square."""
    calls = 2000
    u, _ = strata_of_calls(n, calls)
    ratio = float(u.mean(1).var()) * 12 * n**3
    low, high = (stats.chi2.ppf(p, calls - 1) / (calls - 1) for p in (RARE / 2, 1 - RARE / 2))
    assert low < ratio < high


def test_shuffle_is_a_permutation():
    for n in (*range(1, 130), 997, 1024):
        keys = shuffle_keys(n, 0, 5, 0)
        assert sorted(shuffle(x, n, keys) for x in range(n)) == list(range(n))
