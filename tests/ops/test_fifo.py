"""Exact first-in-first-out rings under any batches, against `collections.deque`."""

from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import BACKENDS, OPS, call, make_state

EDGES = make_state(bins=4)["grid"][0]
LEVELS = st.floats(float(EDGES[0]), float(EDGES[-1]), width=32)
BATCH = st.lists(st.tuples(LEVELS, st.floats(0, 2.0**99, width=32), st.booleans()), max_size=40)


def oldest_first(ring, count):
    capacity = len(ring)
    return ring[:count].tolist() if count <= capacity else ring.roll(-(count % capacity)).tolist()


@pytest.mark.parametrize("backend", BACKENDS)
@given(batches=st.lists(BATCH, max_size=5), capacity=st.integers(1, 9))
def test_rings_hold_the_last_losses_in_order(backend, batches, capacity):
    state = make_state(bins=4, capacity=capacity)
    queues = [deque(maxlen=capacity) for _ in range(4)]
    for batch in batches:
        sigma, error = (torch.tensor([row[i] for row in batch], dtype=torch.float32) for i in (0, 1))
        mask = torch.tensor([row[2] for row in batch], dtype=torch.bool)
        call(OPS[backend], "observe_", state, sigma, error, mask, None)
        for s, e, keep in zip(sigma.tolist(), error.tolist(), mask.tolist(), strict=True):
            if keep:
                inside = [k for k in range(4) if s >= EDGES[k]]
                queues[inside[-1] if inside else 0].append(e)
    for k, queue in enumerate(queues):
        assert oldest_first(state["ring"][0, k], int(state["count"][0, k])) == list(queue)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_call_that_floods_a_bin_keeps_its_last_losses(backend):
    state = make_state(bins=4, capacity=256)
    error = torch.arange(1000.0)
    sigma = torch.full((1000,), float(state["grid"][1, 2]))
    call(OPS[backend], "observe_", state, sigma, error, None, None)
    assert oldest_first(state["ring"][0, 2], 1000) == list(range(744, 1000))
    assert state["count"][0].tolist() == [0, 0, 1000, 0]
