"""Schedules fed with errors of known mean, runs recorded by them, and what the report warns of."""

import torch

import infonoise_ext as inx
from infonoise_ext.watch.report import find_warnings, read_run
from support import generator

QUICK = {"warmup": 10, "refresh_every": 10}


def gaussian_mmse(sigma, std=0.5):
    return std**2 * sigma**2 / (std**2 + sigma**2)


def train(schedule, steps, batch=128, mmse=gaussian_mmse, seed=0, sigma=None):
    """Feed `steps` batches of losses with mean `mmse` and a heavy spread; returns the next sigma."""
    g = generator(seed)
    sigma = schedule.sample(batch) if sigma is None else sigma
    for _ in range(steps):
        noise = torch.randn(batch, 8, generator=g).square().mean(1)
        sigma = schedule.advance(sigma, mmse(sigma) * noise)
    return sigma


def gaussian_losses(std=0.5, dim=64):
    """Mean squared errors of the exact denoiser of Gaussian data: the posterior's variance times chi^2 / d."""

    def losses(sigma, generator):
        chi2 = torch.randn(len(sigma), dim, generator=generator, dtype=torch.float64).square().mean(1)
        return gaussian_mmse(sigma.double(), std) * chi2

    return losses


def code_losses(size=1.0, letters=16, classes=4):
    """Those of one-hot codes of independent letters, whose posterior mean is a softmax."""

    def losses(sigma, generator):
        label = torch.randint(0, classes, (len(sigma), letters), generator=generator)
        x0 = size * torch.nn.functional.one_hot(label, classes).double()
        s = sigma.double().view(-1, 1, 1)
        y = x0 + s * torch.randn(x0.shape, generator=generator, dtype=torch.float64)
        return (size * torch.softmax(size * y / s.square(), -1) - x0).square().mean((1, 2))

    return losses


def trained_on(losses, samples, batch, seed=1, **options):
    """A schedule after a loop over losses of an exact denoiser."""
    schedule, g = inx.InfoNoise(seed=seed, **options), generator(seed)
    sigma = schedule.sample(batch)
    for _ in range(samples // batch):
        sigma = schedule.advance(sigma, losses(sigma, g))
    return schedule


def variation(one, other):
    """Total variation between the tables of two schedules."""
    return float((one.state.cdf.diff() - other.state.cdf.diff()).abs().sum() / 2)


def fed(mmse, samples=400_000, noise=0.0, **options):
    """A schedule refreshed once from losses at levels drawn from its own prior."""
    schedule = inx.InfoNoise(seed=3, capacity=4096, prior=inx.LogUniform(), **options)
    sigma = schedule.sample(samples)
    error = mmse(sigma.double())
    if noise:
        error = error * (1 + noise * torch.randn(samples, generator=generator(1), dtype=torch.float64))
    schedule.observe(sigma, error)
    schedule.refresh()
    assert schedule.summary()["refreshes"] == 1
    return schedule


def drive(schedule, steps, error=lambda sigma, step: gaussian_mmse(sigma), batch=256, seed=0, **extra):
    """Steps of a loop whose losses have mean `error` and a heavy spread."""
    g = generator(seed)
    for step in range(1, steps + 1):
        group = torch.randint(0, schedule.groups, (batch,), generator=g)
        sigma = schedule.sample(batch, group)
        noise = torch.randn(batch, 8, generator=g).square().mean(1)
        schedule.observe(sigma, error(sigma, step) * noise, group=group, **extra)
        schedule.step()
    return schedule


def recorded(path, steps, error=None, batch=256, seed=1, **options):
    schedule = inx.InfoNoise(seed=seed, history=inx.History(path), **(QUICK | options))
    return drive(schedule, steps, *([error] if error else []), batch=batch, seed=seed)


def warned(path):
    """Sentences by title."""
    return {finding.title: finding.text for finding in find_warnings(read_run(path))}


def no_error(sigma, step):
    return torch.zeros_like(sigma)
