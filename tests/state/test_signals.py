"""What each signal makes of a profile: its invariants, and exact tables of known data."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import generator
from support.oracle import cumulated, learnable_density, nodes, slope
from support.runs import fed, gaussian_mmse

import infonoise_ext as inx
from infonoise_ext import oracle
from infonoise_ext.ops import eager
from infonoise_ext.ops.reference.signal import rise, sharpness, window
from infonoise_ext.ops.schemas import CURVES, PARAMS, SIGNALS, Params

PROFILES = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e6)), min_size=2, max_size=40)


def eager_signal(mmse, sigma, width, name):
    return eager.curve(name, torch.tensor(mmse).double() / sigma**2, sigma, torch.tensor(width).double())


@given(mmse=PROFILES, width=st.floats(0.01, 2), scale=st.floats(1e-3, 1e3))
def test_a_rise_is_nowhere_negative_sums_to_that_of_the_ends_and_scales(mmse, width, scale):
    """The ends of the isotonic profile: its first and last bin averaged with the least and the largest."""
    bottom, top = (mmse[0] + min(mmse)) / 2 * math.exp(-width), (max(mmse) + mmse[-1]) / 2
    sigma = torch.exp(width * torch.arange(len(mmse)).double() - 3)
    found = {"reference": rise(mmse, width), "eager": eager_signal(mmse, sigma, width, "mmse").tolist()}
    for rises in found.values():
        assert min(rises) >= 0
        assert math.isclose(math.fsum(rises), top - bottom, rel_tol=1e-7, abs_tol=1e-300)
    scaled = rise([scale * m for m in mmse], width)
    assert np.allclose(scaled, scale * np.array(found["reference"]), rtol=1e-5, atol=1e-8 * scale * top)


@given(ups=st.lists(st.floats(1e-3, 3), min_size=3, max_size=30), width=st.floats(0.01, 2))
def test_of_a_rising_profile_the_edges_are_geometric_means(ups, width):
    mmse = np.exp(np.cumsum(ups))
    edges = np.sqrt(mmse[1:] * mmse[:-1])
    np.testing.assert_allclose(rise(mmse.tolist(), width)[1:-1], np.diff(edges), rtol=1e-9)


@pytest.mark.parametrize("backend", ["auto", "eager"])
@pytest.mark.parametrize("signal", CURVES)
def test_the_unit_of_the_error_does_not_matter(backend, signal):
    """A sum over elements for a mean, 3072 times as large, gives the same table."""
    small, large = (inx.InfoNoise(seed=1, signal=signal, backend=backend, prior=inx.LogUniform()) for _ in range(2))
    sigma = small.sample(20_000)
    error = sigma.square() / (1 + sigma.square()) * torch.rand(20_000, generator=generator(2))
    for schedule, unit in ((small, 1), (large, 3072)):
        schedule.observe(sigma, error * unit)
        schedule.refresh()
        assert schedule.summary()["refreshes"] == 1
    torch.testing.assert_close(small.state.cdf, large.state.cdf, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("signal", CURVES)
def test_table_of_two_modes_is_the_exact_one(signal):
    """Losses that are the exact mmse; the density by quadrature, of the slope by differences for two signals."""
    modes = oracle.TwoModes(64)
    options = {"sigma_min": 0.05, "sigma_max": 50.0, "bins": 128, "floor": 0.0}
    schedule = fed(modes.mmse, samples=8_000, signal=signal, sampling="stratified", **options)
    profile = schedule.profile()
    density = {
        "entropy": lambda s: modes.mmse(s) / s**2,
        "rescaled": lambda s: modes.mmse(s) / s,
        "mmse": lambda s: slope(modes.mmse, s),
        "length": lambda s: slope(modes.mmse, s).sqrt(),
    }[signal]
    ends = profile.edges[::16].tolist()
    mass = []
    for low, high in itertools.pairwise(ends):
        sigma, weight = nodes(low, high, 24)
        mass.append((weight * density(sigma) / sigma).sum())
    exact = torch.stack(mass).cumsum(0) / sum(mass)
    assert (profile.cdf[16::16] - exact).abs().max() < 2e-3


@pytest.mark.parametrize("signal", CURVES)
def test_training_on_exact_losses_ends_at_the_exact_table(signal):
    """Gaussian data, exact denoiser: a loss is mmse chi2_d / d, its mean over n of them within 5.6 sigma.

    That and the curvature within a bin bound the relative error of every bin's mmse; isotonic averages and
    edges have no more, which bounds the table. 16 bins fail by chance once in 3 million runs. The range ends
    where mmse still rises: the root of a difference of equal numbers would be noise.
    """
    dim, std, bins, capacity, floor = 1024, 0.5, 16, 4096, 0.1
    schedule = inx.InfoNoise(
        0.02, 0.5, seed=5, bins=bins, capacity=capacity, floor=floor, signal=signal, prior=inx.LogUniform()
    )  # fmt: skip
    random, sigma = np.random.default_rng(3), schedule.sample(2048)
    for _ in range(400):
        chi2 = torch.from_numpy(random.chisquare(dim, len(sigma)))
        sigma = schedule.advance(sigma, gaussian_mmse(sigma, std) * chi2 / dim)
    schedule.refresh()
    profile = schedule.profile()
    assert (profile.count == capacity).all()
    error = 5.6 * math.sqrt(2 / dim / capacity) + schedule.config.width**2 / 6
    # Constant above the highest centre is the estimate's rule.
    mmse = gaussian_mmse(torch.cat((profile.edges[:-1], profile.sigma[-1:])), std)
    rise = mmse.diff()
    exact, wrong = {
        "entropy": (1 / (std**2 + profile.sigma**2), error),
        "rescaled": ((profile.edges / std).atan().diff(), error),
        "mmse": (rise, 2 * error * mmse[-1] / rise.sum()),
        "length": (rise.sqrt(), (2 * error * mmse[1:] / rise.sqrt()).sum() / rise.sqrt().sum()),
    }[signal]
    assert wrong < 0.1
    wanted = (1 - floor) * exact.cumsum(0) / exact.sum() + floor * torch.arange(1, bins + 1) / bins
    assert (profile.cdf[1:] - wanted).abs().max() < wrong


LEARNABLE = {  # mmse per element, variance
    "gaussian": (gaussian_mmse, 0.25),
    "two levels": (inx.BinaryBound(), 1.0),
    "two levels, scaled": (lambda sigma: 0.01 * inx.BinaryBound()(sigma / 0.1), 0.01),
    "one-hot": (inx.BinaryBound.one_hot(4), 0.75),
}


@pytest.mark.parametrize("weight", [None, inx.EDMWeight(0.5)])
@pytest.mark.parametrize("data", LEARNABLE)
@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_what_is_learnable_of_known_data_is_drawn(backend, data, weight):
    """Exact losses: the table is that of the formula's integrals, to the width of a bin."""
    mmse, variance = LEARNABLE[data]
    schedule = fed(mmse, samples=100_000, bins=256, floor=0.0, weight=weight, backend=backend, sampling="stratified")
    sigma = torch.logspace(math.log10(0.002), math.log10(80), 20_001, dtype=torch.float64)
    weights = 1.0 if weight is None else weight(sigma).numpy()
    density, power = learnable_density(sigma.numpy(), mmse(sigma).numpy(), variance, weights)
    exact = torch.from_numpy(cumulated(density, sigma.numpy()))
    assert (schedule.table().below(sigma) - exact).abs().max() < 0.01
    assert schedule.summary()["sharpness"] == pytest.approx(power, rel=0.03)
    assert schedule.summary()["variance"] == pytest.approx(variance, rel=1e-3)


def test_the_window_of_gaussian_data_is_the_fourth_power_of_a_hyperbolic_secant():
    """g = 1 / (1 + x^2) and s = ln x make g (1 - g) = sech(s)^2 / 4, and r = g."""
    s = np.linspace(-6, 6, 241)
    sigma = 2 * np.exp(s)
    q = window((4 / (4 + sigma**2)).tolist(), sigma.tolist(), 4.0)
    np.testing.assert_allclose(q, np.cosh(s) ** -4.0, rtol=1e-9)
    spread = (math.pi**2 - 6) / 12  # of the density sech(s)^4
    p = Params(**dict.fromkeys(PARAMS, 0.0) | {"width": s[1] - s[0], "reach": 0.5})
    _, power = learnable_density(sigma, sigma**2 * 4 / (4 + sigma**2), 4.0)
    assert np.average(s**2, weights=q) == pytest.approx(spread, rel=1e-6)
    assert sharpness(p, q) == pytest.approx(power, rel=1e-9)


@pytest.mark.parametrize("reach", [0.0, 0.3, 0.6, 1.0, 3.0])
@given(spread=st.floats(0.05, 2), height=st.floats(1e-6, 1e6))
def test_sharpness_heeds_the_width_of_the_window_alone(reach, spread, height):
    """Of normal windows: the power never falls as the reach grows, and neither height nor place matters."""
    s = np.linspace(-12, 12, 961)
    p = Params(**dict.fromkeys(PARAMS, 0.0) | {"width": s[1] - s[0], "reach": reach})
    q = np.exp(-(s**2) / (2 * spread**2))
    power = sharpness(p, q.tolist())
    assert power >= 0.5
    assert sharpness(p, (height * np.roll(q, 7)).tolist()) == pytest.approx(power, rel=1e-6)
    assert sharpness(p._replace(reach=reach + 0.1), q.tolist()) >= power * (1 - 1e-9)


def test_a_network_that_knows_nothing_makes_no_window_beyond_that_of_gaussian_data():
    """Errors far above a Gaussian's, as before training: r is capped, so that no level is starved or preferred."""
    sigma = np.geomspace(0.002, 80, 200)
    untrained = window((1 / sigma**2).tolist(), sigma.tolist(), 1.0)
    gaussian = window((1 / (1 + sigma**2)).tolist(), sigma.tolist(), 1.0)
    np.testing.assert_allclose(untrained, gaussian, rtol=1e-9)
    assert SIGNALS[0] == "learnable"
    assert not any(window([0.0] * 200, sigma.tolist(), 0.0))  # errors of zero


@pytest.mark.parametrize("sigma", [0.3, 0.8, 2.0])
def test_slope_of_mmse_is_twice_the_squared_covariance_over_the_variance_of_the_noise(sigma):
    """Two points: the posterior variance is 1 - denoise^2. Six standard errors, false alarm 2e-9 each."""
    points, g = oracle.TwoPoint(0.7), generator(4)
    y = points.sample(200_000, g) + sigma * torch.randn(200_000, 1, generator=g, dtype=torch.float64)
    square = 2 / sigma**2 * (1 - points.denoise(y, sigma).square()).square()
    distance = square.mean() - slope(points.mmse, torch.tensor(sigma, dtype=torch.float64))
    assert abs(distance) < 6 * square.std() / len(y) ** 0.5
