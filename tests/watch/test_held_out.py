"""Memory told from information: an exact denoiser of a small data set, against samples that it never saw."""

import pytest
import torch
from support import generator
from support.runs import gaussian_losses, gaussian_mmse, trained_on, variation

import infonoise_ext as inx
from infonoise_ext.oracle import EmpiricalBayes
from infonoise_ext.state.tensors import edges_and_centres
from infonoise_ext.watch.held_out import parted

DIM, STD = 64, 1.0
KNOWN = EmpiricalBayes(STD * torch.randn(20, DIM, generator=generator(1)))


def fresh(n, g):
    return STD * torch.randn(n, DIM, generator=g, dtype=torch.float64)


def memory_losses(draw):
    """Of the network that knows 20 points by heart, on the samples that `draw` gives."""

    def losses(sigma, g):
        x, level = draw(len(sigma), g), sigma.double()
        noise = torch.randn(x.shape, generator=g, dtype=torch.float64)
        return (KNOWN.denoise(x + level.unsqueeze(1) * noise, level) - x).square().mean(1)

    return losses


def profile_of_memory():
    x = fresh(256, generator(3))
    return inx.offline_profile(lambda y, sigma: KNOWN.denoise(y, sigma), x, 32, generator=generator(4))


def titles(schedule):
    return [text.split(":")[0] for text in schedule.troubles()]


def test_memory_is_found_and_held_out_losses_as_the_source_cure_it():
    learner = trained_on(gaussian_losses(STD, DIM), 30_000, 128)
    memory = trained_on(memory_losses(KNOWN.sample), 30_000, 128)
    assert float(memory.table().level(0.5)) > 1.5 * float(learner.table().level(0.5))  # what it does to the schedule
    assert "Memorised" not in titles(memory)  # nobody has told yet
    memory.held_out = profile_of_memory()
    assert "Memorised" in titles(memory)
    assert memory.status.startswith("active, but ")
    assert memory.summary()["troubles"] >= 1
    assert "Memorised" in [title for title, _ in memory.snapshot()["troubles"][0]]

    source = trained_on(memory_losses(fresh), 30_000, 128)
    assert variation(source, learner) < variation(memory, learner) / 2
    source.held_out = profile_of_memory()
    assert "Memorised" not in titles(source)


def test_a_second_schedule_tells_too_once_it_has_recorded():
    memory = trained_on(memory_losses(KNOWN.sample), 20_000, 128)
    memory.held_out = inx.InfoNoise(seed=2)
    assert "Memorised" not in titles(memory)
    sigma = memory.held_out.sample(4000)
    memory.held_out.observe(sigma, memory_losses(fresh)(sigma, generator(5)))
    assert "Memorised" in titles(memory)


@pytest.mark.parametrize("bins", [24, 64])
def test_one_network_on_samples_of_one_kind_raises_no_alarm(bins):
    """60 looks at 1 in 3,000: none but once in 50. Errors of few elements, so that their spread is wide."""
    edges, sigma = edges_and_centres(inx.InfoNoiseConfig(bins=bins))
    alarms = 0
    for seed in range(60):
        g = generator(seed)
        losses = gaussian_mmse(sigma, STD).unsqueeze(1) * torch.randn(bins, 200, 8, generator=g).square().mean(2)
        held, ring = losses[:, :100], losses[:, 100:]
        error = held.std(1) / 10
        count = torch.full((bins,), 100)
        profile = inx.Profile.from_mmse(edges, sigma, held.mean(1), error, count.double())
        compared, better, _ = parted(ring.float(), count, sigma, profile)
        assert compared == bins
        alarms += better >= 0.1 * bins
        assert parted(ring.float() / 2, count, sigma, profile)[1] > 0.9 * bins  # and half of the error is found
    assert alarms == 0


def test_too_few_losses_are_not_compared():
    curves = [1, 2, 4], [1.4, 2.8], [1, 1], [0.1, 0.1], [99, 9]
    profile = inx.Profile.from_mmse(*(torch.tensor(curve, dtype=torch.float64) for curve in curves))
    ring, sigma = torch.zeros(4, 30), torch.tensor([1.4, 1.4, 2.8, 40.0], dtype=torch.float64)
    assert parted(ring, torch.tensor([30, 15, 30, 30]), sigma, profile)[:2] == (1, 1)
