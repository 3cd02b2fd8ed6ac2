"""What is learned, against exact results for data whose mmse is known in closed form."""

import math

import pytest
import torch
from scipy import optimize, stats
from support.runs import fed, gaussian_mmse

import infonoise_ext as inx
from infonoise_ext.ops.schemas import CURVES


@pytest.mark.parametrize("std", [0.5, 2.0])
@pytest.mark.parametrize("weight", [None, inx.EDMWeight(0.5)])
def test_learned_density_of_gaussian_data_is_the_exact_one(std, weight):
    """mmse = s^2 sigma^2 / (s^2 + sigma^2); pi = rate * gate / w, Eqs. 11, 13, 16, 17."""
    c = 0.3
    schedule = fed(lambda s: gaussian_mmse(s, std), bins=256, floor=0.0, pivot=c, weight=weight, signal="entropy")
    logs = torch.linspace(math.log(0.002), math.log(80), 100_001, dtype=torch.float64)
    sigma = logs.exp()
    w = 1 if weight is None else weight(sigma)
    density = std**2 / (std**2 + sigma**2) * sigma**3 / (sigma**3 + c**3) / w
    exact = torch.cumulative_trapezoid(density, logs)
    exact = torch.cat((torch.zeros(1, dtype=torch.float64), exact)) / exact[-1]
    assert (schedule.table().below(sigma) - exact).abs().max() < 2e-3


CUMULATIVE = {  # of Gaussian data of standard deviation s at x = sigma / s, but for a constant factor
    "entropy": lambda x: (x * x / (1 + x * x)).log() / 2,
    "rescaled": lambda x: x.atan(),
    "mmse": lambda x: x * x / (1 + x * x),
    "length": lambda x: x.atan(),  # the root of d mmse / ds = 2 s^2 x^2 / (1 + x^2)^2
}


@pytest.mark.parametrize("signal", CURVES)
@pytest.mark.parametrize("std", [0.5, 2.0])
def test_learned_table_of_gaussian_data_is_the_exact_one_of_every_curve(signal, std):
    schedule = fed(lambda s: gaussian_mmse(s, std), bins=256, floor=0.0, signal=signal)
    below = CUMULATIVE[signal](schedule.profile().edges / std)
    exact = (below - below[0]) / (below[-1] - below[0])
    assert (schedule.profile().cdf - exact).abs().max() < 3e-3


def test_learned_density_from_noisy_losses_is_close():
    schedule = fed(lambda s: gaussian_mmse(s, 0.5), noise=0.5, floor=0.0, pivot=0.2, signal="entropy")
    profile = schedule.profile()
    exact = 0.25 / (0.25 + profile.sigma**2) * profile.sigma**3 / (profile.sigma**3 + 0.008)
    exact = exact / (exact.sum() * schedule.config.width)
    # 64 bins of >= 2000 losses with cv 0.5: relative error 1.2% each; 6 sigma.
    assert ((profile.density / exact) - 1).abs().max() < 0.08
    assert (profile.mmse / gaussian_mmse(profile.sigma, 0.5) - 1).abs().max() < 0.1
    relative = profile.standard_error / profile.mmse
    assert ((relative > 0.005) & (relative < 0.03)).all()


@pytest.mark.parametrize("sigma_min", [0.002, 0.01])
def test_onset_solves_its_equation(sigma_min):
    """r = s^2 / (sigma (s^2 + sigma^2)) is monotone: c solves r(c) = p r(lowest centre)."""
    schedule = fed(lambda s: gaussian_mmse(s, 1.0), sigma_min=sigma_min, pivot=inx.Onset(0.01), bins=256)
    lowest = float(schedule.profile().sigma[0])

    def r(sigma):
        return 1 / (sigma * (1 + sigma**2))

    root = optimize.brentq(lambda c: r(c) - 0.01 * r(lowest), sigma_min, 80)
    assert abs(schedule.profile().pivot / root - 1) < 0.02


@pytest.mark.parametrize("floor", [0.0, 0.05, 0.3])
def test_onset_of_discrete_data_is_the_last_level_of_that_rate(floor):
    """+-1 codes and a network's error floor: r has two humps or more, and Eq. 18 asks for its last crossing."""
    truth = inx.BinaryBound()

    def r(sigma):
        return (truth(sigma) + floor * sigma**2 / (1 + sigma**2)) / sigma**3

    schedule = fed(lambda s: truth(s) + floor * s**2 / (1 + s**2), samples=40_000, bins=256, pivot=inx.Onset())
    profile = schedule.profile()
    rates = r(profile.sigma)
    least = 0.002 * float(rates.max())
    last = float(profile.sigma[rates >= least][-1])
    root = optimize.brentq(lambda c: float(r(torch.tensor(c, dtype=torch.float64))) - least, last, 80)
    assert abs(profile.pivot / root - 1) < 0.02


def test_power_law_ends_where_the_data_begins():
    """Gaussian data of std 1: log r has slope -1 up to sigma ~ 1, then bends to -3."""
    pivots = [fed(lambda s, k=k: gaussian_mmse(s, k), pivot=inx.PowerLaw()).profile().pivot for k in (0.1, 1.0, 4.0)]
    for std, pivot in zip((0.1, 1.0, 4.0), pivots, strict=True):
        assert 0.3 < pivot / std < 3


def test_power_law_falls_back_to_the_knee_on_discrete_data():
    """+-1 codes: mmse ~ exp(-1 / 2 sigma^2), no power law; the knee lies in the decision window."""
    pivot = fed(inx.BinaryBound(), samples=20_000, pivot=inx.PowerLaw()).profile().pivot
    assert 0.15 < pivot < 1.0


def test_power_law_without_an_end_is_no_gate():
    assert fed(lambda s: s.square(), pivot=inx.PowerLaw()).profile().pivot == 0


def test_information_of_binary_data_is_its_entropy():
    """I-MMSE: the integral of mmse / sigma^3 over all noise levels is ln 2 nats per +-1 coordinate."""
    schedule = fed(inx.BinaryBound(), samples=50_000, bins=512)
    tail = 1 / (2 * 80.0**2)
    assert abs(schedule.summary()["information"] + tail - math.log(2)) < 1e-3


@pytest.mark.parametrize("sampling", ["iid", "stratified"])
@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_samples_follow_the_table(sampling, backend):
    """Chi-square over bins (iid), Kolmogorov-Smirnov within them; false alarm 1e-6 each."""
    schedule = inx.InfoNoise(seed=17, sampling=sampling, backend=backend)
    n = 50_000
    sigma = schedule.sample(n)
    u = schedule.table().below(sigma)
    counts = torch.histc(u.float(), 64, 0, 1)
    if sampling == "iid":
        assert stats.chisquare(counts.numpy()).pvalue > 1e-6
    else:
        assert (counts - n / 64).abs().max() <= 2  # stratified: one sample in each n-th of the cdf
    position = (sigma.double().log() - math.log(0.002)) / schedule.config.width
    inside = position - position.floor()
    assert stats.kstest(inside.numpy(), "uniform").pvalue > 1e-6
    again = schedule.sample(n)
    assert stats.spearmanr(u, schedule.table().below(again)).pvalue > 1e-6
