"""The sampler on any grid: closed-form flows, and its loops written out."""

import math
from itertools import pairwise

import pytest
import torch
from support import generator

from experiments.highdim.dilated import dilated_ve_grid, uniform_grid
from infonoise_ext.grids import edm_grid, merged_grid
from infonoise_ext.interpolant import METHODS, Linear, Trigonometric, sample_ode

MEAN, STD = 1.5, 0.5
PATHS = [Linear(1.0), Linear(16.0), Trigonometric(1.0), Trigonometric(16.0)]
GRIDS = {
    "merged": merged_grid(13, 256),
    "VP uniform": uniform_grid(13, Linear(1.0)),
    "VE dilated": dilated_ve_grid(13, 256),
    "EDM": edm_grid(13, 0.01, 50.0),
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


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2), ("dpm++2m", 2)])
def test_orders_of_convergence(method, order):
    """y - MEAN scales with hypot(STD, sigma); halving the steps divides the error by 2^order, within a tenth of it."""
    noise, errors = normal(4, 1), []
    for n in (128, 256):
        grid = torch.logspace(1, -1, n + 1, dtype=torch.float64)
        y = sample_ode(gaussian, noise, grid, method, mean=MEAN)
        flowed = MEAN + 10 * noise * math.hypot(STD, 0.1) / math.hypot(STD, 10)
        errors.append(float((y - flowed).abs().max()))
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

    y = sample_ode(denoise, normal(2, 3, 4, 4).to(dtype), edm_grid(5), method)
    assert y.shape == (2, 3, 4, 4)
    assert y.dtype == dtype
    assert set(seen) == {((2, 3, 4, 4), dtype, (2,), dtype)}
    assert len(seen) == (9 if method == "heun" else 5)


@pytest.mark.parametrize(("method", "path"), [(m, None) for m in METHODS] + [("heun", PATHS[2])])
def test_loop_reads_no_tensor(method, path):
    """A meta tensor holds no values: reading one, which on a GPU is a wait, raises."""
    noise = torch.empty(3, 2, device="meta")
    y = sample_ode(lambda y, sigma: y * sigma.unsqueeze(1), noise, GRIDS["merged"], method, path)
    assert y.device.type == "meta"


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"method": "rk4"}, "method is 'rk4'"),
        ({"method": "dpm++2m", "interpolant": Linear(1.0)}, "interpolant is"),
        ({"grid": [1.0]}, r"shape of grid is \[1\], but must be"),
        ({"grid": [1.0, 2.0]}, ", but must be strictly descending"),
        ({"grid": [1.0, 1.0, 0.0]}, ", but must be strictly descending"),
        ({"grid": [1.0, -1.0]}, ", but must be strictly descending"),
        ({"grid": [math.nan, 0.0]}, ", but must be strictly descending"),
    ],
)
def test_bad_arguments_are_named(bad, named):
    with pytest.raises(ValueError, match=named.replace("+", r"\+")):
        sample_ode(**({"denoise": gaussian, "noise": normal(2, 2), "grid": [1.0, 0.0]} | bad))
