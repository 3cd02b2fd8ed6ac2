"""Schedules on the GPU train as those on the CPU do; `tests/ops/test_ops.py` compares every op there."""

import pytest
import torch
from support import BACKENDS, DEVICE, assert_same_sigma

import infonoise_ext as inx
from infonoise_ext.ops.schemas import SIGNALS


@pytest.mark.parametrize("backend", ["auto", "eager", *(["triton"] if "triton" in BACKENDS else [])])
@pytest.mark.parametrize("signal", SIGNALS)
def test_cpu_and_gpu_train_alike(backend, signal):
    """One seed, two devices, thirty steps: the same levels, and every loss in the same bin."""
    options = {"warmup": 5, "refresh_every": 4, "weight": inx.EDMWeight(0.5), "seed": 11, "signal": signal}
    here, there = inx.InfoNoise(**options), inx.InfoNoise(device=DEVICE, backend=backend, **options)
    sigma = here.sample(3000)
    assert_same_sigma(there.sample(3000).cpu(), sigma)
    for _ in range(30):
        error = sigma.square() / (1 + sigma.square())
        moved = there.advance(sigma.to(DEVICE), error.to(DEVICE))
        sigma = here.advance(sigma, error)
        assert_same_sigma(moved.cpu(), sigma)
    assert torch.equal(there.state.count.cpu(), here.state.count)
    assert torch.equal(there.state.ring.cpu(), here.state.ring)
    assert here.summary()["refreshes"] > 3
    assert there.summary()["refreshes"] == here.summary()["refreshes"]
