"""The learned distribution: its four functions against their definitions, and as a schedule of its own."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate

import infonoise_ext as inx

EDGES = torch.tensor([0.1, 0.15, 0.5, 2.0, 30.0], dtype=torch.float64)
MASS = torch.tensor([0.1, 0.0, 0.6, 0.3], dtype=torch.float64)


@pytest.fixture
def table():
    return inx.Table.from_mass(EDGES, 7 * MASS)


def test_below_is_the_integral_of_the_density(table):
    for sigma in (0.12, 0.3, 1.0, 2.0, 11.0):
        knots = [e for e in EDGES.tolist() if e < sigma] + [sigma]
        pieces = [integrate.quad(lambda s: float(table.density(s)), a, b)[0] for a, b in pairwise(knots)]
        assert float(table.below(sigma)) == pytest.approx(sum(pieces), abs=1e-9), sigma


def test_density_is_constant_in_log_sigma_within_a_bin(table):
    for low, high, mass in zip(EDGES[:-1].tolist(), EDGES[1:].tolist(), MASS.tolist(), strict=True):
        inside = torch.tensor(np.geomspace(low * 1.001, high * 0.999, 7))
        expected = torch.full_like(inside, mass / math.log(high / low))
        torch.testing.assert_close(table.density(inside) * inside, expected, rtol=1e-12, atol=0)


def test_level_inverts_below(table):
    u = torch.rand(1000, dtype=torch.float64)
    torch.testing.assert_close(table.below(table.level(u)), u, rtol=0, atol=1e-6)  # sigma is float32
    assert table.level(u).dtype == torch.float32
    assert table.level(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([0.1, 30.0])
    assert table.level(0.1).item() == pytest.approx(0.5)  # nothing lies in the bin before it


def test_outside_of_the_edges_there_is_nothing(table):
    sigma = torch.tensor([-1.0, 0.0, 0.09, 31.0, math.inf])
    assert table.below(sigma).tolist() == [0, 0, 0, 1, 1]
    assert table.density(sigma).tolist() == [0] * 5
    assert table.below(math.nan).isnan()


def test_mass_on_other_edges_is_a_rebinned_table(table):
    edges = torch.tensor([0.05, 0.3, 1.0, 7.0, 100.0], dtype=torch.float64)
    mass = table.mass(edges)
    torch.testing.assert_close(mass, torch.cat((table.below(edges), torch.ones(1))).diff()[:-1], rtol=0, atol=1e-15)
    assert float(mass.sum()) == pytest.approx(1)
    again = inx.Table.from_mass(edges, mass)
    torch.testing.assert_close(again.below(edges), table.below(edges), rtol=0, atol=1e-15)


def test_draws_follow_the_mass():
    """Chi-square over the bins; false alarm once in 10^6."""
    from scipy import stats

    torch.manual_seed(3)
    drawn = inx.Table(EDGES, torch.tensor([0, 0.1, 0.1, 0.7, 1.0])).sample(20_000).double()
    counts = torch.histogram(drawn, EDGES).hist
    assert counts[1] == 0
    kept = [0, 2, 3]
    assert stats.chisquare(counts[kept].numpy(), (20_000 * MASS[kept]).numpy()).pvalue > 1e-6


def test_a_schedules_table_is_what_it_samples_and_stays():
    schedule = inx.InfoNoise(0.01, 10.0, bins=16, seed=1, weight=inx.EDMWeight(0.5))
    table = schedule.table()
    assert torch.equal(table.cdf, schedule.state.cdf[0])
    assert table.weight is schedule.weight
    before = table.cdf.clone()
    schedule.state.cdf.zero_()
    assert torch.equal(table.cdf, before)
    for bad in (1, -1, "a"):
        with pytest.raises(ValueError, match=f"group is {bad!r}, but must be an integer in \\[0, 0\\]"):
            schedule.table(bad)


def test_a_table_is_a_prior_and_a_schedule(table):
    """A schedule on the table's own grid that starts from it samples the very same distribution."""
    first = inx.InfoNoise(0.01, 10.0, bins=16, prior=inx.LogNormal(0.0, 0.5), floor=0.0)
    second = inx.InfoNoise(0.01, 10.0, bins=16, prior=first.table(), floor=0.0)
    torch.testing.assert_close(second.state.cdf, first.state.cdf, rtol=0, atol=1e-12)
    sigma = table.advance(torch.ones(5), torch.ones(5))
    assert sigma.shape == (5,)
    assert table.table() is table
    twin = inx.Table(EDGES, table.cdf)
    twin.load_state_dict(table.state_dict())
    assert "4 bins on [0.1, 30]" in repr(table)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: inx.Table(EDGES, torch.tensor([0, 0.2, 0.1, 0.7, 1.0])), "cdf is .*5 numbers that rise from 0 to 1"),
        (lambda: inx.Table(EDGES, torch.tensor([0, 0.2, 0.3, 1.0])), "cdf is"),
        (lambda: inx.Table(EDGES, torch.tensor([0, 0.2, math.nan, 0.7, 1.0])), "cdf is"),
        (lambda: inx.Table(EDGES.flip(0), torch.linspace(0, 1, 5)), "edges is .*ascending"),
        (lambda: inx.Table.from_mass(EDGES, torch.zeros(4)), "mass is"),
        (lambda: inx.Table.from_mass(EDGES, torch.tensor([1.0, -1.0, 1.0, 1.0])), "mass is"),
        (lambda: inx.Table.from_mass(EDGES, torch.ones(3)), "cdf is"),
    ],
)
def test_what_is_no_distribution_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_histogram_of_draws_is_their_density():
    """Of 400,000 draws: quantiles within 6 standard errors, and what has no logarithm left out."""
    torch.manual_seed(3)
    drawn = torch.cat((inx.LogNormal(-1.2, 1.2).sample(400_000), torch.tensor([0.0, math.inf, math.nan])))
    table = inx.Table.from_levels(drawn)
    u = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
    z = torch.special.ndtri(u)
    error = 6 * (u * (1 - u) / 4e5).sqrt() / ((-0.5 * z**2).exp() / (2 * math.pi) ** 0.5) * 1.2
    assert ((table.level(u).log() - (-1.2 + 1.2 * z)).abs() < error + 0.02).all()  # and a bin's width
    for empty in (torch.tensor([2.0, 2.0]), torch.tensor([math.nan, -1.0])):
        with pytest.raises(ValueError, match=r"levels is .*, but must be two or more different numbers above 0"):
            inx.Table.from_levels(empty)


def test_histogram_is_on_the_cpu_whatever_the_default_device_is():
    with torch.device("meta"):
        table = inx.Table.from_levels(torch.tensor([1.0, 2.0, 3.0], device="cpu"), bins=2)
    assert table.cdf.device.type == "cpu"
