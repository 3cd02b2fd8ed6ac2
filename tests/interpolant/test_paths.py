"""Interpolants and the grids of noise levels: arXiv 2501.00988's published numbers, and closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from support import generator

import infonoise_ext as inx
from infonoise_ext import channel
from infonoise_ext.interpolant import (
    Linear,
    Trigonometric,
    dilated_ve_grid,
    dilated_vp_grid,
    length_grid,
    merged_grid,
    mmse_grid,
    uniform_grid,
)

FAMILIES = [Linear, Trigonometric]
ALPHA = {Linear: lambda t: 1 - t, Trigonometric: lambda t: (1 - t * t) ** 0.5}
scales = st.floats(1e-3, 1e4)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


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


def test_dilated_schedules_of_the_paper():
    vp = [0, 0.0234375, 0.046875, 0.0703125, 0.09375, 0.3203125, 0.546875, 0.7734375, 1]
    ve = [0, 0.2265625, 0.453125, 0.6796875, 0.90625, 0.9296875, 0.953125, 0.9765625, 1]
    torch.testing.assert_close(Linear(1.0).time_of(dilated_vp_grid(8, 1024, 3.0)), double(*vp), rtol=1e-14, atol=0)
    torch.testing.assert_close(Linear(32.0).time_of(dilated_ve_grid(8, 1024, 3.0)), double(*ve), rtol=1e-14, atol=0)


def test_dilated_trigonometric_schedules():
    """tau = 2 t sqrt(1 - kappa^2 / d), then sqrt(1 - (kappa (2 - 2t))^2 / d); for VP that of the linear path."""
    t = torch.linspace(0, 1, 12, dtype=torch.float64)
    expected = torch.where(t < 0.5, 2 * t * (1 - 9 / 1024) ** 0.5, (1 - 9 * (2 - 2 * t) ** 2 / 1024).abs().sqrt())
    tau = Trigonometric(32.0).time_of(dilated_ve_grid(11, 1024, family=Trigonometric))
    torch.testing.assert_close(tau, expected, rtol=1e-14, atol=0)
    tau = Trigonometric(1.0).time_of(dilated_vp_grid(11, 1024, family=Trigonometric))
    torch.testing.assert_close(tau, Linear(1.0).time_of(dilated_vp_grid(11, 1024)), rtol=1e-14, atol=0)


@pytest.mark.parametrize("d", [1, 64, 1e10])
def test_merged_grid_is_uniform_in_the_mean_of_both_taus(d):
    grid = merged_grid(101, d)
    mean = 0.5 * (Linear(1.0).time_of(grid) + Linear(d**0.5).time_of(grid))
    torch.testing.assert_close(mean, torch.linspace(0, 1, 102, dtype=torch.float64), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("sigma_max", [math.inf, 20.0, 0.01])
def test_mmse_grid_of_gaussian_data(sigma_max):
    """mmse = s^2 sigma^2 / (s^2 + sigma^2) inverts to sigma^2 = s^2 m / (s^2 - m)."""
    s = 0.7
    grid = mmse_grid(lambda sigma: s * s / (1 + (s / sigma).square()), 50, sigma_max)
    total = s * s / (1 + (s / sigma_max) ** 2)
    m = total * torch.linspace(1, 0, 51, dtype=torch.float64)[1:]
    torch.testing.assert_close(grid[1:], s * (m / (s * s - m)).sqrt(), rtol=1e-12, atol=0)
    assert grid[0] == sigma_max


@pytest.mark.parametrize("sigma_max", [math.inf, 20.0, 0.01])
@pytest.mark.parametrize("order", [1, 2, 5])
def test_length_grid_of_gaussian_data(order, sigma_max):
    """dmmse/ds = 2 s^2 v (1 - v), v = sigma^2 / (s^2 + sigma^2): its power q has the integral Beta(q, q) in v.

    For order 1 that is arctan(sigma / s).
    """
    s, q = 0.7, 1 / (order + 1)
    top = 1 / (1 + (s / sigma_max) ** 2)
    for n in (2, 50, 3000):
        grid = length_grid(lambda sigma: s * s / (1 + (s / sigma).square()), n, sigma_max, order)
        assert (grid[0], grid[-1]) == (sigma_max, 0)
        share = np.arange(n - 1, 0, -1) / n
        v = torch.from_numpy(special.betaincinv(q, q, share * special.betainc(q, q, top)))
        # The upper half by symmetry: v there is too near 1.
        rest = torch.from_numpy(special.betaincinv(q, q, 1 - share * special.betainc(q, q, top)))
        torch.testing.assert_close(grid[1:-1], s * (v / rest).sqrt(), rtol=1e-4, atol=0)
        if order == 1:
            angle = math.atan(sigma_max / s) * torch.from_numpy(share)
            torch.testing.assert_close(grid[1:-1], s * angle.tan(), rtol=3e-6, atol=0)


@pytest.mark.parametrize(
    "grid",
    [
        uniform_grid(9, Linear(1.0)),
        uniform_grid(9, Trigonometric(8.0)),
        dilated_vp_grid(9, 64),
        dilated_ve_grid(9, 64),
        merged_grid(9, 64),
        mmse_grid(lambda sigma: 1 / (1 + sigma.square().reciprocal()), 9),
        length_grid(lambda sigma: 1 / (1 + sigma.square().reciprocal()), 9, order=2),
    ],
)
def test_grids_fall_from_pure_noise_to_none(grid):
    assert grid.dtype == torch.float64
    assert grid.shape == (10,)
    assert grid[0] == math.inf
    assert grid[-1] == 0
    assert (grid[1:] < grid[:-1]).all()


def test_edm_and_log_uniform_grids():
    ramp = torch.linspace(0, 1, 18, dtype=torch.float64)
    edm = (80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    torch.testing.assert_close(inx.edm_grid(18), torch.cat((edm, double(0.0))).float(), rtol=1e-6, atol=0)
    ratios = inx.log_uniform_grid(18, 0.01, 50.0)[:-1].double().log().diff()
    torch.testing.assert_close(ratios, torch.full_like(ratios, math.log(0.01 / 50) / 17), rtol=1e-5, atol=0)
    for grid in (inx.edm_grid, inx.log_uniform_grid):
        assert grid(1, 0.01, 50.0).tolist() == [50, 0]
        assert grid(5).dtype == torch.float32
    wide = inx.edm_grid(18, rho=1e6)
    torch.testing.assert_close(wide, inx.log_uniform_grid(18), rtol=2e-4, atol=0)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: Linear(0.0), "c must be"),
        (lambda: Trigonometric(math.inf), "c must be"),
        (lambda: uniform_grid(0, Linear(1.0)), "n is 0"),
        (lambda: dilated_vp_grid(4, 9.0, 3.0), "kappa must be below sqrt"),
        (lambda: dilated_ve_grid(4, -1.0), "d must be"),
        (lambda: merged_grid(4, math.nan), "d must be"),
        (lambda: mmse_grid(lambda s: s * s, 4), "mmse must be a finite"),
        (lambda: mmse_grid(lambda s: s, 4, -1.0), "sigma_max must be"),
        (lambda: mmse_grid(lambda s: 0.3 + 1 / (1 + s**-2), 8), "mmse must rise continuously"),
        (lambda: mmse_grid(lambda s: torch.where(s.isinf(), 9.0, 1 / (1 + s**-2)), 8), "mmse must rise continuously"),
        (lambda: length_grid(lambda s: 1 / (1 + s**-2), 0), "n is 0"),
        (lambda: length_grid(lambda s: 1 / (1 + s**-2), 4, order=0), "order is 0"),
        (lambda: length_grid(lambda s: 1 / (1 + s**-2), 4, 0.0), "sigma_max must be"),
        (lambda: length_grid(lambda s: s, 4), "mmse must be a finite"),
        (lambda: length_grid(lambda s: 1e-3 + 1 / (1 + s**-2), 8), "mmse must rise continuously"),
        (lambda: inx.edm_grid(0), "n is 0"),
        (lambda: inx.edm_grid(4, 2.0, 1.0), "sigma_min"),
        (lambda: inx.edm_grid(4, rho=0.0), "rho is 0"),
        (lambda: inx.log_uniform_grid(4, 0.0, 1.0), "sigma_min"),
    ],
)
def test_bad_arguments_are_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()
