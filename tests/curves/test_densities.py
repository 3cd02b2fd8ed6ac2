"""Fixed noise schedules against scipy.stats, quadrature, Monte Carlo and autograd Jacobians."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from infonoise_ext.channel import VP, Flow
from infonoise_ext.curves.densities import Density, LogitNormal, LogNormal, LogUniform, UniformTime
from infonoise_ext.curves.weights import EDMWeight, unit_weight

ALPHA = 1e-6  # false-alarm rate of every Kolmogorov-Smirnov test here

# Each density beside scipy's distribution of ln sigma.
CASES = [
    pytest.param(LogNormal(-1.2, 1.2), stats.norm(-1.2, 1.2), id="edm"),
    pytest.param(LogNormal(2.0, 0.3), stats.norm(2.0, 0.3), id="narrow"),
    pytest.param(LogitNormal(0.0, 1.0), stats.norm(0.0, 1.0), id="sd3"),
    pytest.param(LogitNormal(0.5, 0.8, 3.0), stats.norm(0.5 + math.log(3.0), 0.8), id="shifted"),
    pytest.param(LogUniform(0.002, 80.0), stats.uniform(math.log(0.002), math.log(4e4)), id="uniform"),
    pytest.param(UniformTime(), stats.logistic(), id="flow time"),
    pytest.param(UniformTime(3.0), stats.logistic(math.log(3.0)), id="shifted flow time"),
    pytest.param(UniformTime(0.5, "vp"), stats.hypsecant(math.log(0.5)), id="vp time"),
]
SHAPED = CASES[:4]


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize(("density", "oracle"), CASES)
def test_cdf_and_pdf_match_scipy(density: Density, oracle, generator) -> None:
    """Cdf and pdf per unit sigma against scipy's law of ln sigma, below and above the support."""
    sigma = torch.exp(16.0 * _uniform((7, 50), generator) - 9.0)
    log_sigma = sigma.log().numpy()
    cdf, pdf = density.below(sigma), density.density(sigma)
    assert cdf.dtype == pdf.dtype == torch.float64
    assert cdf.shape == pdf.shape == sigma.shape
    np.testing.assert_allclose(cdf.numpy(), oracle.cdf(log_sigma), rtol=1e-11, atol=1e-300)
    expected = oracle.pdf(log_sigma) / sigma.numpy()
    np.testing.assert_allclose(pdf.numpy(), expected, rtol=1e-11, atol=1e-300)


@pytest.mark.parametrize(("density", "oracle"), CASES)
def test_level_matches_scipy_to_float32_rounding(density: Density, oracle, generator) -> None:
    """Icdf against scipy's ppf, into both tails; float32 in and out of the arithmetic."""
    u = torch.cat([_uniform((200,), generator), torch.tensor([1e-12, 1e-6, 1.0 - 1e-12])])
    sigma = density.level(u)
    assert sigma.dtype == torch.float32
    np.testing.assert_allclose(sigma.numpy(), np.exp(oracle.ppf(u.numpy())), rtol=1.2e-7)


@pytest.mark.parametrize(("density", "oracle"), CASES)
def test_limits_of_the_axis(density: Density, oracle) -> None:
    """Nothing below 0 and everything below infinity; plain floats are taken; NaN stays NaN."""
    ends = torch.tensor([-1.0, 0.0, math.inf])
    assert density.below(ends).tolist() == [0.0, 0.0, 1.0]
    assert density.density(ends).tolist() == [0.0, 0.0, 0.0]
    assert bool(density.below(math.nan).isnan())
    assert float(density.below(0.7)) == pytest.approx(oracle.cdf(math.log(0.7)), rel=1e-12)


@pytest.mark.parametrize(("density", "oracle"), CASES)
def test_mass_is_that_between_the_edges(density: Density, oracle) -> None:
    """Every bin against scipy's differences, the sum against the mass inside the grid."""
    edges = torch.linspace(math.log(0.0005), math.log(300.0), 101, dtype=torch.float64).exp()
    mass = density.mass(edges)
    cdf = oracle.cdf(edges.log().numpy())
    np.testing.assert_allclose(mass.numpy(), np.diff(cdf), rtol=1e-9, atol=4e-16)
    assert mass.dtype == torch.float64
    assert float(mass.sum()) == pytest.approx(cdf[-1] - cdf[0], rel=1e-13)


@pytest.mark.parametrize("tail", [-1.0, 1.0])
@pytest.mark.parametrize(("density", "oracle"), SHAPED)
def test_mass_keeps_relative_accuracy_in_the_tails(density: Density, oracle, tail: float) -> None:
    """Bins 3 to 36 standard deviations out against quadrature of the normal density."""
    z = tail * torch.linspace(3.0, 36.0, 67, dtype=torch.float64)
    z = z.sort().values
    edges = torch.exp(oracle.mean() + oracle.std() * z)
    mass = density.mass(edges)
    z = (edges.log().numpy() - oracle.mean()) / oracle.std()
    for k in range(66):
        near = min(abs(z[k]), abs(z[k + 1]))

        def peaked(x, near=near):
            return math.exp(0.5 * (near * near - x * x))

        area, _ = integrate.quad(peaked, z[k], z[k + 1], epsabs=0.0, epsrel=1e-12)
        expected = area * math.exp(-0.5 * near * near) / math.sqrt(2.0 * math.pi)
        assert float(mass[k]) == pytest.approx(expected, rel=2e-10, abs=0.0)


@pytest.mark.parametrize("path", [Flow("noise"), Flow("data"), VP()], ids=["noise", "data", "vp"])
def test_uniform_time_is_uniform_on_the_channel(path) -> None:
    """Levels of evenly spaced u are evenly spaced in the channel's time, and in the shifted one after undoing it."""
    u = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    name = "vp" if isinstance(path, VP) else "flow"
    time = path.time_of(UniformTime(path=name).level(u).double())
    torch.testing.assert_close(time.sort().values, u, rtol=1e-6, atol=0)
    if name == "flow":
        shifted = Flow("noise").time_of(UniformTime(3.0).level(u).double())
        torch.testing.assert_close(shifted, 3 * u / (1 + 2 * u), rtol=1e-6, atol=0)


def test_improper_log_uniform_gives_log_widths(generator) -> None:
    """As a prior, the improper density weighs a bin by its width in ln sigma."""
    widths = 0.01 + _uniform((40,), generator)
    edges = torch.cat([torch.zeros(1, dtype=torch.float64), widths.cumsum(0)]).sub(9.0).exp()
    torch.testing.assert_close(LogUniform().mass(edges), widths, rtol=1e-12, atol=0.0)


def test_improper_log_uniform_says_what_it_needs() -> None:
    density = LogUniform()
    one = torch.ones(1)
    calls = [
        lambda: density.sample(4),
        lambda: density.below(one),
        lambda: density.level(one),
        lambda: density.density(one),
        lambda: density.advance(one, one),
        density.summary,
    ]
    for call in calls:
        with pytest.raises(ValueError, match="sigma_min is None, but must be given"):
            call()


@pytest.mark.parametrize("shift", [0.4, 1.0, 3.0])
def test_logit_normal_is_the_shifted_time_of_sd3(shift: float, generator) -> None:
    """Draws of t by the definition, as sigma, against the closed form (KS)."""
    mean, std, n = -0.3, 0.9, 200_000
    z = mean + std * torch.randn(n, dtype=torch.float64, generator=generator)
    t0 = torch.sigmoid(z)
    t = shift * t0 / (1.0 + (shift - 1.0) * t0)
    u = LogitNormal(mean, std, shift).below(t / (1.0 - t))
    assert stats.kstest(u.numpy(), "uniform").pvalue > ALPHA
    other = LogitNormal(mean, std, 1.05 * shift).below(t / (1.0 - t))
    assert stats.kstest(other.numpy(), "uniform").pvalue < ALPHA


def test_logit_normal_density_in_time(generator) -> None:
    """The pdf carried to flow time by an autograd Jacobian is the logit-normal pdf of t."""
    mean, std = 0.4, 1.1
    t = (0.01 + 0.98 * _uniform((100,), generator)).requires_grad_()
    sigma = Flow("noise").sigma(t)
    (slope,) = torch.autograd.grad(sigma.sum(), t)
    density = LogitNormal(mean, std).density(sigma.detach()) * slope
    x = t.detach().numpy()
    logit = np.log(x) - np.log1p(-x)
    expected = stats.norm.pdf(logit, mean, std) / (x * (1.0 - x))  # SD3, Eq. 19
    np.testing.assert_allclose(density.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(("density", "oracle"), CASES)
def test_sample_follows_the_law(density: Density, oracle, generator) -> None:
    """100,000 draws against scipy's law of ln sigma (KS)."""
    sigma = density.sample(100_000, generator=generator)
    assert sigma.dtype == torch.float32
    assert stats.kstest(sigma.double().log().numpy(), oracle.cdf).pvalue > ALPHA


@pytest.mark.parametrize(("density", "oracle"), CASES)
def test_sample_obeys_the_seed(density: Density, oracle) -> None:
    """The global seed rules the draws, a generator leaves it alone; an empty draw is allowed."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first = density.sample(64)
        second = density.advance(first, torch.full_like(first, math.nan))
        torch.manual_seed(5)
        assert torch.equal(density.sample(64, group=torch.zeros(64)), first)
        assert torch.equal(density.sample(64), second)
        state = torch.get_rng_state()
        own = density.sample(64, generator=torch.Generator().manual_seed(5))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(own, first)
    assert not torch.equal(first, second)
    assert density.sample(0).shape == (0,)


def test_sample_stays_finite_at_the_end_of_the_generator(monkeypatch) -> None:
    """u = 0, which torch.rand can return, still gives a positive sigma."""
    monkeypatch.setattr(torch, "rand", torch.zeros)
    sigma = LogNormal(-1.2, 1.2).sample(3)
    expected = math.exp(-1.2 + 1.2 * stats.norm.ppf(2.0**-54))
    np.testing.assert_allclose(sigma.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(("density", "oracle"), CASES)
def test_sample_and_advance_trace_whole(density: Density, oracle) -> None:
    """Both compile without a graph break and draw what eager draws from the same seed."""
    torch._dynamo.reset()

    @torch.compile(fullgraph=True, backend="eager")
    def step(sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return density.sample(32), density.advance(sigma, sigma.square())

    with torch.random.fork_rng():
        torch.manual_seed(3)
        expected = density.sample(32), density.sample(8)
        torch.manual_seed(3)
        got = step(torch.ones(8))
    torch.testing.assert_close(got, expected, rtol=0.0, atol=0.0)


@pytest.mark.parametrize(("density", "oracle"), CASES)
def test_scheduler_protocol(density: Density, oracle) -> None:
    """A loop written for the adaptive schedule runs and leaves the density as it was."""
    before, text = density.state_dict(), repr(density)
    error = torch.tensor([1.0, math.nan, math.inf])
    assert density.to("cpu") is density
    for _ in range(3):
        sigma = density.sample(3)
        density.observe(sigma, error, mask=error > 0.0, group=torch.zeros(3, dtype=torch.long))
        density.step()
        assert density.advance(sigma, error, next_group=torch.zeros(3)).shape == (3,)
    density.reset()
    assert (density.state_dict(), repr(density)) == (before, text)
    summary = density.summary()
    expected = dict(zip(("q05", "q50", "q95"), np.exp(oracle.ppf([0.05, 0.5, 0.95])), strict=True))
    assert summary == pytest.approx({f"sigma_{k}": v for k, v in expected.items()}, rel=1e-6)
    assert all(type(value) is float for value in summary.values())


def test_sample_goes_where_it_is_told() -> None:
    """The argument beats `to`, and `advance` follows sigma."""
    density = LogNormal(0.0, 1.0).to("meta")
    assert density.sample(2).device.type == "meta"
    assert density.sample(2, device="cpu").device.type == "cpu"
    assert density.advance(torch.ones(2), torch.ones(2)).device.type == "cpu"


@pytest.mark.parametrize(("density", "oracle"), CASES)
def test_repr_is_the_call(density: Density, oracle) -> None:
    names = {"LogNormal": LogNormal, "LogitNormal": LogitNormal, "LogUniform": LogUniform, "UniformTime": UniformTime}
    again = eval(repr(density), names)
    assert type(again) is type(density)
    assert again.state_dict() == density.state_dict()
    assert "EDMWeight(sigma_data=0.5)" in repr(LogUniform(weight=EDMWeight(0.5)))


def test_state_dict_round_trip_and_mismatch() -> None:
    state = LogitNormal(0.0, 1.0, 3.0).state_dict()
    assert state == {"version": 1, "density": "LogitNormal", "mean": 0.0, "std": 1.0, "shift": 3.0}
    LogitNormal(0.0, 1.0, 3.0).load_state_dict(state)
    refused = [
        (LogitNormal(0.0, 1.0), state),
        (LogNormal(0.0, 1.0), state),
        (LogitNormal(0.0, 1.0, 3.0), {**state, "version": 2}),
        (LogitNormal(0.0, 1.0, 3.0), {}),
    ]
    for density, other in refused:
        with pytest.raises(ValueError, match=r"state is .*, but must be \{'version': 1"):
            density.load_state_dict(other)


def test_weight_is_kept_and_defaults_to_one(generator) -> None:
    sigma = _uniform((5,), generator)
    weight = EDMWeight(0.5)
    assert LogNormal(0.0, 1.0, weight=weight).weight is weight
    assert LogUniform().weight is unit_weight
    assert LogitNormal(0.0, 1.0).weight(sigma).tolist() == [1.0] * 5


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: LogNormal(math.nan, 1.0), "mean"),
        (lambda: LogNormal(0.0, 0.0), "std"),
        (lambda: LogNormal(0.0, math.inf), "std"),
        (lambda: LogNormal("a", 1.0), "mean"),
        (lambda: LogitNormal(0.0, 1.0, -1.0), "shift"),
        (lambda: LogitNormal(0.0, -1.0), "std"),
        (lambda: LogUniform(0.1), "sigma_max"),
        (lambda: LogUniform(sigma_max=0.1), "sigma_min"),
        (lambda: LogUniform(0.0, 1.0), "sigma_min"),
        (lambda: LogUniform(2.0, 1.0), "sigma_max"),
        (lambda: LogNormal(0.0, 1.0, weight=1.0), "weight"),
        (lambda: LogNormal(0.0, 1.0).sample(-1), "shape is -1, but must be at least 0"),
        (lambda: LogNormal(0.0, 1.0).mass(torch.ones(3, 3)), "edges"),
        (lambda: LogNormal(0.0, 1.0).mass(torch.ones(1)), "edges"),
        (lambda: LogUniform().mass(torch.tensor([1.0, 3.0, 2.0])), "edges"),
        (lambda: LogUniform().mass(torch.tensor([0.0, 1.0])), "edges"),
        (lambda: LogUniform().mass(torch.tensor([1.0, math.nan, 2.0])), "edges"),
        (lambda: LogUniform().mass(torch.tensor([1.0, math.inf])), "edges"),
    ],
)
def test_bad_arguments_are_named(make, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make()
