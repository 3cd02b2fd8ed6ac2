"""Activation checkpointing runs a region again in backward: nothing may be recorded or drawn twice."""

import warnings

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import infonoise_ext as inx

IGNORE = "ignore:observe was called during backward"


class Net(torch.nn.Module):
    """A region that records inside, between operations that save tensors for backward."""

    def __init__(self, call):
        super().__init__()
        self.inner, self.outer, self.call = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), call

    def forward(self, x):
        hidden = self.inner(x).tanh()
        self.call(hidden.square().mean(1))
        return self.outer(hidden).sin().square().mean(1)


def steps(net, use_reentrant, wrap=lambda f: f):
    """Two training steps; returns the gradients."""
    whole = wrap(lambda x: checkpoint(net, x, use_reentrant=use_reentrant).sum())
    for _ in range(2):
        whole(torch.ones(6, 4, requires_grad=True)).backward()
    return torch.cat([p.grad.flatten() for p in net.parameters()])


@pytest.mark.filterwarnings(IGNORE)
@pytest.mark.parametrize("wrap", [lambda f: f, torch.compile(backend="aot_eager")], ids=["eager", "compiled"])
@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_a_batch_is_recorded_once(backend, use_reentrant, wrap):
    torch._dynamo.reset()
    schedule = inx.InfoNoise(seed=1, backend=backend)
    sigma = schedule.sample(6)
    seen = []

    def record(error):
        schedule.observe(sigma, error)
        if not torch.compiler.is_compiling():
            seen.append(error.detach())

    net = Net(record)
    steps(net, use_reentrant, wrap)
    assert int(schedule.state.count.sum()) == 12
    assert int(schedule.state.counters[0, 5:].sum()) == 0
    if seen:
        assert len(seen) == 4  # the region did run again


def test_what_is_not_recorded_is_said():
    schedule = inx.InfoNoise(seed=1)
    net = Net(lambda error: schedule.observe(torch.ones(6), error))
    with pytest.warns(UserWarning, match="observe was called during backward"):
        steps(net, False)


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("name", ["sample", "advance"])
def test_drawing_in_a_region_is_refused_when_it_runs_again(name, use_reentrant):
    """Other noise levels than the first time would give the gradient of another function."""
    schedule = inx.InfoNoise(seed=1)
    call = {"sample": lambda error: schedule.sample(6), "advance": lambda error: schedule.advance(error, error)}[name]
    with pytest.raises(RuntimeError, match=f"{name} was called during backward.*outside of the region"):
        steps(Net(call), use_reentrant)
    assert int(schedule.state.rng[1]) == 1
    assert schedule.sample(3).isfinite().all()


def test_all_else_works_in_and_after_backward():
    """Optimizers that step in a hook may call `step()`; after backward everything records again."""
    schedule = inx.InfoNoise(seed=1)
    x = torch.ones(3, requires_grad=True)
    x.register_hook(lambda gradient: schedule.step())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x.square().sum().backward()
        gradient = torch.autograd.grad(x.pow(3).sum(), x, create_graph=True)[0]
        schedule.observe(x, gradient)
        gradient.sum().backward()
        schedule.advance(x, x)
    assert int(schedule.state.count.sum()) == 6
    assert int(schedule.state.counters[0, 0]) == 4
