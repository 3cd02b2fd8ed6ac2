"""The reduced magnet against its oracle, against samples of all spins, and against published samplers' errors."""

import math

import pytest
import torch
from support import generator

import infonoise_ext as inx
from experiments.highdim import magnet, steps
from experiments.highdim.ladder import below
from experiments.highdim.magnet import Magnet
from experiments.highdim.schedules import SCHEDULES
from infonoise_ext import oracle
from infonoise_ext.interpolant import sample_ode


def test_reduced_denoiser_is_the_oracles(monkeypatch):
    """With equal shares the row of quantiles is a row of spins."""
    d = len(magnet._Z)
    monkeypatch.setattr(magnet, "_SHARE", torch.full((d,), 1 / d, dtype=torch.float64))
    model, exact = Magnet(d), oracle.CurieWeiss(d)
    for sigma in (0.3, 1.0, 3.0, 15.0, 200.0):
        level = torch.full((4,), sigma, dtype=torch.float64)
        y = exact.sample(4) + sigma * torch.randn(4, d, dtype=torch.float64)
        torch.testing.assert_close(model.denoise(y, level), exact.denoise(y, sigma), rtol=0, atol=1e-4)


def test_prior_moments():
    """Against the oracle's variance, and published E|M| / d."""
    published = {
        2: 0.8619263951190727,
        3: 0.8449060540392473,
        8: 0.7888908786457065,
        64: 0.8448738917287609,
        1024: 0.8578573450926763,
    }
    for d, magnetisation in published.items():
        model = Magnet(d)
        assert math.isclose(model.magnetisation, magnetisation, rel_tol=1e-10)
        assert math.isclose(d * (1 - float(model.mean) ** 2), oracle.CurieWeiss(d).total_variance, rel_tol=1e-10)


@pytest.mark.parametrize("name", ["VP uniform", "VE uniform"])
def test_reduction_agrees_with_samples_of_all_spins(name):
    """d = 64. Projections are stratified: only noises near the border are left to chance, at 5 standard errors."""
    d, n, count = 64, 12, 900
    model, exact = Magnet(d), oracle.CurieWeiss(d)
    grid = SCHEDULES[name].grid(model)(n)
    z = torch.randn(count, d, dtype=torch.float64)
    strata = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)
    z += (strata * d**0.5 - z.sum(1)).unsqueeze(1) / d
    y = sample_ode(exact.denoise, z, grid, "euler", mean=float(model.mean))
    weight, square, sign = model.sampled(grid)
    up = (y.sum(1) > 0).double()
    share = up.view(-1, 60).mean(1)
    chance = (60 * share * (1 - share)).sum().sqrt() / count
    assert abs(up.mean() - weight) < 0.004 + 5 * chance
    assert abs(y.square().mean() - square) < 0.03
    assert abs(y.sign().mean(1).abs().mean() / model.magnetisation - sign) < 0.03


PUBLISHED = [  # grid, N, d: |weight - p|, |mean of the sign|'s error, 1 - mean square; samples of all spins
    ("VP uniform", 16, 4096, 0.1907, 0.0071, 0.0),
    ("VP uniform", 64, 1024, 0.0267, 0.0012, 0.0),
    ("VE uniform", 16, 256, 0.0068, 0.0957, 0.1768),
    ("VE uniform", 64, 4096, 0.0008, 0.0866, 0.1673),
    ("VP dilated, kappa 3", 16, 1024, 0.0183, 0.0232, 0.0003),
    ("VE dilated, kappa 3", 16, 4096, 0.0183, 0.0258, 0.0215),
    ("VP + VE merged", 16, 1024, 0.0155, 0.0207, 0.0005),
    ("EDM, top 10 sqrt(d)", 16, 1024, 0.0155, 0.0365, 0.0),
    ("InfoGrid entropy", 16, 256, 0.1907, 0.0214, 0.0),
    ("InfoGrid rescaled", 64, 4096, 0.0267, 0.0022, 0.0),
    ("mmse grid", 16, 1024, 0.0155, 0.0309, 0.0528),
]


@pytest.mark.parametrize(("name", "n", "d", "weight", "sign", "square"), PUBLISHED)
def test_errors_published(name, n, d, weight, sign, square):
    """The weights were resolved to 0.003."""
    model = Magnet(d)
    got_weight, got_square, got_sign = model.sampled(SCHEDULES[name].grid(model)(n))
    assert abs(abs(got_weight - 0.8) - weight) < 0.004
    assert abs(1 - got_square - square) < 0.004
    assert abs(abs(got_sign - 1) * model.magnetisation - sign) < 0.012


@pytest.mark.slow
def test_length_grid_needs_as_many_steps_in_any_dimension():
    """From d = 256 to 16384 at most a rung more, with Euler and with Heun."""
    for name, method in (("InfoGrid length", "euler"), ("length grid, order 2", "heun")):
        few, many = (steps.steps_needed(SCHEDULES[name], Magnet(d), method) for d in (256, 16384))
        assert all(below(n) <= before for n, before in zip(many, few, strict=True)), (name, few, many)


@pytest.mark.slow
def test_open_grid_of_a_measured_profile_takes_no_more_steps_than_merged():
    """64 bins of 256 losses of the exact denoiser, as a schedule's rings hold them. In nine draws N was 20 or 24."""
    d, g = 256, generator(0)
    exact, model = oracle.CurieWeiss(d), Magnet(d)
    ends = {"sigma_min": 0.002, "sigma_max": 10 * math.sqrt(d)}
    profile = inx.offline_profile(exact.denoise, exact.sample(256, g), 64, generator=g, progress=False, **ends)
    measured = steps.Schedule(lambda _: lambda n: inx.open_grid(profile, n))
    needed = [max(steps.steps_needed(s, model, "euler")) for s in (measured, SCHEDULES["VP + VE merged"])]
    assert needed[0] <= needed[1]
