"""Refreshes of many bins, whose sums go through one tree on the CPU and the GPU."""

import pytest
import torch
from support import OPS, assert_same_bits, assert_same_state, call, copy_of, generator, make_state
from support.emulated import Emulated
from support.parity import rough_moments

RULES = [(1, 0.002, 0), (2, 0.02, 1), (2, 1e-6, 3), (0, 0.3, 4)]
"""Pivot rule, its value, signal: the onset, a line, the knee where no line fits, a number."""


def rough(bins, rule, value, signal):
    least = min(300, 20 * bins)
    rules = {"pivot_rule": rule, "pivot_value": value, "signal": signal, "min_count": least}
    state = make_state(1 if bins > 1000 else 3, bins=bins, **rules)
    return state, rough_moments(state, generator(bins), 0.2)


@pytest.mark.parametrize("bins", [31, 1025, 4096])
@pytest.mark.parametrize(("rule", "value", "signal"), RULES)
def test_the_tree_adds_what_torch_adds(bins, rule, value, signal):
    state, moments = rough(bins, rule, value, signal)
    expected = copy_of(state)
    call(OPS["eager"], "refresh_", expected, moments)
    call(OPS["compiled"], "refresh_", state, moments)
    assert_same_state(state, expected)
    assert (state["counters"][:, 2] == 1).all()
    assert (state["cdf"].diff() >= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("threads", [64, 512])
@pytest.mark.parametrize("bins", [20, 300, 1025, 4096])
@pytest.mark.parametrize(("rule", "value", "signal"), RULES)
def test_a_block_finds_the_bits_of_one_thread(emulated, bins, rule, value, signal, threads):
    """Of any size: only exp, log and pow may differ on a GPU, and here they are the same."""
    state, moments = rough(bins, rule, value, signal)
    expected = copy_of(state)
    call(OPS["compiled"], "refresh_", expected, moments)
    call(Emulated(emulated, 2, threads=threads), "refresh_", state, moments)
    assert_same_bits(state, expected)


def test_running_sums_do_not_fall_without_a_floor():
    """Masses of all sizes, which no order of addition rounds alike."""
    state = make_state(bins=1000, floor=0, pivot_rule=0, pivot_value=0.01, signal=1)
    moments = rough_moments(state, generator(5), 0)
    state["grid"][2, :-1] = 10 ** (40 * torch.rand(1000, generator=generator(6), dtype=torch.float64) - 20)
    call(OPS["compiled"], "refresh_", state, moments)
    assert (state["cdf"].diff() >= 0).all()
    assert state["counters"][0, 2] == 1


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [1, 6, 40, 64, 300])
def test_moments_of_rings_are_the_cpus_bits(emulated, capacity):
    """Rings full or not, of losses of all sizes, denormal ones and zeros among them: the sums are not exact."""
    state, g = make_state(2, bins=9, capacity=capacity), generator(capacity)
    state["ring"].copy_(10 ** (60 * torch.rand(2, 9, capacity, generator=g, dtype=torch.float64) - 45))
    state["ring"][torch.rand(2, 9, capacity, generator=g) < 0.2] = 0
    state["count"].random_(0, 2 * capacity + 1, generator=g)
    wanted = call(OPS["compiled"], "bin_stats", state)
    assert torch.equal(call(Emulated(emulated, 3), "bin_stats", state), wanted)
