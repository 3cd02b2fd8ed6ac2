"""The profile of an exact denoiser is the exact profile, and so is the grid, within what chance explains."""

import math

import pytest
import torch
from scipy import stats
from support.oracle import LINE, MIXTURE, exact_parts, upper_share

import infonoise_ext as inx
from infonoise_ext import oracle

MODELS = {
    "two modes": (oracle.TwoModes(64), 0.02, 100.0),
    "mixture": (oracle.GaussianMixture(*MIXTURE), 0.02, 50.0),
    "line": (oracle.EmpiricalBayes(LINE), 0.2, 50.0),
}
LEVELS, CHUNKS, SAMPLES = 12, 60, 300
FALSE_ALARM = 1e-6
"""Of each test."""


class Measured:
    """Independent profiles of an exact denoiser, their mean, and the covariance of that mean."""

    def __init__(self, model, low, high):
        options = {"sigma_min": low, "sigma_max": high, "error": "sum"}
        self.chunks = [
            inx.offline_profile(model.denoise, model.sample(SAMPLES), LEVELS, **options) for _ in range(CHUNKS)
        ]
        self.exact = model.profile(low, high, LEVELS)
        values = torch.stack([profile.mmse for profile in self.chunks])
        self.mmse, covariance = values.mean(0), values.T.cov() / CHUNKS
        self.deviation = covariance.diagonal().sqrt()
        self.correlation = covariance / self.deviation.outer(self.deviation)
        variances, vectors = torch.linalg.eigh(self.correlation)  # singular, to rounding
        self.root = vectors * variances.clamp(min=0).sqrt()

    def draw(self):
        """An mmse that other samples could have given."""
        return (self.mmse + self.deviation * (self.root @ torch.randn(LEVELS, dtype=torch.float64))).clamp(min=0)

    def nodes(self, mmse, signal, blend):
        """Logarithms of the nodes of a grid that depend on the mmse."""
        e = self.exact
        profile = inx.Profile.from_mmse(e.edges, e.sigma, mmse, e.standard_error, e.count)
        return inx.info_grid(profile, 9, signal, blend)[1:-2].double().log()


@pytest.fixture(scope="module", params=MODELS)
def measured(request):
    return Measured(*MODELS[request.param])


def test_mmse_is_the_exact_one(measured):
    z = (measured.mmse - measured.exact.mmse) / measured.deviation
    assert z.abs().max() < stats.t.isf(FALSE_ALARM / (2 * LEVELS), CHUNKS - 1)
    assert (measured.deviation < 0.06 * measured.exact.mmse).all()


def test_standard_errors_are_the_spread_of_profiles(measured):
    """CHUNKS - 1 times the ratio of variances has a chi-square distribution, at each of the levels."""
    reported = torch.stack([profile.standard_error for profile in measured.chunks]).square().mean(0)
    ratio = (CHUNKS - 1) * measured.deviation.square() * CHUNKS / reported
    tail = FALSE_ALARM / (2 * LEVELS)
    assert ratio.max() < stats.chi2.isf(tail, CHUNKS - 1)
    assert ratio.min() > stats.chi2.ppf(tail, CHUNKS - 1)


def test_one_noise_for_all_levels_tells_neighbours_apart(measured):
    """The variance of log mmse's step to the next level, against that of levels measured apart.

    Nothing is gained at one step alone, up to where the two modes begin to be confused.
    """
    relative = measured.deviation / measured.mmse
    apart = relative[1:].square() + relative[:-1].square()
    together = apart - 2 * relative[1:] * relative[:-1] * measured.correlation.diagonal(1)
    assert (together < 1.1 * apart).all()
    assert (together / apart).median() < 0.3


@pytest.mark.parametrize("signal", ["entropy", "rescaled", "mmse", "length"])
@pytest.mark.parametrize("blend", [0.0, 0.5])
def test_grid_is_the_exact_one(measured, signal, blend):
    """Every node, against the spread of a parametric bootstrap, of CHUNKS - 1 degrees of freedom."""
    draws = torch.stack([measured.nodes(measured.draw(), signal, blend) for _ in range(120)])
    off = measured.nodes(measured.mmse, signal, blend) - measured.nodes(measured.exact.mmse, signal, blend)
    spread = draws.std(0)
    assert (off.abs() < stats.t.isf(FALSE_ALARM / (2 * len(off)), CHUNKS - 1) * spread + 1e-6).all()
    assert (spread < 0.05).all()


def test_split_grid_keeps_its_share_of_nodes_for_the_modes_in_any_dimension():
    """As the exact parts' grid does; undivided, the rescaled grid gives the modes a share that falls as 1 / sqrt(d)."""
    split, undivided = {}, {}
    for dim in (64, 256, 1024):
        model, top = oracle.TwoModes(dim), 10 * math.sqrt(dim)
        data = model.sample(400)
        parts = inx.offline_profile(
            model.denoise, data, 48, features=inx.grids.principal_components(data), error="sum", sigma_max=top
        )
        measured = upper_share(inx.info_grid(parts, 200, blend=0.0), dim)
        split[dim] = upper_share(inx.info_grid(exact_parts(model, parts[0]), 200, blend=0.0), dim)
        assert measured == pytest.approx(split[dim], abs=0.025)
        undivided[dim] = upper_share(inx.info_grid(model.profile(sigma_max=top), 200, blend=0.0), dim)
    for dim in (4096, 65536):
        model = oracle.TwoModes(dim)
        parts = exact_parts(model, model.profile(sigma_max=10 * math.sqrt(dim)))
        split[dim] = upper_share(inx.info_grid(parts, 200, blend=0.0), dim)
    assert 0.49 < min(split.values()) < max(split.values()) < 0.55
    assert undivided[64] > 1.8 * undivided[256] > 3.24 * undivided[1024]
