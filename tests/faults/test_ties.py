"""Rates that are equal but for rounding, as those of bins filled below the lowest measured one."""

import pytest
import torch
from support import OPS, call, generator, make_state


@pytest.mark.parametrize("backend", ["compiled", "eager", "reference", "triton"])
@pytest.mark.parametrize("seed", range(6))
def test_valley_is_the_lowest_measured_bin_when_the_bins_below_share_its_rate(backend, seed):
    """Not whichever of them rounding made the least: the pivot of one state moved fourfold by that."""
    lowest, bins = 8, 32
    state = make_state(1, bins=bins, capacity=4, seed=seed, min_count=1, coverage=0.01)
    k = torch.arange(bins, dtype=torch.float64)
    peak = torch.exp(-(((k - 18) / 4) ** 2)) * (100 + torch.rand(bins, generator=generator(seed)))
    rate = peak + 1 + (k - lowest).clamp(min=0) * 0.01
    state["ring"][0, lowest:, 0] = (rate * state["grid"][1, :-1].square()).float()[lowest:]
    state["count"][0, lowest:] = 1
    moments = call(OPS[backend], "bin_stats", state)
    call(OPS[backend], "refresh_", state, moments)
    assert float(state["stats"][0, 0]) == pytest.approx(float(state["grid"][1, lowest]), rel=1e-12)
