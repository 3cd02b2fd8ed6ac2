"""The judges of denoisers trained on two modes: on denoisers whose errors are known."""

import json
import math

import pytest
import torch
from support import generator

import infonoise_ext as inx
from experiments.highdim import mixture
from experiments.highdim.learned import __main__ as experiment
from experiments.highdim.learned import grids, judge, train
from infonoise_ext.oracle import TwoModes


@pytest.mark.parametrize("d", [16, 64])
def test_exact_denoiser_has_the_errors_of_the_sampler_alone(d):
    """Its sign is a monotone function of the stratified noise: one sample may fall either side of the border.

    The variance is a mean of n (d - 1) squared normals: 5 standard deviations, false alarms below 1e-6.
    """
    model, n = TwoModes(d), 1000
    found = judge.sampled(judge.exact(model), 1, model, n)
    weight, ratio = mixture.Mixture(d).sampled(judge.fine_grid(model), "heun")
    assert abs(float(found["weight"]) - (weight - model.p)) < 2 / n
    assert float(found["weight_error"]) < 1 / n
    assert abs(float(found["variance"]) - (ratio - 1)) < 5 * ratio * math.sqrt(2 / (n * (d - 1)))
    assert all(float(value) < 1e-10 for value in judge.excess(judge.exact(model), 1, model, 4, 50).values())


def test_excess_of_an_offset_is_its_square_over_the_mmse():
    """Along mu it is all in the odds, across mu nothing of it is; each arm gets its own."""
    model, levels = TwoModes(16), 5
    along = 0.3 * torch.ones(16)
    across = 0.2 * torch.tensor([1.0, -1.0]).repeat(8)

    def denoise(y, sigma):
        return judge.exact(model)(y, sigma) + torch.stack((along, across)).unsqueeze(1)

    found = judge.excess(denoise, 2, model, levels, 20)
    squares = torch.tensor([16 * 0.3**2, 16 * 0.2**2], dtype=torch.float64)
    for name, (low, high) in judge.windows(model).items():
        sigma = torch.logspace(math.log10(low), math.log10(high), levels, dtype=torch.float64)
        torch.testing.assert_close(found[name], squares / model.mmse(sigma).mean(), rtol=1e-5, atol=0)
        if name == "mode":
            torch.testing.assert_close(found["odds"][0], found["mode"][0], rtol=1e-5, atol=0)
    assert float(found["odds"][1]) < 1e-10


def test_weight_and_its_standard_error_where_every_sample_tosses_a_coin():
    """The mode is the sign of a coordinate across mu: 5 standard deviations of n fair coins, and of their spread."""
    model, n = TwoModes(8), 2000

    def denoise(y, sigma):
        return (y[..., :1] - y[..., 1:2]).sign().expand_as(y)

    found = judge.sampled(denoise, 1, model, n)
    error = 0.5 / math.sqrt(n)
    assert abs(float(found["weight"]) + model.p - 0.5) < 5 * error
    assert abs(float(found["weight_error"]) / error - 1) < 5 / math.sqrt(n)


def test_shares_of_a_log_uniform_density():
    """Of samples, 5 standard deviations of a share; of mass on a fine table, to the width of its bins."""
    model, n = TwoModes(256), 40_000
    density = inx.LogUniform(train.SIGMA_MIN, train.TOP * 16)
    log_range = math.log(train.TOP * 16 / train.SIGMA_MIN)
    expected = {"mode": math.log(9) / log_range, "place": math.log(25) / log_range}
    sampled = judge.shares(density.sample(n, generator=generator(3)).unsqueeze(0), model)
    centres = torch.logspace(math.log10(train.SIGMA_MIN), math.log10(train.TOP * 16), 20_001, dtype=torch.float64)
    weighted = judge.shares(centres, model, torch.ones_like(centres))
    for name, share in expected.items():
        assert abs(float(sampled[name][0]) - share) < 5 * math.sqrt(share * (1 - share) / n)
        assert abs(float(weighted[name]) - share) < 2e-4


def test_noise_is_standard_normal_and_stratified_along_mu():
    noise = judge.noises(TwoModes(16), 500, generator(4))
    quantile = torch.special.ndtr(noise.double().sum(1) / 4)
    assert ((quantile * 500 - torch.arange(500)).clamp(0, 1) - (quantile * 500 - torch.arange(500))).abs().max() < 1e-3
    across = (noise - noise.mean(1, keepdim=True)).double().square().sum()
    freedom = 500 * 15
    assert abs(float(across) / freedom - 1) < 5 * math.sqrt(2 / freedom)  # false alarms below 1e-6


def test_errors_in_the_rings_have_the_exact_mmse_and_spread():
    """Means against the oracle, 5 standard errors; second moments against errors drawn in all d dimensions."""
    model, n = TwoModes(64), 20_000
    sigma = torch.tensor([0.3, 3.0, 8.0, 30.0], dtype=torch.float64).unsqueeze(1)
    errors = grids.exact_errors(model, sigma.expand(-1, n), generator(5))
    assert ((errors.mean(1) - model.mmse(sigma.squeeze(1))).abs() < 5 * errors.std(1) / math.sqrt(n)).all()
    for level, drawn in zip(sigma.flatten(), errors, strict=True):
        x0 = model.sample(n, generator(6))
        y = x0 + level * torch.randn(x0.shape, generator=generator(7), dtype=torch.float64)
        direct = (x0 - model.denoise(y, level)).square().sum(1).square()
        error = math.sqrt(float(direct.var() + drawn.square().var()) / n)
        assert abs(float(direct.mean() - drawn.square().mean())) < 5 * error


def test_grids_of_the_exact_profile():
    """The shares by the mmse itself; the steps within a rung of those in docs/research/high-dimension.md."""
    model = TwoModes(1024)
    found = grids.grids_of(grids.exact_profile(model, 512), model)
    top = torch.tensor([train.TOP * 32], dtype=torch.float64)
    for name, ends in judge.windows(model).items():
        low, high = model.mmse(torch.tensor(ends, dtype=torch.float64))
        assert abs(found["mmse"][name] - float((high - low) / model.mmse(top))) < 0.01
    assert found["mmse"]["steps"][0] in (20, 24, 28)
    assert found["mmse"]["steps"][1] in (216, 256, 304)
    assert found["length"]["steps"][0] < 40 < found["length"]["steps"][1] < 216


def test_arms_trained_side_by_side_are_separate_runs():
    """Alone and beside another arm: the same start, samples, noise and levels, and so the same denoiser."""
    model = TwoModes(8)
    builds = [train.ARMS["length"], train.ARMS["EDM"]]
    both, _, levels = train.train(model, builds, 8, 2)
    for i, build in enumerate(builds):
        alone, _, level = train.train(model, [build], 8, 2)
        torch.testing.assert_close(level[0], levels[i], rtol=1e-5, atol=0)
        for ours, theirs in zip(alone.parameters(), both.parameters(), strict=True):
            torch.testing.assert_close(ours[0], theirs[i], rtol=1e-3, atol=1e-5)
    starts = [parameter[0] != parameter[1] for parameter in both.parameters()]
    assert any(bool(different.any()) for different in starts)


@pytest.mark.slow
def test_short_run_goes_end_to_end(tmp_path, monkeypatch):
    plan = {"d": [8], "steps": 3, "seeds": [0], "unit": [], "settled": [8], "profiles": [8], "capacities": []}
    monkeypatch.setattr(experiment, "SHORT", plan)
    monkeypatch.setattr("sys.argv", ["learned", "--short", "--out", str(tmp_path / "numbers.json")])
    experiment.main()
    results = json.loads((tmp_path / "numbers.json").read_text())
    rows = experiment.table(results).splitlines()
    assert len(rows) == 2 + len(train.ARMS) + 1
    for name in train.ARMS:
        arm = results["runs"][0]["arms"][name]
        assert all(math.isfinite(value) for key, value in arm.items() if key != "grids")
        assert ("grids" in arm) == (name in train.LEARNED)
    assert len(experiment.settled_table(results).splitlines()) == 2 + len(train.ARMS)
    assert len(experiment.grids_table(results).splitlines()) == 2 + 1 + len(train.LEARNED)
    assert (tmp_path / "numbers.png").stat().st_size > 10_000
