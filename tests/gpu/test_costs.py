"""What a step may cost: launches, no waits, no copies, and its output as its only memory."""

import pytest
import torch
from support import BACKENDS, DEVICE

import infonoise_ext as inx
from benchmarks.gpu.timing import profiled

KERNELS = ["auto", *(["triton"] if "triton" in BACKENDS else [])]
WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy", "cudaMemcpyAsync")
pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True)
def _poisoned_empty():
    """Nothing is poisoned here: the fill would be a launch."""


def made(backend, size, **options):
    """A schedule that has made a few steps, the next step's inputs, and nothing left to compile."""
    schedule = inx.InfoNoise(device=DEVICE, backend=backend, seed=1, warmup=2, refresh_every=1, **options)
    groups = options.get("groups", 1)
    group = torch.arange(size, device=DEVICE) % groups if groups > 1 else None
    sigma = schedule.sample(size, group)
    error = sigma.square() / (1 + sigma.square())
    for _ in range(4):
        schedule.advance(sigma, error, group=group, next_group=group)
    schedule.observe(sigma, error, group=group)
    torch.cuda.synchronize()
    return schedule, sigma, error, group


def launches(function):
    with profiled() as (on_device, on_host):
        function()
    assert not [name for name in on_host if name in WAITS], on_host
    assert not [name for name in on_device if "Memcpy" in name], on_device
    return on_device


@pytest.mark.parametrize(("size", "number"), [(0, 1), (1, 1), (4096, 1), (2**16, 1), (2**16 + 1, 3), (2**20, 3)])
@pytest.mark.parametrize("groups", [1, 3])
def test_launches_of_cuda(cpp, size, groups, number):
    schedule, sigma, error, group = made("auto", size, groups=groups)
    done = launches(lambda: schedule.advance(sigma, error, group=group, next_group=group))
    assert len(done) == number + 2 * (groups > 1), done
    assert len(launches(lambda: schedule.observe(sigma, error, group=group))) == (number if size else 0)
    assert len(launches(lambda: schedule.sample(size, group))) == (1 if size else 0)


@pytest.mark.parametrize(("size", "groups", "number"), [(2048, 1, 1), (2048, 3, 3), (2049, 1, 7)])
def test_launches_of_triton(size, groups, number):
    schedule, sigma, error, group = made("triton", size, groups=groups)
    done = launches(lambda: schedule.advance(sigma, error, group=group, next_group=group))
    assert len(done) == number, done


@pytest.mark.parametrize("backend", [*KERNELS, "eager"])
@pytest.mark.parametrize("size", [256, 2**16 + 1])
def test_nothing_waits_for_the_device(backend, size):
    schedule, sigma, error, _ = made(backend, size)
    mask = sigma > 0.1
    schedule.observe(sigma, error, mask=mask)
    try:
        torch.cuda.set_sync_debug_mode("error")
        schedule.advance(sigma, error, mask=mask)
        schedule.observe(sigma, error, mask=mask)
        schedule.sample(size)
        schedule.step()
        schedule.refresh()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("size", "scratch"), [(256, 0), (2**16, 0), (2**20, 1)])
def test_a_step_allocates_its_output(cpp, size, scratch):
    """Beyond one launch one block of scratch memory too, which is given back at once."""
    schedule, sigma, error, _ = made("auto", size)
    before = torch.cuda.memory_stats()
    drawn = schedule.advance(sigma, error)
    after = torch.cuda.memory_stats()
    made_anew = after["allocation.all.allocated"] - before["allocation.all.allocated"]
    grown = after["requested_bytes.all.current"] - before["requested_bytes.all.current"]
    assert made_anew == 1 + scratch
    assert grown == drawn.numel() * drawn.element_size()


@pytest.mark.parametrize("backend", KERNELS)
def test_many_steps_need_no_more_memory_than_one(backend):
    schedule, sigma, error, _ = made(backend, 5000)
    drawn = schedule.advance(sigma, error)
    before = torch.cuda.memory_stats()["requested_bytes.all.current"]
    for _ in range(100):
        drawn = schedule.advance(sigma, error)
    assert torch.cuda.memory_stats()["requested_bytes.all.current"] == before
    assert drawn.numel() == 5000
