"""Repeats, CUDA graphs and torch.compile's graphs: the same bits as plain calls."""

import pytest
import torch
from support import BACKENDS, DEVICE, assert_same_bits, generator
from torch._dynamo.utils import counters

import infonoise_ext as inx
from benchmarks.gpu.timing import WARMUPS, captured
from infonoise_ext.ops.schemas import COUNTERS

KERNELS = ["auto", *(["triton"] if "triton" in BACKENDS else [])]
SIZES = (256, 70_000)
REPLAYS = 2000


def schedule_of(backend, **options):
    return inx.InfoNoise(device=DEVICE, backend=backend, seed=5, warmup=5, refresh_every=7, **options)


def error_of(sigma):
    return sigma.square() / (1 + sigma.square())


def refreshes(schedule):
    return int(schedule.state.counters[0, COUNTERS.index("refreshes")])


@pytest.mark.parametrize("backend", KERNELS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("groups", [1, 4])
def test_a_hundred_steps_three_times(backend, size, groups):
    """No result depends on the order in which threads and blocks happen to run."""
    runs = []
    for _ in range(3):
        schedule, g = schedule_of(backend, groups=groups), generator(1)
        group = torch.randint(0, groups, (size,), generator=g).to(DEVICE)
        sigma = schedule.sample(size, group)
        for _ in range(100):
            error = error_of(sigma) * torch.rand(size, generator=g).to(DEVICE)
            sigma = schedule.advance(sigma, error, group=group, next_group=group)
        runs.append((schedule, sigma))
    for schedule, sigma in runs[1:]:
        assert_same_bits(schedule, runs[0][0])
        assert torch.equal(sigma, runs[0][1])
    assert refreshes(runs[0][0]) > 3


@pytest.mark.parametrize("backend", [*KERNELS, "eager"])
@pytest.mark.parametrize("size", SIZES)
def test_replays_of_a_captured_step_are_the_steps(backend, size):
    """A graph decides on the device when to refresh, so its replays do what calls do."""
    replays = REPLAYS if size == SIZES[0] and backend != "eager" else 50
    graphed, plain = schedule_of(backend), schedule_of(backend)
    sigma, other = graphed.sample(size), plain.sample(size)

    def step():
        sigma.copy_(graphed.advance(sigma, error_of(sigma)))

    replay = captured(step, 1, DEVICE)
    for _ in range(replays):
        replay()
    for _ in range(WARMUPS + replays):
        other.copy_(plain.advance(other, error_of(other)))
    assert torch.equal(sigma, other)
    assert_same_bits(graphed, plain)
    assert refreshes(plain) > replays // 14


@pytest.mark.cuda
@pytest.mark.parametrize("backend", KERNELS)
def test_reduce_overhead_makes_graphs_of_the_training_step(backend):
    """Inductor skips no CUDA graph for the mutated state, and the graphs train like plain calls."""
    torch._dynamo.reset()
    counters.clear()
    torch.manual_seed(0)
    schedule, plain = schedule_of(backend), schedule_of(backend)
    net = torch.nn.Linear(16, 16, device=DEVICE)
    x0 = torch.randn(64, 16, device=DEVICE)

    def step(schedule, sigma):
        error = (net(x0 + sigma.view(-1, 1)) - x0).square().mean(1)
        return error.mean(), schedule.advance(sigma, error_of(sigma))

    fast = torch.compile(step, mode="reduce-overhead", fullgraph=True)
    sigma, other = schedule.sample(64), plain.sample(64)
    for _ in range(40):
        torch.compiler.cudagraph_mark_step_begin()
        loss, drawn = fast(schedule, sigma)
        sigma = drawn.clone()  # the graph's own memory is written again by the next step
        loss.backward()
        other = plain.advance(other, error_of(other))
        torch.testing.assert_close(sigma, other, rtol=1e-6, atol=0)
    assert counters["inductor"]["cudagraph_skips"] == 0
    assert torch.equal(schedule.state.count, plain.state.count)
    assert refreshes(schedule) == refreshes(plain) > 3
    assert graphs_recorded() > 0


def graphs_recorded():
    """How many CUDA graphs Inductor has recorded on this device."""
    from torch._inductor.cudagraph_trees import get_manager

    manager = get_manager(torch.cuda.current_device(), create_if_none_exists=False)
    return 0 if manager is None else manager.new_graph_id().id
