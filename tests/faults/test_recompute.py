"""Activation checkpointing runs a region again in backward: nothing may be recorded or drawn twice."""

import warnings

import pytest
import torch
from support import OPS, call, generator, make_state, random_batch
from torch._functorch import config as functorch_config
from torch.utils.checkpoint import checkpoint

import infonoise_ext as inx
from infonoise_ext.ops.schemas import COUNTERS, SKIP_CAUSES

BACKENDS = ("auto", "eager", "triton")
OPS = OPS | {"auto": OPS["compiled"]}
CASES = pytest.mark.parametrize(
    ("backend", "use_reentrant"), [("auto", True), ("auto", False), ("eager", False), ("triton", True)]
)
RECOMPUTED = COUNTERS.index("recomputed")
compiled = torch.compile(backend="aot_eager")


class Net(torch.nn.Module):
    """A region that records inside, between operations that save tensors for backward."""

    def __init__(self, call):
        super().__init__()
        self.inner, self.outer, self.call = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), call

    def forward(self, x):
        hidden = self.inner(x).tanh()
        self.call(hidden.square().mean(1))
        return self.outer(hidden).sin().square().mean(1)


def steps(net, use_reentrant, wrap=lambda f: f, number=2):
    """Training steps; returns the gradients."""
    whole = wrap(lambda x: checkpoint(net, x, use_reentrant=use_reentrant).sum())
    for _ in range(number):
        whole(torch.ones(6, 4, requires_grad=True)).backward()
    return torch.cat([p.grad.flatten() for p in net.parameters()])


def recording(backend):
    """A schedule, and a network that records six samples of it at each call."""
    torch._dynamo.reset()
    schedule = inx.InfoNoise(seed=1, backend=backend)
    sigma = schedule.sample(6)
    return schedule, Net(lambda error: schedule.observe(sigma, error))


def assert_counted(schedule, recorded, recomputed):
    summary = schedule.summary()
    assert summary["recorded"] == recorded
    wanted = dict.fromkeys(SKIP_CAUSES, 0) | {"recomputed": recomputed}
    assert {cause: summary[f"skipped_{cause}"] for cause in SKIP_CAUSES} == wanted


@CASES
def test_a_batch_is_recorded_once(backend, use_reentrant):
    schedule, net = recording(backend)
    steps(net, use_reentrant, number=3)
    assert_counted(schedule, 18, 18)


@CASES
def test_a_region_compiled_on_its_own_knows_when_it_runs_again(backend, use_reentrant):
    schedule, net = recording(backend)
    steps(compiled(net), use_reentrant, number=3)
    assert_counted(schedule, 18, 18)


@pytest.mark.slow
def test_generated_code_asks_at_run_time():
    """Eager torch could be taken into the code, with its question answered once."""
    schedule, net = recording("eager")
    steps(torch.compile(net), False)
    assert_counted(schedule, 12, 12)


@CASES
def test_a_checkpoint_inside_of_a_compiled_function_records_once(backend, use_reentrant):
    """There the region is computed again without what it recorded."""
    schedule, net = recording(backend)
    steps(net, use_reentrant, compiled)
    assert_counted(schedule, 12, 0)


@pytest.mark.parametrize("budget", [0.0, 1.0])
@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_a_compiler_that_computes_all_again_records_once(backend, budget):
    schedule, net = recording(backend)
    with functorch_config.patch(activation_memory_budget=budget):
        whole = compiled(net)
        for _ in range(3):
            whole(torch.ones(6, 4, requires_grad=True)).sum().backward()
    assert_counted(schedule, 18, 0)


@pytest.mark.parametrize("wrap", [lambda f: f, compiled], ids=["eager", "compiled"])
def test_nested_checkpoints_and_accumulated_gradients(wrap):
    """The inner region runs three times: forward, and in the recomputation of each checkpoint."""
    schedule, net = recording("auto")
    region = wrap(net)

    def outer(x):
        return checkpoint(region, x.sin(), use_reentrant=False).unsqueeze(1) * x

    for _ in range(2):
        for _ in range(3):
            checkpoint(outer, torch.ones(6, 4, requires_grad=True), use_reentrant=False).sum().backward()
        schedule.step()
    assert_counted(schedule, 36, 72)
    assert schedule.summary()["steps"] == 2


def test_gradients_are_those_without_a_checkpoint():
    torch.manual_seed(0)
    _, net = recording("auto")
    steps(compiled(net), False)
    checkpointed = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    for _ in range(2):
        net(torch.ones(6, 4, requires_grad=True)).sum().backward()
    for got, parameter in zip(checkpointed, net.parameters(), strict=True):
        torch.testing.assert_close(got, parameter.grad)


def during_backward(call):
    x = torch.ones(1, requires_grad=True)
    x.register_hook(lambda gradient: call())
    x.sum().backward()


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_sample_is_counted_in_its_group_whatever_else_is_wrong_with_it(backend, groups):
    g = generator(groups)
    state = make_state(groups)
    before = {name: tensor.clone() for name, tensor in state.items()}
    sigma, error = random_batch(state, 300, g)
    mask = torch.rand(300, generator=g) < 0.5
    group = torch.randint(-1, groups + 1, (300,), generator=g, dtype=torch.int32) if groups > 1 else None
    during_backward(lambda: call(OPS[backend], "observe_", state, sigma, error, mask, group))
    owner = torch.zeros(300, dtype=torch.int64) if group is None else torch.where(group < groups, group, 0).clamp(0)
    before["counters"][:, RECOMPUTED] = torch.bincount(owner, minlength=groups)
    for name, tensor in before.items():
        assert torch.equal(state[name], tensor), name
    call(OPS[backend], "observe_", state, sigma, error, mask, group)
    assert int(state["count"].sum()) > 50


@pytest.mark.parametrize("backend", BACKENDS)
def test_bad_arguments_raise_in_backward_too(backend):
    state = make_state()
    with pytest.raises((ValueError, RuntimeError), match=r"error .*must"):
        during_backward(lambda: call(OPS[backend], "observe_", state, torch.ones(3), torch.ones(4), None, None))


@pytest.mark.parametrize("wrap", [lambda f: f, compiled], ids=["eager", "compiled"])
@CASES
@pytest.mark.parametrize("name", ["sample", "advance"])
def test_drawing_in_a_region_is_refused_when_it_runs_again(name, backend, use_reentrant, wrap):
    """Other noise levels than the first time would give the gradient of another function."""
    torch._dynamo.reset()
    schedule = inx.InfoNoise(seed=1, backend=backend)
    call = {"sample": lambda error: schedule.sample(6), "advance": lambda error: schedule.advance(error, error)}[name]
    with pytest.raises(RuntimeError, match=f"{name} was called during backward.*outside of the region"):
        steps(wrap(Net(call)), use_reentrant)
    assert int(schedule.state.rng[1]) == 1
    assert int(schedule.state.counters[0, COUNTERS.index("steps")]) == (name == "advance")
    assert schedule.sample(3).isfinite().all()


@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_drawing_again_is_refused_where_a_compiler_decides_to(backend):
    """It would draw other noise levels for backward than forward had, without a word."""
    torch._dynamo.reset()
    schedule = inx.InfoNoise(seed=1, backend=backend)

    def loss(x):
        return (x * schedule.sample(6)).sin().square().exp().sum()

    with (
        functorch_config.patch(activation_memory_budget=0.0),
        pytest.raises(RuntimeError, match="outside of the region"),
    ):
        compiled(loss)(torch.ones(6, requires_grad=True)).backward()


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_else_works_in_and_after_backward(backend):
    """Optimizers that step in a hook may call `step()`; after backward everything records again."""
    schedule = inx.InfoNoise(seed=1, backend=backend)
    x = torch.ones(3, requires_grad=True)
    x.register_hook(lambda gradient: schedule.step())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x.square().sum().backward()
        gradient = torch.autograd.grad(x.pow(3).sum(), x, create_graph=True)[0]
        schedule.observe(x, gradient)
        gradient.sum().backward()
        schedule.advance(x, x)
    assert_counted(schedule, 6, 0)
    assert schedule.summary()["steps"] == 4
