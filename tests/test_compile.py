"""Under torch.compile: one graph, at most two compilations, no copies of the state."""

import math

import pytest
import torch
from support import ADVANCE, generator, make_state, random_batch, take
from support.arguments import Inputs
from torch._dynamo.testing import CompileCounterWithBackend
from torch._inductor.utils import run_and_get_code

import infonoise_ext as inx
from infonoise_ext.ops.schemas import SCHEMAS

BATCHES = (64, 32, 128, 7, 64, 100, 33, 2, 500)


def step(schedule, sigma):
    error = sigma.square() / (1 + sigma.square())
    loss = (schedule.weight(sigma) * error).mean()
    return loss, schedule.advance(sigma, error)


def split_step(schedule, sigma):
    schedule.observe(sigma, sigma.square(), mask=sigma < 10)
    return schedule.sample(sigma.shape[0])


@pytest.mark.parametrize("function", [step, split_step])
@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_two_compilations_over_changing_batches(function, backend):
    torch._dynamo.reset()
    compiled, plain = (inx.InfoNoise(seed=1, backend=backend, warmup=3, refresh_every=2) for _ in range(2))
    counter = CompileCounterWithBackend("aot_eager")
    fast = torch.compile(function, backend=counter, fullgraph=True)
    for _ in range(4):
        for batch in BATCHES:
            sigma = plain.sample(batch)
            assert torch.equal(sigma, compiled.sample(batch))
            torch.testing.assert_close(fast(compiled, sigma), function(plain, sigma))
    assert counter.frame_count <= 2
    for name, tensor in plain.state._asdict().items():
        assert torch.equal(tensor, getattr(compiled.state, name)), name


@pytest.mark.slow
def test_inductor_neither_clones_nor_copies_the_state():
    torch._dynamo.reset()
    schedule = inx.InfoNoise(seed=1, weight=inx.EDMWeight(0.5))
    fast = torch.compile(step, fullgraph=True)
    loss, codes = run_and_get_code(fast, schedule, schedule.sample(64))
    code = "\n".join(codes)
    assert "infonoise.advance_.default(" in code
    assert "clone" not in code
    assert "copy_(" not in code
    assert int(schedule.state.counters[0, 0]) == 1
    assert torch.isfinite(loss[0])


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


def test_every_state_tensor_is_static_for_cuda_graphs():
    schedule = inx.InfoNoise(seed=1).to("cpu")
    for name, tensor in schedule.state._asdict().items():
        assert getattr(tensor, "_dynamo_static_input_type", None) == "unguarded", name


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
