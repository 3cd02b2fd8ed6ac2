"""Grids of measured information: against exact information, and their ends."""

import math

import pytest
import torch
from support.runs import fed, gaussian_mmse

import infonoise_ext as inx

SIGNALS = {  # cumulative information of Gaussian data of std 1 at sigma
    "entropy": lambda s: math.log(s) - 0.5 * math.log1p(s * s),
    "rescaled": lambda s: math.atan(s),
    "mmse": lambda s: s * s / (1 + s * s),
    "length": lambda s: math.sqrt(2) * math.atan(s),
}


@pytest.fixture(scope="module")
def schedule():
    return fed(lambda s: gaussian_mmse(s, 1.0), bins=512)


@pytest.mark.parametrize("signal", SIGNALS)
def test_pure_grid_has_equal_exact_information_per_step(schedule, signal):
    grid = inx.info_grid(schedule, 12, signal=signal, blend=0.0)
    cumulative = torch.tensor([SIGNALS[signal](s) for s in grid[:-1].double().tolist()])
    steps = -cumulative.diff()
    assert (steps / steps.mean() - 1).abs().max() < 0.03


def test_edm_grid_is_the_full_blend(schedule):
    grid = inx.info_grid(schedule.profile(), 18, blend=1.0)
    torch.testing.assert_close(grid, inx.grids.edm_grid(18), rtol=2e-3, atol=0)


@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_grid_descends_from_top_to_bottom_to_zero(schedule, n):
    grid = inx.info_grid(schedule, n)
    assert grid.shape == (n + 1,)
    assert grid.dtype == torch.float32
    assert grid[0] == 80
    assert grid[-1] == 0
    assert (grid.diff() < 0).all()
    if n > 1:
        assert abs(float(grid[-2]) / 0.002 - 1) < 1e-6


@pytest.mark.parametrize("signal", SIGNALS)
def test_grid_reaches_both_ends_where_the_end_bins_hold_nothing(signal):
    edges = torch.logspace(-2, 2, 41, dtype=torch.float64)
    sigma = (edges[1:] * edges[:-1]).sqrt()
    mmse = ((sigma - 0.1) / 10).clamp(0, 1)  # flat below 0.1 and above 10.1
    mmse[:2] = mmse[-2:] = 0
    nothing = torch.zeros_like(sigma)
    grid = inx.info_grid(inx.Profile.from_mmse(edges, sigma, mmse, nothing, nothing), 9, signal, blend=0.0)
    assert grid[[0, -2, -1]].tolist() == [*edges[[-1, 0]].float().tolist(), 0]
    assert (grid.diff() < 0).all()


@pytest.mark.parametrize("bad", [{"n": 0}, {"signal": "nats"}, {"blend": 1.5}])
def test_bad_grid_arguments_are_named(schedule, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        inx.info_grid(schedule, **({"n": 5} | bad))
