"""Interpolants between noise and data: identities, and closed forms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import generator
from support.oracle import double

from infonoise_ext import channel
from infonoise_ext.interpolant import Linear, Trigonometric

FAMILIES = [Linear, Trigonometric]
ALPHA = {Linear: lambda t: 1 - t, Trigonometric: lambda t: (1 - t * t) ** 0.5}
scales = st.floats(1e-3, 1e4)


@pytest.mark.parametrize("family", FAMILIES)
@given(sigma=st.floats(1e-150, 1e150), c=scales)
def test_sigma_and_tau_invert_each_other(family, sigma, c):
    path = family(c)
    tau, noise = path.scales(double(sigma))
    assert 0 <= tau <= 1
    assert math.isclose(noise / tau, sigma, rel_tol=1e-12)
    assert float(tau) == float(path.time_of(double(sigma)))
    assert math.isclose(ALPHA[family](float(tau)), float(noise) / c, rel_tol=1e-9, abs_tol=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
@given(tau=st.floats(1e-12, 1.0), c=scales)
def test_tau_survives_the_way_to_sigma_and_back(family, tau, c):
    sigma = family(c).sigma(double(tau))
    assert math.isclose(float(sigma), c * ALPHA[family](tau) / tau, rel_tol=1e-6, abs_tol=1e-6 * c)
    assert math.isclose(float(family(c).time_of(sigma)), tau, rel_tol=2e-15)


@pytest.mark.parametrize("family", FAMILIES)
def test_ends_are_exact(family):
    path = family(3.0)
    torch.testing.assert_close(path.sigma(double(0.0, 1.0)), double(math.inf, 0.0), rtol=0, atol=0)
    tau, noise = path.scales(double(math.inf, 0.0))
    assert tau.tolist() == [0, 1]
    assert noise.tolist() == [3, 0]


def test_linear_with_unit_noise_is_flow_matching():
    sigma = torch.rand(100, generator=generator(1), dtype=torch.float64) * 10
    flow, path = channel.Flow("data"), Linear(1.0)
    torch.testing.assert_close(path.time_of(sigma), flow.time_of(sigma), rtol=1e-14, atol=0)
    x0, noise = torch.randn(2, 100, 3, generator=generator(2), dtype=torch.float64)
    torch.testing.assert_close(path.corrupt(x0, noise, sigma), flow.corrupt(x0, noise, sigma))


@pytest.mark.parametrize("family", FAMILIES)
def test_velocity_is_the_mean_of_the_path_s_derivative(family):
    """General path, b = (alpha' / alpha) x + (beta' - beta alpha' / alpha) D, with alpha' by differences."""
    tau = double(0.003, 0.2, 0.7, 0.99)
    path = family(5.0)
    x, denoised = torch.randn(2, 4, 3, generator=generator(3), dtype=torch.float64)
    alpha, h = ALPHA[family], 1e-6
    slope = ((alpha(tau + h) - alpha(tau - h)) / (2 * h) / alpha(tau)).unsqueeze(1)
    expected = slope * x + (1 - tau.unsqueeze(1) * slope) * denoised
    torch.testing.assert_close(path.velocity(x, denoised, path.sigma(tau)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_velocity_of_gaussian_data_up_to_both_ends(family):
    """x is Gaussian, so E[dI/dtau | x] is a regression: alpha alpha' c^2 + tau s^2 over alpha^2 c^2 + tau^2 s^2."""
    c, s = 7.0, 0.5
    path = family(c)
    sigma = double(math.inf, 1e12, 3.0, 1e-2, 1e-4)
    tau, noise = path.scales(sigma)
    x = torch.randn(5, generator=generator(4), dtype=torch.float64)
    denoised = tau * s * s * x / (tau.square() * s * s + noise.square())
    product = {Linear: -noise * c, Trigonometric: -tau * c * c}[family]  # alpha alpha' c^2
    expected = (product + tau * s * s) / (noise.square() + tau.square() * s * s) * x
    torch.testing.assert_close(path.velocity(x, denoised, sigma), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("c", [0.0, math.inf, "wide"])
def test_bad_arguments_are_named(c):
    for family in FAMILIES:
        with pytest.raises(ValueError, match=f"c is {c!r}, but must be a finite number above 0"):
            family(c)
