"""Whether ops with a planted bug go wrong where the right ones do not."""

import math

import torch

from infonoise_ext.ops.schemas import SIGNALS

from . import generator, make_state, random_batch
from .parity import Parity, assert_same_loss, batch_of, pair_of


def step_goes_wrong(made, seed):
    """Whether steps, strata or draws go wrong, by ops that `made(tile=size)` gives.

    Of one step the tiles have more samples than threads; of another one bin gets all, and the last tile holds four of
    the five that stay.
    """
    signal = SIGNALS.index("mmse")
    state = make_state(2, bins=12, capacity=5, warmup=1, refresh_every=1, min_count=20, signal=signal)
    op = made(tile=64)
    run, batch = Parity([op], state), batch_of(state, 260, generator(seed))
    try:
        run("advance_", *batch, 260, torch.arange(260) % 2)
        alone = make_state(1, bins=12, warmup=1, refresh_every=1, min_count=20)
        Parity([op], alone)("advance_", *batch_of(alone, 260, generator(seed)), 9, None)
        run("observe_", torch.ones(260), torch.arange(260.0), torch.arange(260) < 212, None)
        crowded = make_state(bins=400, low=0.5, high=2.0)
        Parity([made(tile=160)], crowded)("observe_", *random_batch(crowded, 300, generator(seed)), None, None)
        Parity([op], make_state(2, stratified=1))("sample_", 260, torch.arange(260) % 2)
        Parity([op], make_state(bins=3000, seed=seed))("sample_", 500, None)
    except (AssertionError, RuntimeError):
        return True
    return False


def loss_goes_wrong(op, seed):
    """Whether the ops raise or differ from the reference, on samples of several sizes, one of them left out."""
    for size in (6, 700, 1504, 1505):
        a, b = pair_of((2, size), seed=seed)
        grad = torch.tensor([0.0, 1.0])
        try:
            assert_same_loss([op], grad, a, b)
            a[0] = math.nan
            assert torch.equal(op.denoising_error_backward(grad, a, b)[0], torch.zeros(size))
        except (AssertionError, RuntimeError):
            return True
    return False
