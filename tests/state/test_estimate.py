"""The estimator's promises: few losses suffice, one of them moves nothing, and more of them refine."""

import math

import pytest
import torch
from support import generator
from support.runs import code_losses, fed, gaussian_losses, gaussian_mmse, trained_on, variation

import infonoise_ext as inx

QUANTILES = torch.tensor([0.25, 0.5, 0.75])
HUGE = [1e3, 1e6, 1e12, 1e38]


@pytest.mark.parametrize("losses", [gaussian_losses(), code_losses()], ids=["gaussian", "codes"])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_three_hundred_samples_give_quartiles_within_a_third_of_an_e_fold(losses, batch):
    """Of a run of 64 times as many; the worst of four streams."""
    weight = inx.EDMWeight(0.5)
    long = trained_on(losses, 20_000, 100, weight=weight).table().level(QUANTILES).log()
    for seed in range(4):
        short = trained_on(losses, 300, batch, seed=seed, weight=weight)
        assert short.status == "active"
        assert (short.table().level(QUANTILES).log() - long).abs().max() < 0.3


@pytest.mark.parametrize("huge", HUGE)
@pytest.mark.parametrize("losses", [gaussian_losses(), code_losses()], ids=["gaussian", "codes"])
def test_one_loss_moves_no_table(losses, huge):
    """Of 20,000 equal losses one, anywhere, times a factor: total variation at most .05, and it is counted."""
    options = {"weight": inx.EDMWeight(0.5), "prior": inx.LogUniform(0.002, 80.0)}
    sound = recorded_once(losses, None, 1.0, **options)
    for level in (0.01, 0.2, 0.6, 3.0, 30.0):
        spoiled = recorded_once(losses, level, huge, **options)
        assert variation(sound, spoiled) < 0.05
        assert spoiled.summary()["spikes"] >= max(1, sound.summary()["spikes"])


def recorded_once(losses, level, factor, **options):
    """A schedule refreshed once from 20,000 losses, of which that nearest to a level is multiplied."""
    schedule = inx.InfoNoise(seed=1, **options)
    sigma = schedule.sample(20_000)
    error = losses(sigma, generator(2)).float()
    if level is not None:
        at = int((sigma.log() - math.log(level)).abs().argmin())
        error[at] = min(float(error[at]) * factor, 3e38)
    schedule.observe(sigma, error)
    schedule.refresh()
    return schedule


@pytest.mark.parametrize("wrong", [math.inf, -math.inf, math.nan, -1.0])
def test_what_is_no_error_is_left_out(wrong):
    sound, spoiled = inx.InfoNoise(seed=1), inx.InfoNoise(seed=1)
    sigma = sound.sample(4096)
    spoiled.sample(4096)
    for schedule, error in ((sound, gaussian_mmse(sigma)), (spoiled, gaussian_mmse(sigma))):
        schedule.observe(sigma, error)
        if schedule is spoiled:
            schedule.observe(sigma[:1], torch.tensor([wrong]))
        schedule.refresh()
    assert variation(sound, spoiled) == 0


def test_an_estimate_is_the_mean_of_its_losses():
    """With full rings, no two bins share any; rising means, below a Gaussian's."""
    bins, mean = 8, torch.tensor([0.001, 0.002, 0.01, 0.02, 0.08, 0.2, 0.6, 1.0])
    schedule = inx.InfoNoise(0.1, 10.0, bins=bins, min_count=16, prior=inx.LogUniform(0.1, 10.0))
    centre = schedule.profile().sigma
    spread = torch.linspace(0.5, 1.5, 33)
    schedule.observe(centre.repeat_interleave(33).float(), (mean.unsqueeze(1) * spread).flatten())
    schedule.refresh()
    torch.testing.assert_close(schedule.profile().mmse.float(), mean, rtol=0.005, atol=0)


def test_a_thin_bin_takes_its_neighbours_losses_in_units_of_a_gaussian():
    """All bins hold 80 losses but one, which holds 2 that are far too large: it is the mean of all three bins."""

    def error(sigma):
        return 0.7 * gaussian_mmse(sigma, 1.0)

    schedule = inx.InfoNoise(0.05, 20.0, bins=24, min_count=64, prior=inx.LogUniform(0.05, 20.0))
    centre = schedule.profile().sigma.float()
    times = torch.full((24,), 80)
    times[10] = 2
    level = centre.repeat_interleave(times)
    schedule.observe(level, error(level) * torch.where(level == centre[10], 5.0, 1.0))
    schedule.refresh()
    gaussian = gaussian_mmse(centre, schedule.summary()["variance"] ** 0.5)
    ratio = error(centre) / gaussian  # what is recorded, per unit of a Gaussian's
    pooled = (80 * ratio[9] + 2 * 5 * ratio[10] + 80 * ratio[11]) / 162
    found = schedule.profile().mmse
    assert float(found[10]) == pytest.approx(float(torch.minimum(pooled * gaussian[10], error(centre[11]))), rel=0.01)
    assert float(found[9]) == pytest.approx(float(error(centre[9])), rel=0.01)


def test_no_bin_exceeds_those_above_it():
    for factor in (1.0, 3.0):
        mmse = fed(lambda sigma: factor * gaussian_mmse(sigma), samples=3000, noise=0.8).profile().mmse  # noqa: B023
        assert bool((mmse.diff() >= -1e-12 * mmse[1:]).all())


@pytest.mark.parametrize("losses", [gaussian_losses(), code_losses()], ids=["gaussian", "codes"])
def test_more_losses_refine(losses):
    """Distance from the table of a run of 200,000: the worst of four streams."""
    options = {"weight": inx.EDMWeight(0.5), "capacity": 4096}
    long = trained_on(losses, 200_000, 500, **options)
    for samples, bound in ((1000, 0.15), (64_000, 0.04)):
        runs = [trained_on(losses, samples, 20, seed=seed, **options) for seed in range(4)]
        assert max(variation(run, long) for run in runs) < bound


def test_a_schedule_forgets_by_samples_whatever_the_cadence():
    """After the rings turned over, nothing is left of errors of other data."""
    tables = []
    for every in (10, 200):
        schedule = inx.InfoNoise(seed=1, refresh_every=every, warmup=10, capacity=64)
        sigma, g = schedule.sample(200), generator(3)
        for step in range(1200):
            noise = torch.randn(200, 8, generator=g).square().mean(1)
            sigma = schedule.advance(sigma, gaussian_mmse(sigma, 0.5 if step < 600 else 5.0) * noise)
        tables.append(schedule.summary())
    for summary in tables:
        assert summary["variance"] == pytest.approx(25.0, rel=0.35)
