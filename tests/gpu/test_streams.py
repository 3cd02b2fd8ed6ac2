"""Ops run on the stream and the device that torch says, and on no other."""

import pytest
import torch
from support import BACKENDS, DEVICE, assert_same_bits

import infonoise_ext as inx

KERNELS = ["auto", "eager", *(["triton"] if "triton" in BACKENDS else [])]
LONG = 50_000_000
"""Cycles that keep a stream busy for tens of milliseconds."""
SIZES = (1000, 70_000)
pytestmark = pytest.mark.cuda


def run(schedule, sigma, steps):
    for _ in range(steps):
        sigma = schedule.advance(sigma, sigma.square() / (1 + sigma.square()))
    return sigma


def two(backend, **options):
    return (inx.InfoNoise(device=DEVICE, backend=backend, seed=s, warmup=3, refresh_every=2, **options) for s in (1, 2))


@pytest.mark.parametrize("backend", KERNELS)
@pytest.mark.parametrize("size", SIZES)
def test_an_op_waits_for_its_stream(backend, size):
    """The inputs are written late on a busy stream: an op on another one would read NaN."""
    late, plain = (inx.InfoNoise(device=DEVICE, backend=backend, seed=3) for _ in range(2))
    truth = plain.sample(size)
    run(inx.InfoNoise(device=DEVICE, backend=backend, seed=4), truth, 1)  # compiles what is compiled late
    wanted = run(plain, truth, 2)
    late.sample(size)
    sigma = torch.full((size,), torch.nan, device=DEVICE)
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(LONG)
        sigma.copy_(truth)
        drawn = run(late, sigma, 2)
    side.synchronize()
    assert torch.equal(drawn, wanted)
    assert torch.equal(late.state.count, plain.state.count)
    assert int(late.state.count.sum()) == 2 * size


@pytest.mark.parametrize("backend", KERNELS)
@pytest.mark.parametrize("size", SIZES)
def test_two_streams_with_two_schedules(backend, size):
    """At once they do what each does alone."""
    together, alone = list(two(backend)), list(two(backend))
    starts = [schedule.sample(size) for schedule in alone]
    wanted = [run(schedule, start, 20) for schedule, start in zip(alone, starts, strict=True)]
    streams = [torch.cuda.Stream() for _ in together]
    drawn = [schedule.sample(size) for schedule in together]
    torch.cuda.synchronize()
    for _ in range(20):
        for i, (schedule, stream) in enumerate(zip(together, streams, strict=True)):
            with torch.cuda.stream(stream):
                drawn[i] = run(schedule, drawn[i], 1)
    torch.cuda.synchronize()
    for i, (one, other) in enumerate(zip(together, alone, strict=True)):
        assert torch.equal(drawn[i], wanted[i])
        assert_same_bits(one, other)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("backend", KERNELS)
def test_a_schedule_on_another_device_than_the_current(backend):
    first, second = (inx.InfoNoise(device=f"cuda:{i}", backend=backend, seed=1) for i in (0, 1))
    with torch.cuda.device(0):
        wanted = run(first, first.sample(500), 5)
        drawn = run(second, second.sample(500), 5)
        assert torch.cuda.current_device() == 0
    assert drawn.device == torch.device("cuda:1")
    assert torch.equal(drawn.cpu(), wanted.cpu())
    with pytest.raises((ValueError, RuntimeError), match="device"):
        second.observe(wanted, wanted)
