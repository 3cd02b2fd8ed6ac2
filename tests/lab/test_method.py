"""What docs/research/method.md rests on: signals, windows, sum rules, against closed forms and quadratures."""

import json
import math
from dataclasses import replace

import pytest
import torch
from scipy.integrate import quad
from support import generator

from experiments.lab import RESULTS
from experiments.method import decision, grids, memory
from experiments.method.curves import WINDOW, above, below, crossing, levels, nats, nats_error, shares, told, window
from experiments.method.data import gaussian_mmse
from experiments.method.dna import DNA
from infonoise_ext import oracle


def equivocation(p, sigma):
    """H(x0 | y) of two points, by scipy from the likelihoods alone."""

    def integrand(y):
        joint = [q * math.exp(-0.5 * ((y - x) / sigma) ** 2) for q, x in ((p, 1), (1 - p, -1))]
        total = sum(joint)
        return -sum(j * math.log(j / total) for j in joint if j > 0) / (sigma * math.sqrt(2 * math.pi))

    ends = (-1 - 12 * sigma, 1 + 12 * sigma)
    return quad(integrand, *ends, points=(-1, 0, 1), epsabs=1e-13, epsrel=1e-12, limit=400)[0]


@pytest.mark.parametrize("p", decision.PROBABILITIES)
def test_decision_window_of_two_points(p):
    found = decision.decision(p)
    total = -p * math.log(p) - (1 - p) * math.log(1 - p)
    for share, sigma in zip(WINDOW, found["window"], strict=True):
        assert abs(equivocation(p, sigma) / total - share) < 2e-5  # the result has five digits
    sigma = torch.tensor([0.99, 1.01], dtype=torch.float64) * found["log_rate_peak"]
    rate = [(equivocation(p, s * 1.001) - equivocation(p, s / 1.001)) / 0.002 for s in sigma.tolist()]
    middle = found["log_rate_peak"]
    top = (equivocation(p, middle * 1.001) - equivocation(p, middle / 1.001)) / 0.002
    assert top > max(rate)


@pytest.mark.parametrize("p", [0.6, 0.8, 0.95])
def test_branches_part_where_the_denoiser_touches_the_diagonal(p):
    """The slope (1 - y^2) / sigma^2 of the denoiser is 1 at y = -sqrt(1 - sigma^2), and y is a fixed point there."""
    sigma = decision.decision(p)["parting"]
    y = -math.sqrt(1 - sigma**2)
    assert abs(math.tanh(y / sigma**2 + 0.5 * math.log(p / (1 - p))) - y) < 1e-4


def test_paths_of_the_flow_keep_their_quantiles():
    """In one dimension the flow is the monotone map between the distributions of y at two noise levels."""
    sigma = levels(0.1, 10.0, 240).flip(0)
    y = decision.paths(oracle.TwoPoint(), sigma)
    normal = torch.special.ndtr
    cdf = 0.5 * (normal((y - 1) / sigma.unsqueeze(1)) + normal((y + 1) / sigma.unsqueeze(1)))
    # Paths start from y = sigma z, without the spread of x0: that moves the quantiles once, at the top.
    torch.testing.assert_close(cdf, cdf[:1].expand_as(cdf), rtol=0, atol=2e-4)
    quantiles = torch.tensor(decision.PATH_QUANTILES, dtype=torch.float64)
    torch.testing.assert_close(cdf[0], quantiles, rtol=0, atol=3e-3)


def test_signals_and_window_of_a_gaussian_are_closed_forms():
    """Both mmse / sigma and sqrt(d mmse / ds) are the clock arctan(sigma / std), whatever the dimension."""
    low, high, std, dim = 0.03, 70.0, 1.7, 5
    profile = oracle.Gaussian(dim, std).profile(low, high, 512)
    ratio = profile.edges / std
    entropy = -0.5 * dim * ratio.reciprocal().square().log1p()
    clocks = {"entropy": entropy, "rescaled": ratio.atan(), "length": ratio.atan(), "mmse": 1 / (1 + ratio**-2)}
    for name, clock in clocks.items():
        wanted = clock.diff() / (clock[-1] - clock[0])
        torch.testing.assert_close(shares(profile)[name][1:-1], wanted[1:-1], rtol=1e-3, atol=0)
    assert nats(profile) == pytest.approx(float(entropy[-1] - entropy[0]), rel=1e-5)
    torch.testing.assert_close(told(profile), entropy[-1] - entropy, rtol=1e-4, atol=1e-9)
    for share, found in zip(WINDOW, window(profile), strict=True):
        place = float(entropy[0] + share * (entropy[-1] - entropy[0])) * 2 / dim
        assert found == pytest.approx(std / math.sqrt(math.exp(-place) - 1), rel=1e-4)


def test_share_of_the_mmse_above_the_gap_of_two_modes():
    """Between the windows the place in a mode is unknown, but not the mode: what is above is the modes' variance."""
    profile = oracle.TwoModes(2**14, p=0.8, std=0.5).profile(1e-3, 1e6, 512)
    found = above(profile, 2**3.5)
    assert found["mmse"] == pytest.approx(0.64 / (0.64 + 0.25), rel=2e-3)
    entropy = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    within = 0.5 * 2**14 * math.log1p(0.25 / 2**7)
    assert found["entropy"] * nats(profile) == pytest.approx(entropy + within, rel=0.05)  # half a bin is 2% of sigma


def test_crossing_finds_where_a_function_rises_through_a_value():
    assert crossing(lambda s: s.square(), 3.0, 1e-3, 1e3) == pytest.approx(math.sqrt(3), rel=1e-12)


@pytest.mark.parametrize("points", [2, 7, 40])
def test_the_rate_of_a_data_set_integrates_to_log_n(points):
    """Of points far enough apart for the lowest level; the rest above the top is variance / (2 sigma^2)."""
    data = torch.arange(points, dtype=torch.float64).unsqueeze(1) + 0.2 * torch.rand(points, 1, generator=generator(3))
    source = oracle.EmpiricalBayes(data)
    assert source.exact
    top = 40.0 * points
    rest = source.total_variance / (2 * top**2)
    assert nats(source.profile(0.05, top, 100)) + rest == pytest.approx(math.log(points), rel=1e-4)


def test_a_set_in_many_dimensions_holds_log_n():
    """The rate's integral against log n and, between two levels, against entropies that do not rest on mmse."""
    data = torch.randn(300, 30, generator=generator(4), dtype=torch.float64)
    source = oracle.EmpiricalBayes(data, samples=400)
    profile = source.profile(0.05, 60.0, 60)
    rest = source.total_variance / (2 * 60.0**2)
    assert abs(nats(profile) + rest - math.log(300)) < 5 * nats_error(profile) < 1  # 6e-7 at most
    value, error = source.entropy_estimate(profile.edges[[20, 40]])
    known = told(profile)[20] - told(profile)[40]
    assert abs(float(value[1] - value[0] - known)) < 5 * float(error.sum() + nats_error(profile))


@pytest.fixture(scope="module")
def dna():
    source = DNA(samples=500)
    return source, source.profile(0.2, 80.0, 60)


def test_the_rate_of_dna_integrates_to_its_entropy(dna):
    """36.007 nats is what the likelihoods of 200,000 sequences give."""
    source, profile = dna
    value, error = source.grammar.entropy(20_000)
    rest = source.total_variance / (2 * 80.0**2)
    assert abs(value - 36.007) < 5 * error
    assert abs(nats(profile) + rest - 36.007) < 5 * nats_error(profile) < 2


def test_entropy_of_dna_does_not_rest_on_its_mmse(dna):
    """H(x0 | y) by the likelihoods: none at the bottom, all of it at the top, the integral in between."""
    source, profile = dna
    value, error = source.entropy_estimate(profile.edges[[0, 30, 60]])
    assert abs(float(value[0])) < 1e-3
    assert abs(float(value[2]) - 36.007) < 5 * float(error[2])
    assert abs(float(value[2] - value[1] - told(profile)[30])) < 5 * float(error[1:].sum() + nats_error(profile))


def test_no_data_exceed_the_mmse_of_their_covariance():
    data = torch.randn(3000, 4, generator=generator(7), dtype=torch.float64) * torch.tensor([0.1, 1.0, 2.0, 5.0])
    sigma = levels(0.01, 100.0, 20)
    variances = data.var(0, correction=0)
    linear = gaussian_mmse(data, sigma)
    expected = (variances * sigma.unsqueeze(1).square() / (variances + sigma.unsqueeze(1).square())).sum(1)
    torch.testing.assert_close(
        linear, expected, rtol=2e-3, atol=0
    )  # empirical correlations are of order 1 / sqrt(3000)
    for other in (torch.randn(60, 3, generator=generator(8)).double().exp(), torch.eye(9).double()):
        value, error = oracle.EmpiricalBayes(other, samples=500).mmse_estimate(sigma)
        assert bool((value <= gaussian_mmse(other, sigma) + 5 * error).all())


def test_nodes_are_judged_by_the_entropy_below_them():
    """Against the entropy of two points itself; an entropic grid leaves equal nats between its nodes."""
    model = oracle.TwoPoint()
    profile = model.profile(grids.LOW, grids.HIGH, grids.BINS)
    nodes = grids.grid("EDM", profile)
    torch.testing.assert_close(below(profile, nodes), model.entropy(nodes) / math.log(2), rtol=0, atol=1e-3)
    judged = grids.judged(profile, grids.grid("entropy", profile))
    assert judged["inside"] == 14  # of k / 17, those inside (0.1, 0.9)
    assert judged["largest"] == pytest.approx(1 / 17, rel=0.01)


def test_a_set_parts_from_its_distribution_where_its_mmse_is_low():
    exact = oracle.Gaussian(3).profile(0.1, 10.0, 40)
    low = replace(exact, mmse=exact.mmse * (1 - 0.4 / (1 + exact.sigma.square())))  # 10% at sigma = sqrt(3)
    k = memory.parting(exact, low)
    assert float(exact.sigma[k]) < math.sqrt(3) < float(exact.sigma[k + 1])


def test_the_results_shown_obey_the_sum_rules():
    found = json.loads((RESULTS / "method_memory.json").read_text())
    rest = DNA().total_variance / (2 * memory.HIGH**2)
    for n, one in found["sets"].items():
        assert abs(one["nats"] + rest - math.log(int(n))) < 4 * one["nats_error"]
    assert abs(found["exact"]["nats"] + rest - 36.007) < 4 * found["exact"]["nats_error"]
    magnet = json.loads((RESULTS / "method_models.json").read_text())["models"]["magnet, d = 256"]
    assert abs(magnet["nats"] - oracle.CurieWeiss(256).total_entropy) < 4 * magnet["nats_error"]
