"""The sampler on two Gaussian modes in high dimension, where its errors are known: arXiv 2501.00988's model."""

import math

import pytest
import torch
from support import generator
from support.oracle import double

from experiments.highdim import laws, steps
from experiments.highdim.dilated import dilated_ve_grid, dilated_vp_grid, uniform_grid
from experiments.highdim.ladder import below, between, exponent
from experiments.highdim.mixture import Mixture
from experiments.highdim.schedules import SCHEDULES
from infonoise_ext import oracle
from infonoise_ext.grids import merged_grid
from infonoise_ext.interpolant import Linear, Trigonometric, sample_ode

PUBLISHED = {  # (d, grid, N): weight of the larger mode and variance ratio within a mode, Euler
    (1024, "uniform", 16): (0.9425590815818394, 0.8305883264118735),
    (1024, "dilated", 16): (0.8223544468571298, 0.7151674202248874),
    (1024, "uniform", 64): (0.8303691368414947, 0.9547451038680854),
    (1024, "dilated", 64): (0.8053465539677558, 0.9201311411283366),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_weights_and_variances_of_two_modes(case):
    """The published weights were read off a grid of quantiles, hence 4e-5; the variances are exact."""
    d, name, n = case
    grid = uniform_grid(n, Linear(1.0)) if name == "uniform" else dilated_vp_grid(n, d)
    weight, ratio = Mixture(d).sampled(grid)
    assert abs(weight - PUBLISHED[case][0]) < 4e-5
    assert math.isclose(ratio, PUBLISHED[case][1], rel_tol=1e-12)


def test_reduced_map_is_the_sampler_in_all_dimensions():
    """Full d = 16 samples with the oracle's posterior, against the two reduced coordinates."""
    d, p, s = 16, 0.8, 0.5
    noise = torch.randn(50, d, generator=generator(6), dtype=torch.float64)
    grid = merged_grid(20, d)
    along, ratio = Mixture(d).end_points(noise.mean(1) * d**0.5, grid, "heun")
    y = sample_ode(oracle.TwoModes(d, p, s).denoise, noise, grid, "heun", mean=2 * p - 1)
    torch.testing.assert_close(y.mean(1) * d**0.5, along, rtol=1e-10, atol=1e-10)
    across = (y - y.mean(1, keepdim=True)) / (noise - noise.mean(1, keepdim=True))
    torch.testing.assert_close(across, (s * ratio.sqrt()).expand_as(y), rtol=1e-9, atol=0)


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


@pytest.mark.parametrize(
    "grid",
    [
        uniform_grid(9, Linear(1.0)),
        uniform_grid(9, Trigonometric(8.0)),
        dilated_vp_grid(9, 64),
        dilated_ve_grid(9, 64),
        *(SCHEDULES[name].grid(Mixture(64))(9) for name in ("mmse grid", "length grid", "length grid, order 2")),
    ],
)
def test_grids_fall_from_pure_noise_to_none(grid):
    assert grid.shape == (10,)
    assert (grid[0], grid[-1]) == (math.inf, 0)
    assert (grid[1:] < grid[:-1]).all()


@pytest.mark.parametrize(
    ("r", "errors"), [(2, (0.143, 0.137, 0.135)), (1, (0.0666, 0.0643, 0.0638)), (0.5, (0.0304, 0.0295, 0.0293))]
)
def test_weight_error_of_vp_depends_on_sqrt_d_over_n_alone(r, errors):
    """Published at three d, to their last digit; their limit is nu' = nu + r tanh(h + r k nu), k = 0, 1, ..."""
    for d, expected in zip((1024, 16384, 262144), errors, strict=True):
        weight, _ = Mixture(d).sampled(uniform_grid(round(d**0.5 / r), Linear(1.0)))
        assert abs(weight - 0.8 - expected) < (6e-4 if r == 2 else 6e-5)
    low, high = -9.0, 9.0
    for _ in range(50):
        nu = z = 0.5 * (low + high)
        for k in range(200):
            nu += r * math.tanh(0.5 * math.log(4) + r * k * nu)
        low, high = (z, high) if nu < 0 else (low, z)
    assert abs(0.5 * math.erfc(low / 2**0.5) - weight) < 5e-4


@pytest.mark.parametrize(("r", "ratios"), [(2, (0.949, 0.944, 0.943)), (0.5, (0.572, 0.566, 0.564))])
def test_variance_error_of_ve_depends_on_sqrt_d_over_n_alone(r, ratios):
    """Published at three d, to their last digit; in the limit the nodes are r j, and DDIM's gain a product over j."""
    for d, expected in zip((1024, 16384, 262144), ratios, strict=True):
        _, ratio = Mixture(d).sampled(uniform_grid(round(d**0.5 / r), Linear(d**0.5)))
        assert abs(1 - ratio - expected) < 6e-4
    std = r * 100_000 * math.prod(1 - r * r * j / (0.25 + r * r * j * j) for j in range(1, 100_001))
    assert abs((std / 0.5) ** 2 - ratio) < 2e-3


def test_trigonometric_ve_needs_steps_in_proportion_to_d():
    """At tau = 1 its Euler factor is 1/2: the last step leaves noise of variance growing as d / N."""
    for d, published in ((64, 0.046), (256, 0.19), (1024, 0.83)):
        path = Trigonometric(d**0.5)
        y = sample_ode(Mixture(d).denoise, torch.ones(1, 2).double(), uniform_grid(2896, path), "euler", path, mean=0.0)
        assert abs(float(y[0, 1] / 0.5) ** 2 - 1 - published) < 0.006


def test_mmse_of_pure_noise_is_the_total_variance():
    assert Mixture(1024).mmse(double(math.inf)).item() == pytest.approx(1024 * (0.25 + 4 * 0.8 * 0.2), rel=1e-12)


def test_mmse_decrements_need_no_more_steps_in_higher_dimension():
    for d in (256, 16384):
        weight, _ = Mixture(d).sampled(SCHEDULES["mmse grid"].grid(Mixture(d))(28))
        assert abs(weight - 0.8) < 0.01


@pytest.mark.parametrize(("method", "path"), [("euler", None), ("heun", Linear(1.0))])
def test_experiment_stops_at_the_least_steps_of_its_ladder(method, path):
    """It asks two noises whether the weight is close enough; here the weight itself is found, by bisection."""
    model, rungs = Mixture(64), [10, 12, 14, 16, 20, 24, 28, 32, 38, 46, 54, 64]
    found = [model.sampled(uniform_grid(n, Linear(1.0)), method, path) for n in [8, *rungs]]
    for needed, wrong in zip(
        steps.steps_needed(SCHEDULES["VP uniform"], model, method),
        ([abs(weight - 0.8) > 0.01 for weight, _ in found], [abs(ratio - 1) > 0.05 for _, ratio in found]),
        strict=True,
    ):
        assert needed == rungs[max(i for i, bad in enumerate(wrong) if bad)]


def test_length_grid_needs_as_many_steps_in_any_dimension():
    """From d = 256 to 16384 at most a rung more, where the rescaled measure needs 2^3 times more for the weight."""
    for name, method in (("InfoGrid length", "euler"), ("length grid", "euler"), ("length grid, order 2", "heun")):
        few, many = (steps.steps_needed(SCHEDULES[name], Mixture(d), method) for d in (256, 16384))
        assert all(below(n) <= before for n, before in zip(many, few, strict=True)), (name, few, many)
    few, many = (steps.steps_needed(SCHEDULES["InfoGrid rescaled"], Mixture(d), "euler")[0] for d in (256, 16384))
    assert 6 < many / few < 10


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_exponent_and_its_range_from_rungs(power):
    """Steps of an exact power law, rounded up to the ladder: the range holds the power, and reaches 0.09 at most."""
    rungs = sorted(n for octave in range(2, 16) for n in (2**octave, *between(2**octave)))
    assert [below(n) for n in rungs[1:]] == rungs[:-1]
    dimensions = [64, 256, 1024, 4096, 16384, 65536]
    for scale in torch.rand(20).tolist():
        needed = [min(n for n in rungs if n >= 10 * (1 + scale) * (d / 64) ** power) for d in dimensions]
        slope, low, high = exponent(dimensions, needed)
        assert low - 1e-3 <= power <= high + 1e-3
        assert 0 < high - slope < 0.09
    assert exponent([64, 256, 1024], [4, None, 8]) is None


SHARES = {  # grid: shares of its nodes above sqrt(d) / 5 and below 5 s, at d = 256, 4096, 65536
    "VP uniform": [(0.238, 0.714), (0.072, 0.714), (0.019, 0.714)],
    "VE uniform": [(0.833, 0.135), (0.833, 0.038), (0.833, 0.010)],
    "VP dilated, kappa 3": [(0.531, 0.440), (0.513, 0.375), (0.504, 0.361)],
    "VE dilated, kappa 3": [(0.556, 0.360), (0.437, 0.401), (0.422, 0.413)],
    "VP + VE merged": [(0.536, 0.425), (0.453, 0.376), (0.426, 0.362)],
    "EDM, top 10 sqrt(d)": [(0.535, 0.441), (0.512, 0.346), (0.494, 0.274)],
    "log-uniform": [(0.346, 0.632), (0.309, 0.563), (0.278, 0.507)],
    "InfoGrid entropy": [(0.0026, 0.996), (0.0002, 0.996), (0.0, 0.996)],
    "InfoGrid rescaled": [(0.141, 0.833), (0.037, 0.863), (0.0093, 0.871)],
    "mmse grid": [(0.726, 0.270), (0.720, 0.270), (0.719, 0.270)],
}


@pytest.mark.parametrize("name", SHARES)
def test_shares_published(name):
    """To their last digit, and by the grid's own share of steps: 20000 nodes."""
    for d, published in zip((256, 4096, 65536), SHARES[name], strict=True):
        for share, expected in zip(laws.shares(name, d), published, strict=True):
            assert abs(share - expected) < 1.1e-3


@pytest.mark.parametrize(("d", "errors"), [(1024, (0.184, 0.0732, 0.0321)), (16384, (0.178, 0.0695, 0.0310))])
def test_collapse_of_the_rescaled_grid_published(d, errors):
    model = Mixture(d)
    grids = SCHEDULES["InfoGrid rescaled"].grid(model)
    for r, expected in zip((2, 1, 0.5), errors, strict=True):
        weight, _ = model.sampled(grids(round(d**0.5 / r)))
        assert abs(weight - 0.8 - expected) < 2e-3


def test_mismatch_published():
    """First order in the mean without it, second order with it; and EDM's top of 80."""
    for top, bare, centred in ((1.0, -0.125, 0.054), (30.0, -0.0055, 0.0001)):
        got = laws.mismatch(top)
        assert abs(got[0] - bare) < 6e-4
        assert abs(got[1] - centred) < 6e-4
    assert max(abs(a - b) for a, b in zip(laws.top_80(16384), (0.634, 0.904), strict=True)) < 1.1e-3
