"""Grids that need no profile: against their definitions."""

import math

import pytest
import torch
from support.oracle import double

from infonoise_ext.grids import edm_grid, merged_grid
from infonoise_ext.interpolant import Linear


@pytest.mark.parametrize("d", [1, 64, 1e10])
def test_merged_grid_is_uniform_in_the_mean_of_both_taus(d):
    """It falls from pure noise to none."""
    grid = merged_grid(101, d)
    assert (grid.dtype, grid[0], grid[-1]) == (torch.float64, math.inf, 0)
    mean = 0.5 * (Linear(1.0).time_of(grid) + Linear(d**0.5).time_of(grid))
    torch.testing.assert_close(mean, torch.linspace(0, 1, 102, dtype=torch.float64), rtol=1e-14, atol=1e-15)


def test_edm_grid_is_uniform_in_a_power_of_sigma():
    ramp = torch.linspace(0, 1, 18, dtype=torch.float64)
    edm = (80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    torch.testing.assert_close(edm_grid(18), torch.cat((edm, double(0.0))).float(), rtol=1e-6, atol=0)


def test_edm_grid_of_infinite_rho_is_uniform_in_log_sigma():
    ratios = edm_grid(18, 0.01, 50.0, math.inf)[:-1].double().log().diff()
    torch.testing.assert_close(ratios, torch.full_like(ratios, math.log(0.01 / 50) / 17), rtol=1e-5, atol=0)
    torch.testing.assert_close(edm_grid(18, rho=1e6), edm_grid(18, rho=math.inf), rtol=2e-4, atol=0)


@pytest.mark.parametrize("rho", [7.0, math.inf])
def test_edm_grid_of_one_step_is_its_top(rho):
    assert edm_grid(1, 0.01, 50.0, rho).tolist() == [50, 0]
    assert edm_grid(5, rho=rho).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: merged_grid(0, 64), "n is 0, but must be an integer of at least 1"),
        (lambda: merged_grid(4, math.nan), "d is nan, but must be a finite number above 0"),
        (lambda: edm_grid(0), "n is 0, but must be an integer of at least 1"),
        (lambda: edm_grid(4.5), "n is 4.5, but"),
        (lambda: edm_grid(4, 2.0, 1.0), r"sigma_min is 2.0, but must be a finite number in \(0, 1\)"),
        (lambda: edm_grid(4, 0.0, 1.0), "sigma_min is 0.0, but"),
        (lambda: edm_grid(4, sigma_max=math.inf), "sigma_max is inf, but"),
        (lambda: edm_grid(4, rho=0.0), "rho is 0.0, but must be above 0"),
        (lambda: edm_grid(4, rho=math.nan), "rho is nan, but must be above 0"),
    ],
)
def test_bad_arguments_are_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()
