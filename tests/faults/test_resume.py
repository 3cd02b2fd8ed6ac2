"""Resuming at any point, and what re-binning preserves."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import assert_same_bits, generator
from support.runs import gaussian_mmse

import infonoise_ext as inx


def run(schedule, steps, sigma, group, fused, seed):
    """A loop of one call or of micro-batches; returns every sigma that was drawn."""
    g, drawn = generator(seed), []
    for _ in range(steps):
        error = gaussian_mmse(sigma) * torch.randn(len(sigma), 4, generator=g).square().mean(1)
        if fused:
            sigma = schedule.advance(sigma, error, group=group, next_group=group)
        else:
            for part in (slice(0, 5), slice(5, None)):
                schedule.observe(sigma[part], error[part], group=None if group is None else group[part])
            schedule.step()
            sigma = schedule.sample(len(sigma), group)
        drawn.append(sigma)
    return drawn


@settings(max_examples=15)
@given(
    before=st.integers(0, 25),
    batch=st.integers(1, 40),
    groups=st.integers(1, 3),
    sampling=st.sampled_from(["iid", "stratified"]),
    backend=st.sampled_from(["auto", "eager"]),
    weight=st.sampled_from([None, inx.EDMWeight(0.5)]),
    fused=st.booleans(),
    rank=st.integers(0, 2),
    seed=st.integers(-(2**63), 2**64 - 1),
)
def test_a_resumed_run_is_the_unbroken_run(
    before, batch, groups, sampling, backend, weight, fused, rank, seed, tmp_path_factory
):
    options = {
        "groups": groups, "sampling": sampling, "backend": backend, "weight": weight, "rank": rank, "world": 3,
        "bins": 12, "capacity": 8, "warmup": 5, "refresh_every": 4, "min_count": 1,
    }  # fmt: skip
    whole, resumed = inx.InfoNoise(seed=seed, **options), inx.InfoNoise(seed=0, **options)
    group = torch.arange(batch) % groups if groups > 1 else None
    sigma = whole.sample(batch, group)
    sigma = (run(whole, before, sigma, group, fused, 1) or [sigma])[-1]
    path = tmp_path_factory.getbasetemp() / "resume.pt"
    whole.save(path)
    resumed.load(path)
    for a, b in zip(*(run(s, 11, sigma, group, fused, 2) for s in (whole, resumed)), strict=True):
        assert torch.equal(a, b)
    assert_same_bits(resumed, whole)


def rate_integral(std, low, high):
    """Of mmse / sigma^2 per log sigma, in closed form: std^2 / (std^2 + sigma^2)."""
    return math.log(high / low) - 0.5 * math.log((std**2 + high**2) / (std**2 + low**2))


@settings(max_examples=40)
@given(
    old_bins=st.integers(24, 130),
    bins=st.integers(24, 130),
    std=st.floats(0.1, 3.0),
    low=st.sampled_from([0.002, 0.0031, 0.01]),
    high=st.sampled_from([20.0, 77.0, 80.0]),
)
def test_rebinning_keeps_the_table_and_the_information(old_bins, bins, std, low, high):
    """The cdf at the new edges is the old one; the integral of the rate moves by less than 3%.

    A bin of the widest grid here spans 0.44 in log sigma, and estimates are log-linear between centres:
    3% is what that interpolation and the midpoint rule are good for.
    """
    old = inx.InfoNoise(bins=old_bins, seed=1)
    old.state.mmse.copy_(gaussian_mmse(old.state.row("sigma"), std))
    mass = torch.rand(old_bins, generator=generator(old_bins), dtype=torch.float64)
    old.state.cdf[0, 1:] = (mass.cumsum(0) / mass.sum()).clamp(max=1)
    old.state.cdf[0, -1] = 1
    new = inx.InfoNoise(low, high, bins=bins)
    if (old_bins, 0.002, 80.0) == (bins, low, high):
        return
    with pytest.warns(UserWarning, match="re-binned"):
        new.load_state_dict(old.state_dict())
    edges = new.state.edges
    before = old.table()
    ends = before.below(edges[[0, -1]])
    expected = (before.below(edges) - ends[0]) / (ends[1] - ends[0])
    torch.testing.assert_close(new.state.cdf[0], expected, rtol=0, atol=1e-6)
    fine = torch.linspace(math.log(low), math.log(high), 2000, dtype=torch.float64).exp()
    moved = (new.table().below(fine) - (before.below(fine) - ends[0]) / (ends[1] - ends[0])).abs().max()
    assert moved <= new.state.cdf[0].diff().max() + 1e-6  # within a new bin only
    rate = new.state.mmse[0] / new.state.row("sigma").square()
    assert (new.state.mmse[0] >= 0).all()
    assert float(rate.sum()) * new.config.width == pytest.approx(rate_integral(std, low, high), rel=0.03)
