"""Grids with open ends: against a closed form, and what a first step from pure noise needs."""

import math

import pytest
import scipy.stats
import torch
from scipy import special

import infonoise_ext as inx
from infonoise_ext import oracle
from infonoise_ext.interpolant import sample_ode


@pytest.mark.parametrize("order", [0, 0.5, 1, 2, 3])
@pytest.mark.parametrize("n", [1, 9, 35])
def test_on_a_gaussian_nodes_are_quantiles_of_a_beta(order, n):
    """(d mmse / ds)^q ds is, in x = sigma^2 / (sigma^2 + std^2), x^(q - 1) (1 - x)^(q - 1) dx but for a factor."""
    std, q = 0.1 + float(torch.rand(())), 1 / (order + 1)
    low, high = 1e-3 * std, 1e3 * std
    grid = inx.open_grid(oracle.Gaussian(3, std).profile(low, high, bins=4096), n, order)
    law = scipy.stats.beta(q, q)
    ends = [law.cdf(s**2 / (s**2 + std**2)) for s in (low, high)]
    x = torch.from_numpy(law.ppf([ends[1] - (ends[1] - ends[0]) * i / (n + 1) for i in range(1, n + 1)]))
    torch.testing.assert_close(grid[:-1].double(), std * (x / (1 - x)).sqrt(), rtol=3e-3, atol=0)
    assert grid.shape == (n + 1,)
    assert grid.dtype == torch.float32
    assert grid[-1] == 0


@pytest.mark.parametrize(("order", "rtol"), [(0, 1e-5), (0.5, 1e-5), (1, 3e-6), (2, 1e-4), (5, 1e-4)])
@pytest.mark.parametrize("n", [1, 49, 2999])
def test_of_a_callable_mmse_levels_are_those_of_all_noise(order, n, rtol):
    """As above, but from sigma = 0 to infinity; the upper half by symmetry, for x there is too near 1."""
    std, q = 0.7, 1 / (order + 1)
    grid = inx.open_grid(inx.GaussianBound(std), n, order)
    share = torch.arange(n, 0, -1, dtype=torch.float64).numpy() / (n + 1)
    x, rest = (torch.from_numpy(special.betaincinv(q, q, side)) for side in (share, 1 - share))
    torch.testing.assert_close(grid[:-1].double(), std * (x / rest).sqrt(), rtol=rtol, atol=0)
    assert (grid.dtype, grid.shape, float(grid[-1])) == (torch.float32, (n + 1,), 0)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_callable_mmse_gives_the_levels_of_its_profile(order):
    """On modes. A profile takes what is near the rounding of its mmse for flat: at order 2 that is 3% of the way."""
    model = oracle.TwoModes(64)
    grid = inx.open_grid(model.profile(1e-6, 1e7, bins=4096), 10, order)
    torch.testing.assert_close(inx.open_grid(model.mmse, 10, order), grid, rtol=4e-2 if order == 2 else 2e-3, atol=0)


@pytest.mark.parametrize("dim", [64, 16384])
def test_an_oracles_range_holds_its_modes(dim):
    """They stand sqrt(d) apart from the middle; beyond 80 where d is large. A range that is given holds as it is."""
    model = oracle.TwoModes(dim)
    profile = model.profile()
    assert float(model.mmse(profile.edges[-1])) >= 0.99 * model.total_variance
    assert (float(profile.edges[-1]) == pytest.approx(80)) == (dim == 64)
    assert float(model.profile(sigma_max=40.0).edges[-1]) == pytest.approx(40)
    grid = inx.open_grid(model, 10, order=0)
    torch.testing.assert_close(grid, inx.open_grid(model.mmse, 10, order=0), rtol=0.1, atol=0)
    assert inx.info_grid(model, 10)[0] == profile.edges[-1]


def test_order_0_has_equal_decrements_of_the_mmse():
    model = oracle.TwoModes(64)
    m = model.mmse(inx.open_grid(model.mmse, 10, order=0)[:-1].double())
    expected = model.total_variance * torch.arange(10, 0, -1, dtype=torch.float64) / 11
    torch.testing.assert_close(m, expected, rtol=1e-5, atol=0)


def test_several_sources_have_equal_shares():
    """Of two Gaussians far apart, half of the levels of order 0 are those of each; a profile is as good as its mmse."""
    small, large = inx.GaussianBound(1e-3), inx.GaussianBound(1e3)
    grid = inx.open_grid([small, large], 7, order=0)
    torch.testing.assert_close(grid[4:-1], inx.open_grid(small, 3, order=0)[:-1], rtol=1e-4, atol=0)
    torch.testing.assert_close(grid[:3], inx.open_grid(large, 3, order=0)[:-1], rtol=1e-4, atol=0)
    profile = oracle.Gaussian(1, 1e3).profile(1e-3, 1e9, bins=4096)
    torch.testing.assert_close(inx.open_grid([small, profile], 7, order=0), grid, rtol=3e-3, atol=0)


def test_length_grid_of_a_closed_range_is_order_1():
    profile = oracle.TwoModes(64).profile(1e-5, 1e6, bins=2048)
    closed = inx.info_grid(profile, 12, "length", blend=0.0)
    assert torch.equal(inx.open_grid(profile, 10, order=1)[:-1], closed[1:-2])


def test_range_of_the_profile_moves_levels_little():
    """They move in when it is cut, by the share of the length that is lost beyond it; a closed grid's move with it."""
    narrow, wide = (inx.open_grid(oracle.TwoPoint().profile(a, b, 1024), 9) for a, b in ((0.02, 80.0), (1e-3, 1e4)))
    assert float((narrow[:-1] / wide[:-1]).log().abs().max()) < 0.5
    assert float((inx.grids.edm_grid(9, 0.02, 80.0) / inx.grids.edm_grid(9, 1e-3, 1e4))[:-1].log().abs().max()) > 3


@pytest.mark.parametrize("n", [2, 5, 9])
def test_from_the_mean_it_errs_less_than_edm_at_few_steps(n):
    """Exact denoiser of a Gaussian around 3, whose flow is known: x = mean + std noise."""
    std, mean = 0.7, 3.0
    noise = torch.randn(200, 4, dtype=torch.float64)

    def denoise(y, sigma):
        return mean + std**2 / (std**2 + sigma.unsqueeze(1) ** 2) * (y - mean)

    profile = oracle.Gaussian(4, std).profile()
    errors = [
        float((sample_ode(denoise, noise, grid, "heun", mean=mean) - mean - std * noise).square().mean().sqrt())
        for grid in (inx.open_grid(profile, n), inx.grids.edm_grid(n))
    ]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize(
    ("bad", "words"),
    [({"n": 0}, "n is 0"), ({"order": -1}, "order is -1"), ({"order": math.inf}, "order is inf"),
     ({"order": math.nan}, "order is nan"), ({"source": []}, r"source is \[\], but must be one source or more"),
     ({"group": 1}, "group is 1, but must be 0 unless source is a file"),
     ({"source": lambda s: s * s}, r"mmse\(1e\+60\) is .*e\+119, but must be a finite number"),
     ({"source": lambda s: torch.where(s > 1e40, 9.0, 1 / (1 + s**-2))}, r"mmse\(1e\+60\) is 9.0, but"),
     ({"source": lambda s: 0 * s}, r"mmse\(1e\+60\) is 0.0, but"),
     ({"source": lambda s: 1e-3 + 1 / (1 + s**-2)}, "lowest sigma is 0.001, but must be near 0")],
)  # fmt: skip
def test_bad_arguments(bad, words):
    with pytest.raises(ValueError, match=words):
        inx.open_grid(**({"source": oracle.TwoPoint().profile(), "n": 5} | bad))
