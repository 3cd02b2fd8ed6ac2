"""Under torch.compile: one graph, at most two compilations, no copies of the state."""

import math

import pytest
import torch
from support import ADVANCE, assert_same_bits, generator, make_state, random_batch, take
from support.arguments import Inputs
from torch._dynamo.testing import CompileCounterWithBackend
from torch._inductor.utils import run_and_get_code

import infonoise_ext as inx
from infonoise_ext.ops.schemas import SCHEMAS

BATCHES = (64, 32, 128, 7, 64, 100, 33, 2, 500)
OPTIONS = {"seed": 1, "warmup": 3, "refresh_every": 2, "min_count": 1}


def step(schedule, sigma):
    error = sigma.square() / (1 + sigma.square())
    loss = (schedule.weight(sigma) * error).mean()
    return loss, schedule.advance(sigma, error)


def split_step(schedule, sigma):
    schedule.observe(sigma, sigma.square(), mask=sigma < 10)
    return schedule.sample(sigma.shape[0])


def every_call(schedule, sigma):
    schedule.observe(sigma, sigma.square())
    schedule.step()
    return schedule.advance(schedule.sample(sigma.shape[0]), sigma)


@pytest.mark.parametrize("function", [step, split_step, every_call])
@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_two_compilations_over_changing_batches(function, backend):
    torch._dynamo.reset()
    compiled, plain = (inx.InfoNoise(backend=backend, **OPTIONS) for _ in range(2))
    counter = CompileCounterWithBackend("aot_eager")
    fast = torch.compile(function, backend=counter, fullgraph=True)
    for _ in range(4):
        for batch in BATCHES:
            sigma = plain.sample(batch)
            assert torch.equal(sigma, compiled.sample(batch))
            torch.testing.assert_close(fast(compiled, sigma), function(plain, sigma))
    assert counter.frame_count <= 2
    torch.testing.assert_close(fast(compiled, sigma[:1]), function(plain, sigma[:1]))
    assert counter.frame_count <= 3  # torch specialises on 0 and 1
    assert_same_bits(compiled, plain)
    assert (plain.summary()["refreshes"] > 3) == (function is not split_step)


@pytest.mark.slow
def test_inductor_neither_clones_nor_copies_the_state():
    torch._dynamo.reset()
    schedule = inx.InfoNoise(weight=inx.EDMWeight(0.5), **OPTIONS)
    addresses = {name: tensor.data_ptr() for name, tensor in schedule.state._asdict().items()}
    for function, called in ((step, (0, 0, 1)), (every_call, (1, 1, 2))):
        _, codes = run_and_get_code(torch.compile(function, fullgraph=True), schedule, schedule.sample(64))
        code = "\n".join(codes)
        ops = ("observe_", "sample_", "advance_")
        assert tuple(code.count(f"torch.ops.infonoise.{name}.default(") for name in ops) == called
        for word in ("clone", "copy_(", "auto_functionalized"):
            assert word not in code
    assert {name: tensor.data_ptr() for name, tensor in schedule.state._asdict().items()} == addresses


def test_training_step_with_backward_compiles_whole():
    torch._dynamo.reset()
    schedule = inx.InfoNoise(seed=1)
    net = torch.nn.Linear(8, 8)

    @torch.compile(backend="aot_eager", fullgraph=True)
    def loss_and_next(x0, sigma):
        denoised = net(x0 + sigma.view(-1, 1) * torch.randn_like(x0))
        error = (denoised - x0).square().mean(1)
        return error.mean(), schedule.advance(sigma, error)

    sigma = schedule.sample(16)
    for _ in range(3):
        loss, sigma = loss_and_next(torch.randn(16, 8), sigma)
        loss.backward()
    assert not sigma.requires_grad
    assert net.weight.grad.isfinite().all()
    assert int(schedule.state.count.sum()) == 48


@pytest.mark.parametrize("namespace", ["infonoise", "infonoise_eager", "infonoise_triton"])
@pytest.mark.parametrize("name", SCHEMAS)
def test_opcheck(namespace, name):
    op = getattr(getattr(torch.ops, namespace), name).default
    torch.library.opcheck(op, tuple(Inputs(40, 2).of(name)))


def test_eager_sees_no_graph_break_when_traced_itself():
    """The eager functions, not the ops, are what a compiled torch rival runs."""
    from infonoise_ext.ops import eager

    torch._dynamo.reset()
    state, expected = make_state(), make_state()
    sigma, error = random_batch(state, 64, generator(1))
    fast = torch.compile(eager.advance_, backend="aot_eager", fullgraph=True)
    for _ in range(6):
        got = fast(*take(state, ADVANCE), sigma, error, None, None, 64, None)
        wanted = eager.advance_(*take(expected, ADVANCE), sigma, error, None, None, 64, None)
        torch.testing.assert_close(got, wanted)
        torch.testing.assert_close(state["cdf"], expected["cdf"], rtol=1e-12, atol=0)
    assert math.isclose(float(state["stats"][0, 1]), float(expected["stats"][0, 1]), rel_tol=1e-12)


@pytest.mark.parametrize("groups", [1, 3])
def test_eager_off_the_cpu_reads_nothing_back_and_stays_there(groups):
    """Meta tensors stand for a GPU's: they have no data, so reading a number raises."""
    from infonoise_ext.ops import eager

    state = {name: tensor.to("meta") for name, tensor in make_state(groups).items()}
    sigma, error = torch.empty(64, device="meta"), torch.empty(64, device="meta")
    group = torch.zeros(64, dtype=torch.int64, device="meta") if groups > 1 else None
    drawn = eager.advance_(*take(state, ADVANCE), sigma, error, sigma > 0.1, group, 64, group)
    assert (drawn.device.type, drawn.dtype, drawn.shape) == ("meta", torch.float32, (64,))
    with pytest.raises(RuntimeError, match=r"item|meta"):
        bool(state["counters"].sum() > 0)  # what the functions above must not do
