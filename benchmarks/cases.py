"""What is measured: each op at a size, under each implementation, as a function of no arguments."""

from functools import cache

import torch

import infonoise_ext as inx
from infonoise_ext.ops import eager

from .host_sampler import HostSampler, VectorisedHostSampler

IMPLEMENTATIONS = ("cpp", "eager", "compiled", "host", "host_vectorised")
HOSTS = {"host": HostSampler, "host_vectorised": VectorisedHostSampler}
BATCHES = (64, 1024, 16384, 2**20)
BINS = (64, 512)
CAPACITY = 256
REFRESH_EVERY = 100
BATCHED = ("observe_", "sample_", "advance_")
PER_TABLE = ("refresh_", "bin_stats")
LOSS = ("denoising_error", "denoising_error_backward", "denoising_loss")
LOSS_BATCHES = (16, 256, 4096)
SAMPLE = (4, 32, 32)


@cache
def compiled(name):
    """The eager function of an op under torch.compile, one dynamic graph."""
    return torch.compile(getattr(eager, name), dynamic=True, fullgraph=True)


@cache
def compiled_step():
    """Observe and sample in one graph: what a step without refresh costs under torch.compile."""

    def step(ring, count, counters, cdf, rng, grid, params, sigma, error):
        eager.observe_(ring, count, counters, grid, sigma, error, None, None)
        return eager.sample_(cdf, rng, grid, params, sigma.shape[0], None)

    return torch.compile(step, dynamic=True, fullgraph=True)


def filled_schedule(bins, backend="auto", refresh_every=REFRESH_EVERY):
    """A schedule whose rings are full and whose table is learned."""
    schedule = inx.InfoNoise(
        bins=bins, capacity=CAPACITY, warmup=1, refresh_every=refresh_every, seed=1, backend=backend
    )
    sigma = schedule.table().level(torch.linspace(0.0005, 0.9995, 2**16))
    levels = torch.linspace(-6.2, 4.38, bins * CAPACITY * 2).exp()
    for x in (levels, sigma):
        schedule.observe(x, 0.25 * x.square() / (0.25 + x.square()))
    schedule.refresh()
    return schedule


def table_of(s):
    """What `refresh_` takes besides the moments."""
    return s.count, s.previous_count, s.previous_cdf, s.mmse, s.cdf, s.stats, s.counters, s.grid, s.params


def make_case(name, implementation, batch, bins):
    """The function to time; it may be called any number of times."""
    if name in LOSS:
        return _loss_case(name, implementation, batch, bins)
    sigma = inx.InfoNoise(seed=2).sample(batch)
    error = 0.25 * sigma.square() / (0.25 + sigma.square()) * torch.rand(batch)
    if implementation in HOSTS:
        return _host_case(name, HOSTS[implementation], sigma, error, bins)
    schedule = filled_schedule(bins, "eager" if implementation == "eager" else "auto")
    s = schedule.state
    arguments = {
        "observe_": (s.ring, s.count, s.counters, s.grid, sigma, error, None, None),
        "bin_stats": (s.ring, s.count),
        "refresh_": (eager.bin_stats(s.ring, s.count), *table_of(s)),
        "sample_": (s.cdf, s.rng, s.grid, s.params, batch, None),
    }
    if name == "advance_":
        return _advance_case(schedule, implementation, sigma, error)
    function = compiled(name) if implementation == "compiled" else getattr(schedule._ops, name)
    return lambda: function(*arguments[name])


def _advance_case(schedule, implementation, sigma, error):
    if implementation != "compiled":
        return lambda: schedule.advance(sigma, error)
    s, step, steps = schedule.state, compiled_step(), 0

    def advance():
        nonlocal steps
        drawn = step(s.ring, s.count, s.counters, s.cdf, s.rng, s.grid, s.params, sigma, error)
        steps += 1
        if steps % REFRESH_EVERY == 0:
            moments = compiled("bin_stats")(s.ring, s.count)
            compiled("refresh_")(moments, *table_of(s))
        return drawn

    for _ in range(REFRESH_EVERY):
        advance()
    return advance


def plain_loss(denoised, target, sigma, schedule):
    """What a training loop writes without `denoising_loss`."""
    error = (denoised - target).square().flatten(1).mean(1)
    schedule.observe(sigma, error)
    return (schedule.weight(sigma) * error).mean()


def _loss_case(name, implementation, batch, bins):
    denoised, target = torch.randn(batch, *SAMPLE, requires_grad=True), torch.randn(batch, *SAMPLE)
    schedule = filled_schedule(bins)
    sigma = schedule.sample(batch)
    if name == "denoising_loss":
        rivals = {"cpp": inx.denoising_loss, "eager": plain_loss}
        loss = rivals.get(implementation) or torch.compile(plain_loss, fullgraph=True)
        return lambda: torch.autograd.grad(loss(denoised, target, sigma, schedule), denoised)
    pair = (denoised.detach(), target)
    arguments = pair if name == "denoising_error" else (torch.rand(batch), *pair)
    plain = {"eager": getattr(eager, name), "cpp": getattr(schedule._ops, name)}
    function = plain.get(implementation) or compiled(name)
    return lambda: function(*arguments)


def _host_case(name, sampler, sigma, error, bins):
    host = sampler(0.002, 80.0, bins, CAPACITY, REFRESH_EVERY)
    levels = torch.linspace(-6.2, 4.38, bins * CAPACITY).exp()
    host.observe(levels, levels.square() / (1 + levels.square()))
    functions = {
        "observe_": lambda: host.observe(sigma, error),
        "refresh_": host.refresh,
        "bin_stats": lambda: [(len(q), sum(q)) for q in host.queues],
        "sample_": lambda: host.sample(len(sigma)),
        "advance_": lambda: host.advance(sigma, error),
    }
    return functions[name]
