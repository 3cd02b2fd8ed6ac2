"""Other ways to make the same step from sigma, error to the next sigma, each a function of no arguments."""

from functools import cache

import torch

from infonoise_ext.ops import eager

from ..cases import CAPACITY, HOSTS, table_of


@cache
def torch_step(refresh, mode=None):
    """Observe, sample and, if told, refresh in the package's eager torch; compiled unless mode is None."""

    def step(s, sigma, error):
        eager.observe_(s.ring, s.count, s.counters, s.grid, sigma, error, None, None)
        drawn = eager.sample_(s.cdf, s.rng, s.grid, s.params, sigma.shape[0], None)
        if refresh:
            eager.refresh_(eager.bin_stats(s.ring, s.count), *table_of(s))
        return drawn

    return step if mode is None else torch.compile(step, fullgraph=True, dynamic=True, mode=mode)


def in_torch(state, sigma, error, refresh, mode):
    """Eager torch, or the same compiled. A counter on the host would say when to refresh: it costs nothing here."""
    step = torch_step(refresh, mode)
    return lambda: step(state, sigma, error)


def by_library_calls(state, sigma, error, refresh):
    """Bucketize, scatter-add, cumsum and searchsorted, which torch takes from CUB and its like.

    Less work than the op's: sums that run for ever in place of rings, no gate, no skipping of bad samples.
    """
    edges = state.edges.float()
    inner, logs, centre = edges[1:-1].contiguous(), edges.log(), state.row("sigma").float()
    bins = len(centre)
    total, number = torch.rand(2, bins, device=sigma.device) + 1
    cdf = torch.linspace(0, 1, bins + 1, device=sigma.device)
    ones = torch.ones_like(error)

    def step():
        k = torch.bucketize(sigma, inner, right=True)
        total.scatter_add_(0, k, error)
        number.scatter_add_(0, k, ones)
        u = torch.rand_like(sigma)
        j = torch.searchsorted(cdf, u, right=True).sub_(1).clamp_(0, bins - 1)
        low, high = cdf[j], cdf[j + 1]
        drawn = torch.lerp(logs[j], logs[j + 1], (u - low) / (high - low).clamp_(min=1e-20)).exp_()
        if refresh:
            density = total / number / centre.square()
            torch.cumsum(density / density.sum(), 0, out=cdf[1:])
        return drawn

    return step


def on_the_host(state, sigma, error, name):
    """Python deques and NumPy, with the two copies and the wait that they cost each step; never refreshed."""
    edges = state.edges.tolist()
    host = HOSTS[name](edges[0], edges[-1], len(edges) - 1, CAPACITY, refresh_every=2**40)
    levels = state.row("sigma").cpu().repeat_interleave(CAPACITY).float()
    host.observe(levels, levels.square() / (1 + levels.square()))
    return lambda: host.advance(sigma, error).to(sigma.device)


@cache
def compiled_error():
    """The plain expression of the per-sample squared error, compiled, backward too."""
    return torch.compile(lambda denoised, target: (denoised - target).square().flatten(1).mean(1), fullgraph=True)


def error_and_gradient(denoised, target, grad_error):
    """Forward and backward of that expression."""
    denoised = denoised.detach().requires_grad_()
    return lambda: torch.autograd.grad(compiled_error()(denoised, target), denoised, grad_error)


def whole_posterior(y, sigma, data):
    """Posterior mean by the whole matrix of weights, in the dtype of the data; no variance."""
    score = y @ data.T - data.float().square().sum(1).div(2).to(y.dtype)
    return torch.softmax(score.float() / sigma**2, 1).to(y.dtype) @ data
