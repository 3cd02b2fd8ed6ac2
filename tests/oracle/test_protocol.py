"""What every oracle owes: the I-MMSE identity, its limits, its shapes, and its use beside a schedule."""

import itertools
import math

import pytest
import torch
from support.oracle import EXTREMES, LINE, MIXTURE, PLANE, close, double, nodes, slope
from support.runs import fed

import infonoise_ext as inx
from infonoise_ext import oracle
from infonoise_ext.ops.schemas import CURVES

QUICK = {
    "gaussian": oracle.Gaussian(5, 0.7),
    "two points": oracle.TwoPoint(),
    "uneven points": oracle.TwoPoint(0.8),
    "two modes": oracle.TwoModes(64),
    "many dimensions": oracle.TwoModes(4096),
    "one dimension": oracle.TwoModes(1, 0.3, 0.4, 1.5),
    "mixture": oracle.GaussianMixture(*MIXTURE),
    "line": oracle.EmpiricalBayes(LINE),
    "spin": oracle.CurieWeiss(1),
}
PLANAR = {"plane": oracle.EmpiricalBayes(PLANE[:4]), "two spins": oracle.CurieWeiss(2)}
SAMPLED = {
    "data": oracle.EmpiricalBayes(torch.randn(40, 6, dtype=torch.float64)),
    "magnet": oracle.CurieWeiss(8),
}
EXACT = QUICK | PLANAR
ALL = EXACT | SAMPLED


def over(models):
    return pytest.mark.parametrize("model", models.values(), ids=models.keys())


@over(QUICK)
@pytest.mark.parametrize("ends", [(0.05, 0.3), (0.3, 1.0), (1.0, 4.0), (4.0, 100.0), (100.0, 1e4)])
def test_entropy_rises_by_the_integral_of_its_rate(model, ends):
    sigma, weight = nodes(*ends, 48)
    rise = model.entropy(ends[1]) - model.entropy(ends[0])
    close((weight * model.entropy_rate(sigma)).sum(), rise, rtol=1e-9, atol=1e-10)


@over(PLANAR)
def test_entropy_rises_by_the_integral_of_its_rate_in_the_plane(model):
    sigma, weight = nodes(0.8, 1.6, 8)
    rise = model.entropy(1.6) - model.entropy(0.8)
    close((weight * model.entropy_rate(sigma)).sum(), rise, rtol=0, atol=1e-8)


@over(SAMPLED)
def test_monte_carlo_entropy_rises_by_the_integral_of_its_rate(model):
    """The spread of the difference is at most the sum of all standard errors: 5 of it, false alarm 6e-7."""
    sigma, weight = nodes(0.5, 2.0, 8)
    mmse = model.mmse_estimate(sigma)
    ends = model.entropy_estimate(double(0.5, 2.0))
    error = (weight * mmse.standard_error / sigma**3).sum() + ends.standard_error.sum()
    rise = (weight * mmse.value / sigma**3).sum()
    assert abs(rise - ends.value.diff()) < 5 * error
    assert error < 0.04 * rise


@over(ALL)
def test_mmse_is_the_error_of_the_denoiser(model):
    """|x0 - denoise|^2 over fresh draws, 3 x 13 comparisons at 5.5 standard errors: false alarm 2e-6."""
    for scale in (0.6, 1.0, 3.0):
        sigma = scale * math.sqrt(model.total_variance / model.dim)
        n = max(300, 20_000 // model.dim)
        x0 = model.sample(n)
        y = x0 + sigma * torch.randn(n, model.dim, dtype=torch.float64)
        error = (x0 - model.denoise(y, sigma)).square().sum(1)
        mmse = model.mmse_estimate(sigma)
        spread = torch.hypot(error.std() / math.sqrt(n), mmse.standard_error)
        assert abs(error.mean() - mmse.value) < 5.5 * spread


@over(ALL)
def test_samples_have_the_total_variance(model):
    """Around the mean that pure noise leaves: 5.5 standard errors, 13 times: false alarm 5e-7."""
    x0 = model.sample(20_000 if model.dim < 1000 else 300, torch.Generator().manual_seed(int(torch.randint(99, ()))))
    mean = model.denoise(torch.zeros(1, model.dim), 1e9)
    square = (x0 - mean).square().sum(1)
    assert x0.dtype == torch.float64
    rounding = 1e-9 * model.total_variance
    assert abs(square.mean() - model.total_variance) < 5.5 * square.std() / math.sqrt(len(x0)) + rounding


@over(QUICK)
def test_from_one_end_to_the_other(model):
    """mmse and entropy ascend, below the linear estimator's error, up to the total variance; nothing is lost."""
    mmse, entropy = model.mmse(EXTREMES), model.entropy(EXTREMES)
    variance = model.total_variance
    linear = model.dim * inx.GaussianBound(math.sqrt(variance / model.dim))(EXTREMES)
    assert (mmse >= 0).all()
    assert (mmse <= linear * (1 + 1e-11)).all()
    assert (mmse.diff() >= -1e-13 * variance).all()
    assert entropy.isfinite().all()
    assert (entropy.diff() >= -1e-12 * model.dim).all()
    assert variance * (1 - 2 * variance / 1e8) <= float(mmse[-1]) <= variance * (1 + 1e-12)


@over(ALL)
def test_extremes_stay_finite(model):
    sigma = double(1e-3, 1e-2, 1e3, 1e4)
    x0 = model.sample(4)
    for factor in (0.0, 1.0, 50.0):
        y = x0 + factor * sigma.unsqueeze(1) * torch.randn(4, model.dim, dtype=torch.float64)
        denoised = model.denoise(y, sigma)
        assert denoised.isfinite().all()
        assert model.score(y, sigma).isfinite().all()
        assert (denoised[0] - y[0]).norm() <= 60 * 1e-3 * math.sqrt(model.dim) * max(1.0, factor)
    ends = sigma[::3]
    for estimate in (model.mmse_estimate(ends), model.entropy_estimate(ends)):
        assert estimate.value.isfinite().all()
        assert estimate.standard_error.isfinite().all()
    assert 0 <= model.mmse(1e-3) <= model.dim * 1e-6 * 1.2


@over(ALL)
def test_shapes_dtypes_and_errors(model):
    sigma = double([0.5, 2.0])
    mmse, entropy = model.mmse_estimate(sigma), model.entropy_estimate(sigma)
    for estimate in (mmse, entropy):
        for value in estimate:
            assert (value.shape, value.dtype) == ((1, 2), torch.float64)
        assert bool((estimate.standard_error == 0).all()) == (model in EXACT.values())
    close(mmse.value[0, 1], model.mmse(2.0), rtol=1e-12)
    assert model.mmse(sigma[:, :0]).shape == (1, 0)
    close(model.entropy_rate(0.5), mmse.value[0, 0] * 8, rtol=1e-12)
    y = torch.randn(3, 2, model.dim)
    denoised = model.denoise(y, sigma)
    assert (denoised.shape, denoised.dtype) == (y.shape, torch.float64)
    close(model.denoise(y[2, 0], 0.5), denoised[2, 0], rtol=1e-12, atol=1e-14)
    close(model.score(y, sigma)[1, 1], (denoised[1, 1] - y[1, 1].double()) / 4, rtol=1e-12)
    for bad in (0.0, -1.0, math.nan, math.inf, double(1.0, -2.0)):
        for method in (model.mmse, model.entropy, model.entropy_rate, lambda s: model.denoise(y[0], s)):
            with pytest.raises(ValueError, match=r"sigma is .*, but must be positive and finite"):
                method(bad)
    with pytest.raises(ValueError, match=rf"shape of y is .*, but must be \[..., {model.dim}\]"):
        model.denoise(torch.zeros(3, model.dim + 1), 1.0)
    with pytest.raises(ValueError, match=r"shape of sigma is \[3\], but must be one that broadcasts to \[3, 2\]"):
        model.denoise(y, torch.ones(3))


def test_generators_repeat_samples():
    for model in ALL.values():
        first, second = (model.sample(5, torch.Generator().manual_seed(7)) for _ in range(2))
        assert torch.equal(first, second)
        assert not torch.equal(first, model.sample(5, torch.Generator().manual_seed(8)))


def test_monte_carlo_repeats_itself_and_heeds_its_seed():
    data = torch.randn(20, 4)
    first, again, other = (oracle.EmpiricalBayes(data, samples=50, seed=seed) for seed in (1, 1, 2))
    assert first.mmse(1.0) == again.mmse(1.0) == first.mmse(double(0.1, 1.0))[1]
    assert first.mmse(1.0) != other.mmse(1.0)


@pytest.mark.parametrize("signal", CURVES)
@over({name: QUICK[name] for name in ("gaussian", "uneven points", "two modes", "line")})
def test_source_of_an_information_grid(model, signal):
    """Steps of equal information by the oracle's own entropy and mmse, else by quadrature of their densities.

    The highest bin sees mmse rise to its centre alone, which the square root of "length" makes worth 0.3 of a bin.
    """
    grid = inx.info_grid(model, 9, signal=signal, blend=0.0)
    levels = grid[:-1].double()
    if signal in ("entropy", "mmse"):
        steps = -getattr(model, signal)(levels).diff()
    else:
        density = {"rescaled": lambda s: model.mmse(s) / s, "length": lambda s: slope(model.mmse, s).sqrt()}[signal]
        rule = [nodes(float(low), float(high), 64) for high, low in itertools.pairwise(levels)]
        steps = torch.stack([(weight * density(sigma) / sigma).sum() for sigma, weight in rule])
    assert (float(levels[0]), float(grid[-1])) == (80.0, 0.0)
    assert (steps / steps.mean() - 1).abs().max() < (2e-3 if signal == "length" else 1e-3)


def test_profile_is_what_a_schedule_would_hold():
    model = oracle.TwoModes(64)
    profile, learned = model.profile(0.01, 50.0, 40), inx.InfoNoise(0.01, 50.0, bins=40).profile()
    assert torch.equal(profile.sigma, learned.sigma)
    assert torch.equal(profile.edges, learned.edges)
    close(profile.mmse, model.mmse(profile.sigma), rtol=1e-14)
    close(profile.cdf[-1], double(1.0)[0], rtol=1e-12)
    close(profile.density * profile.edges.log().diff(), profile.cdf.diff(), rtol=1e-5)
    assert set(profile.to_dict()) == set(learned.to_dict())
    with pytest.raises(ValueError, match="bins"):
        model.profile(bins=1)


def test_an_error_that_rounding_left_below_zero_is_zero():
    class Rounded(oracle.Gaussian):
        def _mmse(self, sigma):
            return type(super()._mmse(sigma))(torch.where(sigma < 1, -2e-15, 1.0).double(), torch.zeros_like(sigma))

    model = Rounded(5, 0.7)
    assert model.mmse(torch.tensor([0.1, 2.0])).tolist() == [0.0, 1.0]
    assert model.profile(0.01, 50.0, 8).mmse.min() == 0


def learned(model, sigma_min, sigma_max, factor=1.0, **options):
    """What one refresh makes of exact posterior errors of fresh draws, summed over d."""

    def error(sigma):
        x0 = model.sample(len(sigma))
        y = x0 + sigma.unsqueeze(1) * torch.randn(x0.shape, dtype=torch.float64)
        return factor * (x0 - model.denoise(y, sigma)).square().sum(1)

    ends = {"sigma_min": sigma_min, "sigma_max": sigma_max}
    return fed(error, 60_000, bins=24, min_count=100, **ends, **options).profile()


@pytest.mark.parametrize(
    ("model", "sigma_min", "sigma_max"),
    [(oracle.TwoModes(16), 0.02, 50.0), (oracle.Gaussian(8, 0.5), 0.02, 20.0), (oracle.CurieWeiss(8), 0.6, 20.0)],
    ids=["two modes", "gaussian", "magnet"],
)
def test_schedule_learns_the_oracle(model, sigma_min, sigma_max):
    """Every bin's mmse is that of the oracle, averaged over the bin: 5.5 standard errors, 72 bins: 3e-6."""
    profile = learned(model, sigma_min, sigma_max)
    bins = zip(profile.edges[:-1].tolist(), profile.edges[1:].tolist(), strict=True)
    rules = [nodes(low, high, 3) for low, high in bins]
    sigma = torch.stack([rule[0] for rule in rules])
    weight = torch.stack([rule[1] for rule in rules]) / sigma
    mmse, error = model.mmse_estimate(sigma)
    weight = weight / weight.sum(1, keepdim=True)
    truth, error = (weight * mmse).sum(1), (weight * error).sum(1)
    spread = torch.hypot(profile.standard_error, error)
    assert ((profile.mmse - truth).abs() < 5.5 * spread).all()
    assert (spread < 0.1 * truth).all()


def test_bound_caps_what_a_network_adds():
    """Errors of twice the mmse leave the rate of the oracle itself."""
    model = oracle.TwoModes(16)
    bounded, plain = (learned(model, 0.02, 50.0, 2.0, bound=bound) for bound in (model.mmse, None))
    truth = model.mmse(bounded.sigma) / bounded.sigma**2
    close(bounded.rate, truth, rtol=1e-12)
    assert (plain.rate > 1.5 * truth).all()
