"""Mixtures and data sets against published values, autograd, and each other."""

import math

import pytest
import torch
from support.oracle import EXTREMES, LINE, MIXTURE, PLANE, assert_tweedie, close, double, normal_log_density

from infonoise_ext import oracle

MIXTURE_TABLE = [  # sigma, mmse, H
    (0.1, 0.00848545592633, -0.96759837630574),
    (0.5, 0.08208618013074, -0.05232201811095),
    (1.0, 0.45090743824965, 0.21204322202972),
    (2.0, 1.25757491426111, 0.49691967072090),
    (5.0, 1.84146548824481, 0.65690877728661),
]
LINE_TABLE = [
    (0.1, 0.00224897913525, 0.07342979208936),
    (0.3, 0.03639071085120, 0.43813518503438),
    (0.5, 0.16114618980889, 0.70599239112297),
    (1.0, 0.57146741805990, 1.15820035095002),
    (3.0, 1.28855242721162, 1.53209349694171),
]


def mixture_log_density(weights, means, stds, sigma):
    def log_density(y):
        parts = [
            math.log(w) + normal_log_density(y, m, s**2 + sigma**2)
            for w, m, s in zip(weights, means, stds, strict=True)
        ]
        return torch.stack(parts).logsumexp(0)

    return log_density


PLANE_TABLE = [(1.0, 0.7769000312778, 1.2465368807292)]


@pytest.mark.parametrize(
    ("model", "table"),
    [
        (oracle.GaussianMixture(*MIXTURE), MIXTURE_TABLE),
        (oracle.EmpiricalBayes(LINE), LINE_TABLE),
        (oracle.EmpiricalBayes(PLANE), PLANE_TABLE),
    ],
)
def test_published(model, table):
    sigma, mmse, entropy = double(*table).T
    close(model.mmse(sigma), mmse, rtol=0, atol=2e-13)
    close(model.entropy(sigma), entropy, rtol=0, atol=2e-13)


@pytest.mark.parametrize("sigma", [0.05, 1.0, 20.0])
def test_mixture_tweedie(sigma):
    weights, means, stds = [0.2, 0.5, 0.3], [-3.0, 0.0, 0.1], [0.01, 2.0, 0.3]
    model = oracle.GaussianMixture(double(*weights) * 7, means, stds)
    y = model.sample(30) + sigma * torch.randn(30, 1, dtype=torch.float64)
    assert_tweedie(model, y, sigma, mixture_log_density(weights, means, stds, sigma))


def test_mixture_of_one_is_a_gaussian():
    mixture, gaussian = oracle.GaussianMixture([2.0], [5.0], [0.3]), oracle.Gaussian(1, 0.3)
    close(mixture.mmse(EXTREMES), gaussian.mmse(EXTREMES), rtol=1e-12)
    close(mixture.entropy(EXTREMES), gaussian.entropy(EXTREMES), rtol=0, atol=1e-12)


def test_mixture_of_very_different_scales():
    """A needle in a hill: split or not, the components are the same distribution; and by a plain fine sum."""
    whole = oracle.GaussianMixture([0.5, 0.5], [0.0, 0.3], [2.0, 1e-4])
    split = oracle.GaussianMixture([0.2, 0.5, 0.3], [0.0, 0.3, 0.0], [2.0, 1e-4, 2.0])
    close(whole.mmse(EXTREMES), split.mmse(EXTREMES), rtol=1e-11)
    close(whole.entropy(EXTREMES), split.entropy(EXTREMES), rtol=0, atol=1e-12)
    sigma = 0.01
    y = torch.arange(-20, 20, 2e-4, dtype=torch.float64)
    log_density = mixture_log_density([0.5, 0.5], [0.0, 0.3], [2.0, 1e-4], sigma)(y.unsqueeze(1))
    total = double(4.0 + sigma**2, 1e-8 + sigma**2)
    joint = torch.stack(
        [math.log(0.5) + normal_log_density(y.unsqueeze(1), m, v) for m, v in zip((0, 0.3), total, strict=True)], 1
    )
    share, gain = joint.softmax(1), double(4.0, 1e-8) / total
    component = double(0.0, 0.3) + gain * (y.unsqueeze(1) - double(0.0, 0.3))
    second = (share * (gain * sigma**2 + component**2)).sum(1) - (share * component).sum(1) ** 2
    close(whole.mmse(sigma), (log_density.exp() * second).sum() * 2e-4, rtol=1e-9)


def test_two_points_are_the_two_point_oracle():
    data, model = oracle.EmpiricalBayes(double(-1.0, 1.0)), oracle.TwoPoint()
    close(data.mmse(EXTREMES), model.mmse(EXTREMES), rtol=0, atol=2e-11)
    close(data.entropy(EXTREMES), model.entropy(EXTREMES), rtol=0, atol=2e-11)
    y = torch.randn(50, 1, dtype=torch.float64)
    close(data.denoise(y, 0.7), model.denoise(y, 0.7), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_data_set_tweedie(dim):
    data = torch.randn(9, dim, dtype=torch.float64)
    model = oracle.EmpiricalBayes(data)
    for sigma in (0.3, 1.0, 5.0):
        y = torch.randn(20, dim, dtype=torch.float64)

        def log_density(y, s=sigma):
            return torch.stack([normal_log_density(y, point, s**2) for point in data]).logsumexp(0)

        assert_tweedie(model, y, sigma, log_density)


def test_monte_carlo_agrees_with_quadrature():
    """2 x 6 comparisons at 5.5 standard errors: false alarm below 5e-7."""
    exact = oracle.EmpiricalBayes(PLANE)
    lifted = oracle.EmpiricalBayes(
        torch.nn.functional.pad(PLANE, (0, 1)), samples=20_000, seed=int(torch.randint(99, ()))
    )
    assert not lifted.exact
    sigma = torch.logspace(-0.5, 1.0, 6, dtype=torch.float64)
    for estimate, value in (
        (lifted.mmse_estimate(sigma), exact.mmse(sigma)),
        (lifted.entropy_estimate(sigma), exact.entropy(sigma)),
    ):
        assert (estimate.standard_error > 0).all()
        assert ((estimate.value - value).abs() < 5.5 * estimate.standard_error).all()
        assert (estimate.standard_error < 0.02 * value).all()


def test_quadrature_gives_way_to_monte_carlo():
    assert oracle.EmpiricalBayes(torch.randn(1200)).exact
    assert not oracle.EmpiricalBayes(torch.randn(2000)).exact
    assert oracle.EmpiricalBayes(torch.randn(90, 2)).exact
    assert not oracle.EmpiricalBayes(torch.randn(300, 2)).exact


def test_a_doubled_point_counts_twice():
    model = oracle.EmpiricalBayes(double(-1.0, 3.0, 3.0))
    close(model.entropy(double(1e-3, 1e4)), double(2 / 3 * math.log(2), math.log(3)), rtol=1e-6)
    close(model.mmse(1e-3), double(0.0)[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], []), r"is \[\[0\], \[0\], \[0\]\], but must be \[K\] each"),
        (([1.0], [0.0, 1.0], [1.0]), r"is \[\[1\], \[2\], \[1\]\], but"),
        (([1.0, -1.0], [0.0, 1.0], [1.0, 1.0]), "weights is -1.0, but must be positive"),
        (([1.0], [math.inf], [1.0]), r"means is \[inf\], but must be finite"),
        (([1.0], [0.0], [0.0]), "stds is 0.0, but must be positive"),
    ],
)
def test_bad_mixtures_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        oracle.GaussianMixture(*arguments)


@pytest.mark.parametrize("data", [torch.zeros(0, 3), torch.ones(3, dtype=torch.int64), torch.tensor([1.0, math.nan])])
def test_bad_data_are_named(data):
    with pytest.raises(ValueError, match=r"data is .*, but must be a floating tensor of one finite point"):
        oracle.EmpiricalBayes(data)
