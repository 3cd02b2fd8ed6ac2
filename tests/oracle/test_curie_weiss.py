"""The magnet against a sum over all of its states, and published fields, entropies and errors."""

import itertools
import math

import pytest
import torch
from support.oracle import EXTREMES, close, double

from infonoise_ext import oracle


def states(model):
    """All 2^d states and log P, the field taken from the model."""
    x = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=model.dim)), dtype=torch.float64)
    total = x.sum(1)
    return x, (model.beta * total**2 / (2 * model.dim) + model.field * total).log_softmax(0)


def log_posterior(model, y, sigma):
    x, log_p = states(model)
    return (log_p - (y.unsqueeze(1) - x).square().sum(2) / (2 * sigma**2)).log_softmax(1)


PUBLISHED = [  # d, field, H(x0): beta 1.5, p 0.8
    (8, 0.11561041189710125, 3.0689441718351347),
    (64, 0.012883807303764054, 17.82560568250954),
    (256, 0.0031675124659376057, 66.77426786944636),
    (1024, 0.0007892518330147606, 262.97867323938505),
]


@pytest.mark.parametrize(("dim", "field", "entropy"), PUBLISHED)
def test_field_and_entropy_published(dim, field, entropy):
    model = oracle.CurieWeiss(dim)
    assert abs(model.field / field - 1) < 1e-11
    assert abs(model.total_entropy / entropy - 1) < 1e-12
    assert abs(model.magnetisation - 0.8585596366401103) < 1e-15


@pytest.mark.parametrize("beta", [0.3, 1.0, 1.0001, 3.0, 10.0])
def test_magnetisation_solves_its_equation(beta):
    m = oracle.CurieWeiss(4, beta=beta).magnetisation
    assert abs(m - math.tanh(beta * m)) < 1e-15
    assert (m > 0) == (beta > 1)


@pytest.mark.parametrize(
    ("dim", "beta", "p"), [(1, 1.5, 0.8), (3, 0.2, 0.5), (4, 1.5, 0.8), (8, 1.0, 0.01), (7, 9, 0.6)]
)
def test_prior_is_the_sum_over_states(dim, beta, p):
    model = oracle.CurieWeiss(dim, beta, p)
    x, log_p = states(model)
    total, prob = x.sum(1), log_p.exp()
    close(prob @ (0.5 + 0.5 * total.sign()), double(p)[0], rtol=1e-12)
    assert abs(float(-prob @ log_p) / model.total_entropy - 1) < 1e-12
    variance = dim - (prob @ x).square().sum()
    assert abs(float(variance) / model.total_variance - 1) < 1e-11


@pytest.mark.parametrize(
    ("dim", "beta", "p"), [(1, 1.5, 0.8), (2, 0.01, 0.5), (5, 1.5, 0.8), (8, 1.0, 0.1), (7, 8.0, 0.6)]
)
def test_posterior_is_the_sum_over_states(dim, beta, p):
    """For draws of the channel, and for y that no channel sends, from far away and against the interaction."""
    model = oracle.CurieWeiss(dim, beta, p)
    for sigma in (0.15, 0.7, 2.0, 50.0):
        likely = model.sample(30) + sigma * torch.randn(30, dim, dtype=torch.float64)
        y = torch.cat((likely, 5 * torch.randn(30, dim, dtype=torch.float64)))
        log_p = log_posterior(model, y, sigma)
        mean = log_p.exp() @ states(model)[0]
        at = torch.full((60,), sigma, dtype=torch.float64)
        close(model.denoise(y, sigma), mean, rtol=1e-11, atol=1e-12)
        close(model._posterior_variance(y, at), dim - mean.square().sum(1), rtol=1e-10, atol=1e-11)
        close(model._posterior_entropy(y, at), -(log_p.exp() * log_p).sum(1), rtol=1e-10, atol=1e-11)


def test_small_sigma_keeps_relative_accuracy():
    """One spin at y = 1, sigma = 0.1 is wrong with odds exp(-200 - 2 field): far below rounding of 1."""
    model = oracle.CurieWeiss(1)
    variance = model._posterior_variance(double([1.0]), double(0.1))
    close(variance, double(4 * math.exp(-200 - 2 * model.field)), rtol=1e-11)


@pytest.mark.parametrize("p", [0.5, 0.8])
def test_one_spin_is_the_two_point_oracle(p):
    magnet, points = oracle.CurieWeiss(1, p=p), oracle.TwoPoint(p)
    close(magnet.mmse(EXTREMES), points.mmse(EXTREMES), rtol=0, atol=2e-11)
    close(magnet.entropy(EXTREMES), points.entropy(EXTREMES), rtol=0, atol=2e-11)


def test_samples_follow_the_prior():
    """40000 draws of 3 spins: each state's frequency within 5.5 standard errors, 8 of them: 3e-7."""
    model = oracle.CurieWeiss(3)
    x, log_p = states(model)
    draws = model.sample(40_000)
    frequency = (draws.unsqueeze(1) == x).all(2).double().mean(0)
    prob = log_p.exp()
    assert ((frequency - prob).abs() < 5.5 * (prob * (1 - prob) / 40_000).sqrt()).all()


@pytest.mark.parametrize(
    ("dim", "table"),  # sigma, mmse / d and its standard error by another implementation's Monte Carlo
    [
        (64, [(0.854, 0.1429, 7e-4), (3.16, 0.3061, 1.9e-3), (11.7, 0.6468, 3.4e-3)]),
        (256, [(1.03, 0.1744, 6e-4), (8.87, 0.3694, 4.9e-3), (37.0, 0.6889, 4.3e-3)]),
    ],
)
def test_mmse_published(dim, table):
    """Six comparisons at 5 standard errors of the difference: false alarm 4e-6."""
    sigma, value, error = double(*table).T
    model = oracle.CurieWeiss(dim, samples=500, seed=int(torch.randint(99, ())))
    got = model.mmse_estimate(sigma)
    spread = torch.hypot(got.standard_error / dim, error)
    assert ((got.value / dim - value).abs() < 5 * spread).all()
    assert (spread < 0.05 * value).all()
    asymptotic = model.asymptotic_mmse(sigma) / dim
    assert ((asymptotic - value).abs() < 5 * error + 2 / dim).all()


@pytest.mark.parametrize("beta", [0.5, 1.5])
def test_asymptotic_mmse_has_the_limits_of_the_magnet(beta):
    """At large sigma the variance of independent spins and of the sign, at small sigma 0."""
    model = oracle.CurieWeiss(4096, beta=beta)
    limits = model.asymptotic_mmse(double(1e-3, 1e5)) / 4096
    close(limits, double(0.0, model.total_variance / 4096), rtol=2e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim is 0, but must be an integer of at least 1"),
        ({"dim": 2.5}, "dim is 2.5, but must be an integer"),
        ({"beta": 0.0}, "beta is 0.0, but must be"),
        ({"beta": 11.0}, r"beta is 11.0, but must be a finite number in \(0, 10\]"),
        ({"p": 1.0}, r"p is 1.0, but must be a finite number in \(0, 1\)"),
        ({"samples": 1}, "samples is 1, but must be an integer of at least 2"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        oracle.CurieWeiss(**({"dim": 3} | options))
