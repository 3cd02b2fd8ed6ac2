"""The sampler on any grid: closed-form flows, loops written out, and the exact two-mode mixture."""

import math
from itertools import pairwise

import pytest
import torch
from support import generator

import infonoise_ext as inx
from experiments.highdim import steps
from experiments.highdim.mixture import TwoModes
from infonoise_ext.interpolant import (
    METHODS,
    Linear,
    Trigonometric,
    dilated_ve_grid,
    dilated_vp_grid,
    merged_grid,
    mmse_grid,
    sample_ode,
    uniform_grid,
)

MEAN, STD = 1.5, 0.5
PATHS = [Linear(1.0), Linear(16.0), Trigonometric(1.0), Trigonometric(16.0)]
GRIDS = {
    "merged": merged_grid(13, 256),
    "VP uniform": uniform_grid(13, Linear(1.0)),
    "VE dilated": dilated_ve_grid(13, 256),
    "EDM": inx.edm_grid(13, 0.01, 50.0),
}


def gaussian(y, sigma):
    """E[x0 | y] for x0 ~ N(MEAN, STD^2)."""
    shrink = 1 / (1 + (sigma.unsqueeze(1) / STD) ** 2)
    return MEAN + torch.where(sigma.unsqueeze(1).isinf(), 0.0, shrink * (y - MEAN))


def bent(y, sigma):
    """A denoiser that is not affine in y."""
    return torch.tanh(y / (1 + sigma.unsqueeze(1))) + 0.3


def normal(*shape):
    return torch.randn(*shape, generator=generator(5), dtype=torch.float64)


def by_velocity(denoise, noise, grid, path, method, mean):
    """Euler and Heun in tau with x and its velocity written out, one step a line."""
    tau = path.time_of(grid.double())
    x = path.c * noise if grid[0].isinf() else tau[0] * (mean + grid[0].double() * noise)

    def velocity(x, i):
        denoised = torch.full_like(x, mean) if tau[i] == 0 else denoise(x / tau[i], grid[i].double().expand(len(x)))
        return path.velocity(x, denoised, grid[i].double())

    for i in range(len(grid) - 1):
        h, start = tau[i + 1] - tau[i], velocity(x, i)
        euler = x + h * start
        x = euler if method == "euler" or grid[i + 1] == 0 else x + h * (start + velocity(euler, i + 1)) / 2
    return x / tau[-1]


@pytest.mark.parametrize("method", ["euler", "heun"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", GRIDS)
def test_steps_in_tau_are_those_of_the_velocity(method, path, name):
    noise = normal(7, 3)
    y = sample_ode(bent, noise, GRIDS[name], method, path, mean=0.3)
    torch.testing.assert_close(y, by_velocity(bent, noise, GRIDS[name], path, method, 0.3), rtol=1e-9, atol=1e-9)


def ddim(denoise, noise, grid, mean):
    levels = grid[1:] if grid[0].isinf() else grid
    y = mean + levels[0] * noise
    for start, end in pairwise(levels):
        y = end / start * y + (1 - end / start) * denoise(y, start.expand(len(y)))
    return y


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("path", [None, Linear(0.1), Linear(1.0), Linear(256.0)])
def test_euler_in_any_linear_interpolant_is_ddim(name, path):
    """y' = (sigma' / sigma) y + (1 - sigma' / sigma) D whatever c: a linear schedule is nothing but its grid."""
    noise, grid = normal(7, 3), GRIDS[name].double()
    y = sample_ode(bent, noise, grid, "euler", path, mean=0.3)
    assert (y - ddim(bent, noise, grid, 0.3)).abs().max() < 1e-12


def test_trigonometric_euler_is_not_ddim():
    noise, grid = normal(7, 3), GRIDS["merged"]
    y = sample_ode(bent, noise, grid, "euler", Trigonometric(1.0), mean=0.3)
    assert (y - ddim(bent, noise, grid, 0.3)).abs().max() > 1e-3


def flowed(noise, first, last):
    """Exact flow of N(MEAN, STD^2): y - MEAN scales with sqrt(STD^2 + sigma^2)."""
    return MEAN + first * noise * ((STD**2 + last**2) / (STD**2 + first**2)) ** 0.5


@pytest.mark.parametrize(
    ("method", "path", "order"),
    [
        ("euler", None, 1),
        ("euler", Trigonometric(1.0), 1),
        ("heun", None, 2),
        ("heun", Linear(1.0), 2),
        ("heun", Trigonometric(2.0), 2),
        ("dpm++2m", None, 2),
    ],
)
def test_orders_of_convergence(method, path, order):
    """Halving the steps divides the error by 2^order, here within a tenth of the order."""
    noise, errors = normal(4, 1), []
    for n in (128, 256):
        grid = torch.logspace(1, -1, n + 1, dtype=torch.float64)
        y = sample_ode(gaussian, noise, grid, method, path, mean=MEAN)
        errors.append(float((y - flowed(noise, 10.0, 0.1)).abs().max()))
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.1


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2)])
def test_orders_from_pure_noise_to_data(method, order):
    """From tau = 0 to 1 the exact flow takes noise z to MEAN + STD z."""
    noise, errors = normal(4, 1), []
    for n in (256, 512):
        y = sample_ode(gaussian, noise, uniform_grid(n, Linear(1.0)), method, Linear(1.0))
        errors.append(float((y - MEAN - STD * noise).abs().max()))
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.1


@pytest.mark.parametrize("method", METHODS)
def test_first_step_from_pure_noise_ends_at_the_mean(method):
    """In sigma it is exact: sigma_1 z + E[x0]; the mean is asked of the denoiser unless given."""
    noise = normal(4, 2)
    torch.testing.assert_close(sample_ode(gaussian, noise, [math.inf, 0.0], method), torch.full_like(noise, MEAN))
    asked = sample_ode(gaussian, noise, GRIDS["merged"], method)
    given = sample_ode(gaussian, noise, GRIDS["merged"], method, mean=MEAN)
    started = sample_ode(gaussian, noise, GRIDS["merged"][1:], method, mean=torch.full((2,), MEAN))
    torch.testing.assert_close(asked, given, rtol=1e-13, atol=0)
    torch.testing.assert_close(started, given, rtol=1e-13, atol=0)


def test_a_given_state_is_continued():
    y, grid = normal(4, 2), GRIDS["EDM"]
    whole = sample_ode(bent, y / grid[0].double(), grid, "heun")
    half = sample_ode(bent, y / grid[0].double(), grid[:6], "heun")
    torch.testing.assert_close(sample_ode(bent, half / grid[5].double(), grid[5:], "heun"), whole)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes_shapes_and_what_the_denoiser_sees(method, dtype):
    seen = []

    def denoise(y, sigma):
        seen.append((y.shape, y.dtype, sigma.shape, sigma.dtype))
        return 0.5 * y

    y = sample_ode(denoise, normal(2, 3, 4, 4).to(dtype), inx.edm_grid(5), method)
    assert y.shape == (2, 3, 4, 4)
    assert y.dtype == dtype
    assert set(seen) == {((2, 3, 4, 4), dtype, (2,), dtype)}
    assert len(seen) == (9 if method == "heun" else 5)


@pytest.mark.parametrize(("method", "path"), [(m, None) for m in METHODS] + [("heun", PATHS[2])])
def test_loop_reads_no_tensor(method, path):
    """A meta tensor holds no values: reading one, which on a GPU is a wait, raises."""
    noise = torch.empty(3, 2, device="meta")
    assert (
        sample_ode(lambda y, sigma: y * sigma.unsqueeze(1), noise, GRIDS["merged"], method, path).device.type == "meta"
    )


PUBLISHED = {  # (d, grid, N): weight of the larger mode and variance ratio within a mode, Euler
    (64, "uniform", 16): (0.834256982059109, 0.8305883264118735),
    (64, "dilated", 16): (0.8250092047247188, 0.798655179268775),
    (64, "uniform", 64): (0.8079522478424233, 0.9547451038680854),
    (64, "dilated", 64): (0.8058969013184837, 0.9455251281443908),
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
    weight, ratio = TwoModes(d).sampled_weight(grid)
    assert abs(weight - PUBLISHED[case][0]) < 4e-5
    assert math.isclose(ratio, PUBLISHED[case][1], rel_tol=1e-12)


def test_reduced_map_is_the_sampler_in_all_dimensions():
    """Full d = 16 samples with the mixture's own posterior, against the two reduced coordinates."""
    d, p, s = 16, 0.8, 0.5
    modes = torch.ones(d, dtype=torch.float64) * torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    logs = torch.tensor([p, 1 - p], dtype=torch.float64).log()

    def denoise(y, sigma):
        variance = (s * s + sigma**2).unsqueeze(1)
        squares = (y.unsqueeze(1) - modes).square().sum(2)
        weights = (logs - 0.5 * squares / variance).softmax(1)
        return (s * s * y + sigma.unsqueeze(1) ** 2 * (weights @ modes)) / variance

    noise, grid = normal(50, d), merged_grid(20, d)
    along, ratio = TwoModes(d).end_points(noise.mean(1) * d**0.5, grid, "heun")
    y = sample_ode(denoise, noise, grid, "heun", mean=(2 * p - 1) * modes[0])
    torch.testing.assert_close(y.mean(1) * d**0.5, along, rtol=1e-10, atol=1e-10)
    across = (y - y.mean(1, keepdim=True)) / (noise - noise.mean(1, keepdim=True))
    torch.testing.assert_close(across, torch.full_like(y, s * ratio**0.5), rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("r", "errors"), [(2, (0.143, 0.137, 0.135)), (1, (0.0666, 0.0643, 0.0638)), (0.5, (0.0304, 0.0295, 0.0293))]
)
def test_weight_error_of_vp_depends_on_sqrt_d_over_n_alone(r, errors):
    """Published at three d, to their last digit; their limit is nu' = nu + r tanh(h + r k nu), k = 0, 1, ..."""
    for d, expected in zip((1024, 16384, 262144), errors, strict=True):
        weight, _ = TwoModes(d).sampled_weight(uniform_grid(round(d**0.5 / r), Linear(1.0)))
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
        _, ratio = TwoModes(d).sampled_weight(uniform_grid(round(d**0.5 / r), Linear(d**0.5)))
        assert abs(1 - ratio - expected) < 6e-4
    std = r * 100_000 * math.prod(1 - r * r * j / (0.25 + r * r * j * j) for j in range(1, 100_001))
    assert abs((std / 0.5) ** 2 - ratio) < 2e-3


def test_trigonometric_ve_needs_steps_in_proportion_to_d():
    """At tau = 1 its Euler factor is 1/2: the last step leaves noise of variance growing as d / N."""
    for d, published in ((64, 0.046), (256, 0.19), (1024, 0.83)):
        path = Trigonometric(d**0.5)
        y = sample_ode(
            TwoModes(d).denoise, torch.ones(1, 2).double(), uniform_grid(2896, path), "euler", path, mean=0.0
        )
        assert abs(float(y[0, 1] / 0.5) ** 2 - 1 - published) < 0.006


def test_exact_mmse_of_two_modes():
    sigma = torch.tensor([0.1, 1.0, 32.0, math.inf], dtype=torch.float64)
    expected = [9.846153846153848, 204.8, 590.0094228593499, 1024 * (0.25 + 4 * 0.8 * 0.2)]
    torch.testing.assert_close(
        TwoModes(1024).mmse(sigma), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0
    )


def test_mmse_decrements_need_no_more_steps_in_higher_dimension():
    for d in (256, 16384):
        weight, _ = TwoModes(d).sampled_weight(mmse_grid(TwoModes(d).mmse, 28))
        assert abs(weight - 0.8) < 0.01


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"method": "rk4"}, "method is 'rk4'"),
        ({"method": "dpm++2m", "interpolant": Linear(1.0)}, "interpolant is"),
        ({"grid": [1.0]}, "grid must have shape"),
        ({"grid": [1.0, 2.0]}, "grid must descend"),
        ({"grid": [1.0, 1.0, 0.0]}, "grid must descend"),
        ({"grid": [1.0, -1.0]}, "grid must descend"),
        ({"grid": [math.nan, 0.0]}, "grid must descend"),
    ],
)
def test_bad_arguments_are_named(bad, named):
    with pytest.raises(ValueError, match=named.replace("+", r"\+")):
        sample_ode(**({"denoise": gaussian, "noise": normal(2, 2), "grid": [1.0, 0.0]} | bad))


@pytest.mark.parametrize(("method", "path"), [("euler", None), ("heun", Linear(1.0))])
def test_experiment_stops_at_the_least_steps_of_its_ladder(method, path):
    """It asks two noises whether the weight is close enough; here the weight itself is found, by bisection."""
    model, rungs = TwoModes(64), [10, 12, 14, 16, 20, 24, 28, 32, 38, 46, 54, 64]
    found = [model.sampled_weight(uniform_grid(n, Linear(1.0)), method, path) for n in [8, *rungs]]
    for needed, wrong in zip(
        steps.steps_needed("VP uniform", model, method),
        ([abs(weight - 0.8) > 0.01 for weight, _ in found], [abs(ratio - 1) > 0.05 for _, ratio in found]),
        strict=True,
    ):
        assert needed == rungs[max(i for i, bad in enumerate(wrong) if bad)]
