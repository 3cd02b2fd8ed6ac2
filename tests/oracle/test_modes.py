"""Gaussian, two-point and two-mode oracles against published 30-digit values, closed forms and autograd."""

import math

import pytest
import torch
from support.oracle import EXTREMES, assert_tweedie, close, double, normal_log_density

from infonoise_ext import oracle


@pytest.mark.parametrize(("dim", "std"), [(1, 0.7), (3, 2.0), (784, 0.5)])
def test_gaussian_closed_forms(dim, std):
    """mmse and H written another way."""
    model = oracle.Gaussian(dim, std)
    inverse = 1 / (std**-2 + EXTREMES**-2)
    close(model.mmse(EXTREMES), dim * inverse, rtol=1e-12)
    entropy = 0.5 * dim * (1 + math.log(2 * math.pi) + inverse.log())
    close(model.entropy(EXTREMES), entropy, rtol=1e-12, atol=1e-12 * dim)
    y = torch.randn(6, dim, dtype=torch.float64)
    for sigma in (0.01, 1.0, 30.0):
        assert_tweedie(model, y, sigma, lambda y, s=sigma: normal_log_density(y, 0.0, std**2 + s**2))


TWO_POINT = [  # sigma, mmse, H: 30-digit arithmetic, p = 1/2
    (0.1, 2.3883834712711e-23, 2.3657139672988e-23),
    (0.15, 4.0898974382307e-11, 4.0075813206793e-11),
    (0.2, 8.928200428921414e-7, 8.63165960845327e-7),
    (0.3, 0.0013240784001142, 0.0012410567455958),
    (0.5, 0.06859740879073881, 0.06042698682307833),
    (0.7, 0.22509383742183, 0.18842112910104),
    (1.0, 0.4495995092066728, 0.3563163602131137),
    (1.5, 0.67885222721269, 0.51025240985433),
    (2.0, 0.7959457343664997, 0.5817256983752091),
    (5.0, 0.96150310101075, 0.67353700736510),
    (10.0, 0.9900983752158348, 0.6881720159344948),
]
TWO_POINT_80 = [  # the same for p = 0.8
    (0.3, 0.00104020666188, 0.00097702065888),
    (0.5, 0.05267049315829, 0.04679848319106),
    (1.0, 0.32634920807930, 0.26779938941847),
    (2.0, 0.54093615685316, 0.42670176933016),
    (5.0, 0.62359772430297, 0.48776643908911),
]


@pytest.mark.parametrize(("p", "table", "digits"), [(0.5, TWO_POINT, 2e-13), (0.8, TWO_POINT_80, 1e-11)])
def test_two_point_published(p, table, digits):
    sigma, mmse, entropy = double(*table).T
    close(oracle.TwoPoint(p).mmse(sigma), mmse, rtol=digits)
    close(oracle.TwoPoint(p).entropy(sigma), entropy, rtol=digits)


def test_two_point_series_at_large_sigma():
    """mmse = 1 - s + s^2 and H = log 2 - s / 2 + s^2 / 4 up to s^3, s = 1 / sigma^2."""
    s = torch.logspace(-8, -4, 9, dtype=torch.float64)
    model = oracle.TwoPoint()
    close(model.mmse(s.rsqrt()), 1 - s + s**2, rtol=0, atol=1e-11)
    close(model.entropy(s.rsqrt()), math.log(2) - s / 2 + s**2 / 4, rtol=0, atol=1e-11)


@pytest.mark.parametrize("p", [1e-9, 0.2, 0.5, 0.8, 1 - 1e-6])
def test_two_point_denoiser_and_symmetry(p):
    model, mirrored = oracle.TwoPoint(p), oracle.TwoPoint(1 - p)
    close(model.mmse(EXTREMES), mirrored.mmse(EXTREMES), rtol=1e-7)
    close(model.entropy(EXTREMES), mirrored.entropy(EXTREMES), rtol=1e-7)
    y = torch.randn(40, 1, dtype=torch.float64)
    close(model.denoise(y, 0.8), -mirrored.denoise(-y, 0.8), rtol=1e-9, atol=1e-9)
    for sigma in (0.3, 1.0, 10.0):

        def log_density(y, s=sigma):
            modes = [math.log(q) + normal_log_density(y, m, s**2) for q, m in ((p, 1.0), (1 - p, -1.0))]
            return torch.logaddexp(*modes)

        assert_tweedie(model, y, sigma, log_density)


@pytest.mark.parametrize("p", [0.5, 0.51, 0.2, 0.999])
def test_fixed_points_are_all_there_are(p):
    """Against sign changes on a grid far finer than any two of them are apart."""
    model = oracle.TwoPoint(p)
    y = torch.linspace(-1, 1, 100_002, dtype=torch.float64)
    for sigma in (0.3, 0.5, 0.9, 0.99, 1.01, 2.0):
        excess = model.denoise(y.unsqueeze(1), sigma).squeeze(1) - y
        found = y[:-1][excess.sign().diff() != 0]
        points = model.fixed_points(sigma)
        there = points[~points.isnan()]
        close(there, found, rtol=0, atol=3e-5)
        close(model.denoise(there.unsqueeze(1), sigma).squeeze(1), there, rtol=0, atol=1e-14 / sigma**2)


def test_pitchfork():
    """Below sigma = 1 the branches leave 0 as sqrt(3 (1 - sigma^2)) to leading order; above, 0 is alone."""
    branches = oracle.TwoPoint().fixed_points(double(0.001, 0.9999, 1.0, 1e4))
    close(branches[0], double(-1.0, 0.0, 1.0), rtol=0, atol=1e-15)
    close(branches[1, 2], (3 * (1 - double(0.9999)[0] ** 2)).sqrt(), rtol=1e-3)
    assert (branches[:, 1].abs() < 1e-15).all()
    assert branches[2:, [0, 2]].isnan().all()


GM_MMSE_ENTROPY = [  # d, sigma, mmse, H: std 0.5, p 0.8, m 1
    (4, 0.1, 0.03846217315239763, -3.612925548248954),
    (4, 1.0, 1.015076019421883, 2.5305064692072023),
    (4, 32.0, 3.5521092019036593, 3.4018314796090587),
    (64, 0.1, 0.6153846153846155, -57.80844264742487),
    (64, 1.0, 12.800000000042559, 39.310052927208865),
    (64, 32.0, 55.29862730703019, 46.923642470958384),
    (1024, 0.1, 9.846153846153848, -924.9350823587979),
    (1024, 1.0, 204.8, 628.9608468353255),
    (1024, 32.0, 590.0094228593499, 743.3531995849371),
]


@pytest.mark.parametrize(("dim", "sigma", "mmse", "entropy"), GM_MMSE_ENTROPY)
def test_two_modes_published(dim, sigma, mmse, entropy):
    model = oracle.TwoModes(dim)
    close(model.mmse(sigma), double(mmse)[0], rtol=1e-12)
    if dim > 4:
        close(model.entropy(sigma), double(entropy)[0], rtol=1e-12)


def test_two_modes_entropy_leaves_out_the_mode_that_x0_does_not_tell():
    """The published H is that of (x0, mode): at d = 4 more by H(mode | x0), here from 10^6 draws, 5 errors."""
    model = oracle.TwoModes(4)
    for _, sigma, _, entropy in GM_MMSE_ENTROPY[:3]:
        x0 = model.sample(1_000_000)
        log_odds = 2 * x0.sum(1) / 0.25 + math.log(4.0)
        untold = torch.special.entr(torch.stack((log_odds.sigmoid(), (-log_odds).sigmoid()))).sum(0)
        error = untold.std() / 1000
        assert error < 0.1 * untold.mean()
        assert abs(entropy - model.entropy(sigma) - untold.mean()) < 5 * error


@pytest.mark.parametrize(
    ("dim", "value"), [(64, 0.57366859832073), (1024, 0.57618107701108), (16384, 0.57633869756367)]
)
def test_two_modes_at_the_separation_published(dim, value):
    close(oracle.TwoModes(dim).mmse(math.sqrt(dim)) / dim, double(value)[0], rtol=1e-11)


@pytest.mark.parametrize("dim", [1, 5, 100])
def test_two_modes_tweedie(dim):
    model = oracle.TwoModes(dim, 0.3, 0.4, 1.5)
    for sigma in (0.1, 2.0, 40.0):
        y = model.sample(20) + sigma * torch.randn(20, dim, dtype=torch.float64)

        def log_density(y, s=sigma):
            modes = [math.log(q) + normal_log_density(y, m, 0.4**2 + s**2) for q, m in ((0.3, 1.5), (0.7, -1.5))]
            return torch.logaddexp(*modes)

        assert_tweedie(model, y, sigma, log_density)


def test_two_modes_on_the_line_are_a_mixture():
    """Two quadratures that share nothing."""
    modes = oracle.TwoModes(1, 0.3, 0.4, 1.5)
    mixture = oracle.GaussianMixture([0.3, 0.7], [1.5, -1.5], [0.4, 0.4])
    close(modes.mmse(EXTREMES), mixture.mmse(EXTREMES), rtol=1e-11)
    close(modes.entropy(EXTREMES), mixture.entropy(EXTREMES), rtol=0, atol=1e-12)
