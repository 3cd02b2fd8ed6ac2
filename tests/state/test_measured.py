"""A warm-up from what is measured: of a frozen denoiser, of another schedule, of a file."""

import math

import numpy as np
import pytest
import torch
from support.oracle import cumulated, learnable_density
from support.runs import gaussian_losses, gaussian_mmse, trained_on, variation

import infonoise_ext as inx
from infonoise_ext.state.measured import mmse_at
from infonoise_ext.state.tensors import edges_and_centres

STD = 0.5
RANGES = {"the same": (0.002, 80.0, 64), "finer": (0.002, 80.0, 200), "narrower": (0.05, 5.0, 30)}


def exact_profile(low=0.002, high=80.0, bins=64):
    edges, sigma = edges_and_centres(inx.InfoNoiseConfig(sigma_min=low, sigma_max=high, bins=bins))
    nothing = torch.zeros_like(sigma)
    return inx.Profile.from_mmse(edges, sigma, gaussian_mmse(sigma, STD), nothing, nothing)


@pytest.mark.parametrize("measured", RANGES)
@pytest.mark.parametrize("weight", [None, inx.EDMWeight(STD)])
def test_the_first_draws_are_of_the_density_that_would_be_learned(measured, weight):
    """Against the formula's integral; 20,000 draws against their table (Kolmogorov, false alarm 1e-6)."""
    schedule = inx.InfoNoise(prior=exact_profile(*RANGES[measured]), weight=weight, floor=0.0, seed=1)
    fine = np.geomspace(0.002, 80.0, 20_001)
    w = 1.0 if weight is None else weight(torch.from_numpy(fine)).numpy()
    density, _ = learnable_density(fine, gaussian_mmse(fine, STD), STD**2, w)
    expected = np.interp(schedule.state.edges.log(), np.log(fine), cumulated(density, fine))
    np.testing.assert_allclose(schedule.state.cdf[0], expected, atol=4e-3)
    drawn = schedule.sample(20_000).double().sort().values
    gap = schedule.table().below(drawn) - (torch.arange(20_000) + 0.5) / 20_000
    assert float(gap.abs().max()) < math.sqrt(math.log(2 / 1e-6) / 2 / 20_000)


@pytest.mark.parametrize("measured", RANGES)
def test_gaussian_curves_are_interpolated_exactly_and_continued(measured):
    sigma = torch.logspace(-3, 3, 50, dtype=torch.float64)
    found = mmse_at(exact_profile(*RANGES[measured]), sigma)
    torch.testing.assert_close(found, gaussian_mmse(sigma, STD), rtol=1e-9, atol=0)


def test_a_schedule_and_its_file_start_another_where_it_stood(tmp_path):
    old = trained_on(gaussian_losses(STD), 40_000, 128, weight=inx.EDMWeight(STD))
    old.refresh()  # the table is that of the profile as it stands
    old.save(tmp_path / "run.pt")
    old.profile().save(tmp_path / "profile.pt")
    for prior in (old, old.profile(), tmp_path / "run.pt", str(tmp_path / "profile.pt")):
        new = inx.InfoNoise(prior=prior, weight=inx.EDMWeight(STD), seed=2)
        assert new.status == "warm-up"
        assert variation(new, old) < 0.01  # not 0: the variance is read off one bin, not off 64 losses
        new.reset()
        assert variation(new, old) < 0.01
    assert variation(inx.InfoNoise(weight=inx.EDMWeight(STD), prior=inx.LogUniform()), old) > 0.2


def test_a_profile_of_a_frozen_denoiser_starts_a_schedule():
    """Of 2 million numbers, so that the error at low noise is known to 0.1%: what is left there is a difference."""
    g = torch.Generator().manual_seed(1)
    data = STD * torch.randn(4096, 512, generator=g)
    exact_denoiser = lambda y, sigma: y * (STD**2 / (STD**2 + sigma.square())).unsqueeze(1)  # noqa: E731
    measured = inx.offline_profile(exact_denoiser, data, 32, generator=g)
    started, exact = inx.InfoNoise(prior=measured), inx.InfoNoise(prior=exact_profile())
    assert variation(started, exact) < 0.05
    assert variation(inx.InfoNoise(prior=inx.LogUniform()), exact) > 0.2


def test_the_bound_holds_for_a_start_too():
    free, bound = inx.InfoNoise(prior=exact_profile()), inx.GaussianBound(0.1)
    bounded, exact = (inx.InfoNoise(prior=exact_profile(), bound=b) for b in (bound, inx.GaussianBound(STD)))
    assert variation(free, exact) < 1e-9
    assert float(bounded.table().level(0.5)) < float(free.table().level(0.5)) / 3


@pytest.mark.parametrize(("weight", "middle"), [(None, 0.5), ("velocity", 0.5), (inx.EDMWeight(2.0), 2.0)])
def test_the_warm_up_is_edms_in_units_of_the_data(weight, middle):
    """Of EDM's data, of standard deviation 0.5, half of the draws lie below exp(-1.2)."""
    schedule = inx.InfoNoise(weight=weight, floor=0.0, bins=512, seed=1)
    assert float(schedule.table().level(0.5)) == pytest.approx(math.exp(-1.2) * middle / 0.5, rel=1e-3)
    assert (schedule.prior.mean, schedule.prior.std) == (pytest.approx(-1.2 + math.log(middle / 0.5)), 1.2)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (3, "prior is 3, but must be a density, a measured profile, a schedule, or the path"),
        (inx.LogNormal, "prior is <class .*, but must be"),
        (inx.InfoNoise(), "prior is InfoNoise.*, but must be of data that were measured: it has no mmse yet"),
    ],
)
def test_what_is_no_start_is_refused(prior, message):
    with pytest.raises(ValueError, match=message):
        inx.InfoNoise(prior=prior)


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.pt"):
        inx.InfoNoise(prior=tmp_path / "a.pt")
    with pytest.raises(FileNotFoundError):
        inx.InfoNoise(prior=str(tmp_path / "b.pt"))
