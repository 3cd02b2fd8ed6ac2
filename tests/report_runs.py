"""Runs recorded by real schedules, and what the report warns of in them."""

import torch
from support import generator
from test_schedule import gaussian_mmse

import infonoise_ext as inx
from infonoise_ext.watch.report import find_warnings, read_run

QUICK = {"warmup": 10, "refresh_every": 10}


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
