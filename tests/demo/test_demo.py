import itertools
import json
import math

import numpy as np
import pytest
import torch
from support import generator
from support.oracle import learnable_density

pytest.importorskip("matplotlib")
pytest.importorskip("tqdm")

from infonoise_ext import demo, oracle
from infonoise_ext.demo import arms, bound, denoiser, dna, report, train


@pytest.fixture(scope="module")
def grammar():
    return dna.DNAGrammar()


@pytest.fixture(scope="module")
def short():
    """Six letters, two made-up motifs of two letters at starts 0 and 4, and all 4^6 sequences with their p."""
    motifs = {"a": np.array([[0.7, 0.1, 0.1, 0.1], [0.05, 0.05, 0.8, 0.1]]), "b": np.full((2, 4), 0.25)}
    small = dna.DNAGrammar(6, {name: torch.from_numpy(motif) for name, motif in motifs.items()})
    codes = np.array(list(itertools.product(range(4), repeat=6)))
    p = np.zeros(len(codes))
    for motif, start in itertools.product(motifs.values(), (0, 4)):
        term = np.ones(len(codes))
        for position in range(6):
            planted = start <= position < start + 2
            row = motif[position - start] if planted else np.array([0.3, 0.2, 0.2, 0.3])
            term *= row[codes[:, position]]
        p += term / 4
    return small, torch.from_numpy(codes), p


def test_log_likelihood_is_that_of_enumeration(short):
    small, codes, p = short
    assert abs(p.sum() - 1) < 1e-12
    for form in (codes, dna.one_hot(codes)):
        np.testing.assert_allclose(small.log_likelihood(form).exp().numpy(), p, rtol=1e-12)
    assert torch.equal(dna.letters(dna.one_hot(codes)), codes)


def test_posterior_mean_is_that_of_enumeration(short):
    small, codes, p = short
    clean = dna.one_hot(codes).double().numpy()
    sigma = np.array([0.3, 0.7, 1.5, 6.0])
    noisy = clean[[5, 1000, 2000, 4000]] + sigma[:, None] * np.random.default_rng(3).normal(size=(4, 24))
    distance = ((noisy[:, None] - clean) ** 2).sum(2)
    weight = p * np.exp(-(distance - distance.min(1, keepdims=True)) / (2 * sigma[:, None] ** 2))
    expected = weight @ clean / weight.sum(1, keepdims=True)
    answer = small.posterior_mean(torch.from_numpy(noisy), torch.from_numpy(sigma))
    np.testing.assert_allclose(answer.numpy(), expected, rtol=0, atol=1e-9)


def test_samples_follow_the_probabilities(short):
    small, _, p = short
    n = 200_000
    drawn = dna.letters(small.sample(n, generator(4)))
    index = (drawn * 4 ** torch.arange(5, -1, -1)).sum(1)
    counts = np.bincount(index.numpy(), minlength=4**6)
    common = n * p > 20
    chi2 = ((counts - n * p) ** 2 / (n * p))[common].sum()
    degrees = common.sum()
    assert abs(chi2 - degrees) < 5 * math.sqrt(2 * degrees)  # false alarm below 1e-5


def test_shipped_motifs_have_the_known_entropy(grammar):
    assert len(grammar.slots) == 50
    assert grammar.table.shape == (50, 32, 4)
    torch.testing.assert_close(grammar.table.sum(-1), torch.ones(50, 32, dtype=torch.float64))
    # 36.007 is a Monte Carlo value of 800,000 sequences, standard error 0.004. False alarm 6e-7.
    mean, error = grammar.entropy(50_000, seed=8)
    assert abs(mean - 36.007) < 5 * math.hypot(error, 0.004)


def test_hypercube_sum_rule():
    for bins in (50, 100, 200):
        sigma, width = bound.log_grid(0.002, 80.0, bins)
        nats = bound.entropy_bound(sigma, 64 * oracle.TwoPoint().mmse(sigma), width, variance=64.0)
        assert abs(nats - 64 * math.log(2)) < 2e-4


def test_denoisers_integrate_to_the_entropies(grammar):
    """The exact one to that of the data, the product of marginals to the sum of theirs.

    Independent held-out sets give mean and standard error; 7 degrees of freedom, 6 errors: false alarm 6e-4 each.
    """
    sets = [bound.HeldOut(grammar, samples=100, seed=seed) for seed in range(8)]
    exact = torch.tensor([test.bound(grammar.posterior_mean) for test in sets])
    product = torch.tensor([36.007 + test.gap(grammar.marginal_denoiser) for test in sets])
    marginals = torch.special.entr(grammar.marginal).sum().item()
    for nats, expected in ((exact, 36.007), (product, marginals)):
        error = (nats.std() / math.sqrt(8)).item()
        assert error < 0.15
        assert abs(nats.mean().item() - expected) < 6 * error
    assert all(test.gap(grammar.posterior_mean) < 1e-6 for test in sets)


def test_gap_counts_the_better_denoiser_at_each_sigma(grammar):
    test = bound.HeldOut(grammar, samples=20)
    useless = test.gap(lambda x, sigma: torch.ones_like(x))
    assert useless == pytest.approx(test.gap(grammar.marginal_denoiser), rel=1e-6)


def test_denoiser_answers_letter_probabilities():
    torch.manual_seed(5)
    net = denoiser.PosteriorMLP()
    sigma = torch.logspace(-2.6, 1.9, 60)
    noisy = dna.DNAGrammar().sample(60) + sigma.unsqueeze(1) * torch.randn(60, 128)
    uniform = 2 * (2 * noisy / sigma.square().unsqueeze(1)).view(60, 32, 4).softmax(-1).flatten(1) - 1
    torch.testing.assert_close(net(noisy, sigma), uniform)
    torch.nn.init.normal_(net.leave.weight)
    answer = net(noisy, sigma)
    assert not torch.allclose(answer, uniform, atol=0.1)
    assert answer.abs().max() <= 1
    torch.testing.assert_close(answer.view(60, 32, 4).sum(-1), torch.full((60, 32), -2.0), rtol=0, atol=1e-5)


def test_sampler_reaches_the_data_with_the_exact_denoiser(grammar):
    class Exact(torch.nn.Module):
        def forward(self, x, sigma):
            return grammar.posterior_mean(x, sigma).float()

    x = denoiser.heun_samples(Exact(), 400, generator(6))
    nll = -grammar.log_likelihood(x)
    # Standard error 0.2 nats; 18 Heun steps add a bias below 1.
    assert abs(nll.mean().item() - 36.0) < 2


def test_importance_weights_leave_the_objective_alone():
    torch.manual_seed(7)
    schedule = arms.SecondMoment(bins=20, history=8)
    sigma = schedule.sample(2000)
    schedule.observe(sigma, sigma.square() / (1 + sigma.square()) * torch.rand(2000) * 2)
    before = schedule.probability.clone()
    schedule.step()
    assert (schedule.probability / before).max() > 2
    assert schedule.probability.sum().item() == pytest.approx(1)
    edges, _ = bound.log_grid(arms.SIGMA_MIN, arms.SIGMA_MAX, 20)
    for test_function in (torch.ones_like, torch.square, torch.cos):
        value = test_function(edges.float())
        sampled = (schedule.probability * schedule.weight(edges.float()) * value).sum()
        plain = (schedule.base_weight(edges.float()) * value).double().mean()
        torch.testing.assert_close(sampled, plain, rtol=1e-5, atol=0)
    counts = torch.bincount(schedule.bins(schedule.sample(100_000)), minlength=20)
    expected = 100_000 * schedule.probability
    assert ((counts - expected).abs() < 5.5 * expected.sqrt() + 1).all()  # false alarm below 1e-6
    fine, width = bound.log_grid(arms.SIGMA_MIN, arms.SIGMA_MAX, 2000)
    assert (schedule.table().density(fine) * fine).sum().item() * width == pytest.approx(1)


def test_importance_probability_is_the_root_mean_square():
    schedule = arms.SecondMoment(bins=2, history=2, uniform=0.0)
    middle = torch.tensor([0.01, 10.0])
    for error in ([3.0, 5.0], [3.0, 500.0], [4.0, 100.0], [0.0, 700.0]):
        schedule.observe(middle, torch.tensor(error) / schedule.base_weight(middle))
        schedule.step()
    root = torch.tensor([8.0, 250_000.0]).sqrt().double()
    torch.testing.assert_close(schedule.probability, root / root.sum())


def test_infonoise_finds_what_is_learnable(grammar):
    """Total variation to the density of the exact denoiser's errors; log-uniform itself is 0.8 away."""
    run = train.train_arm("infonoise", 300, evaluations=2, held_out=20, generated=20)
    test = bound.HeldOut(grammar, samples=300, bins=60, sigma_min=0.01)
    mmse = (test.exact_rate() * test.sigma.square()).numpy() / grammar.dim
    rate, _ = learnable_density(test.sigma.numpy(), mmse, test.variance / grammar.dim)
    rate = np.interp(np.log(run["sigma"]), test.sigma.log().numpy(), rate, left=0.0)
    density = np.array(run["density"])
    uniform = np.ones_like(density)
    apart = [np.abs(one / one.sum() - rate / rate.sum()).sum() / 2 for one in (density, uniform)]
    print(apart)
    assert apart[0] < 0.3
    assert apart[1] > 0.75
    assert run["gap"][1] < run["gap"][0] < 9


def test_runs_repeat():
    settings = {"evaluations": 1, "held_out": 4, "generated": 4}
    first, again, other = (train.train_arm("moment", 3, seed, **settings) for seed in (1, 1, 2))
    assert first["gap"] == again["gap"] != other["gap"]


def test_steps_to_interpolates_log_gap():
    run = {"step": [100, 200, 300], "gap": [8.0, 2.0, 1.0]}
    assert report.steps_to(run, 4.0) == pytest.approx(150)
    assert report.steps_to(run, 9.0) == 100
    assert report.steps_to(run, 1.0) == pytest.approx(300)
    assert report.steps_to(run, 0.5) is None


def test_table_says_what_was_not_reached():
    def run(name, seed, last):
        return {"name": name, "seed": seed, "step": [100, 200], "gap": [8.0, last], "steps": 200} | {
            "sample_nll": 40.0, "motif_rate": 0.5,
        }  # fmt: skip

    gaps = {"infonoise": 2.0, "edm": 4.0, "loguniform": 6.0, "oracle": 1.0, "moment": 5.0}
    runs = [run(name, seed, gap + seed) for name, gap in gaps.items() for seed in (1, 0)]
    summary = report.summarize(runs, 36.0)
    assert summary["best_fixed"] == "oracle"
    assert summary["arms"]["infonoise"]["gap"] == [2.0, 3.0]
    assert summary["arms"]["infonoise"]["steps_to_edm"] == pytest.approx(
        [150, 100 + 100 * math.log(1.6) / math.log(8 / 3)]
    )
    assert summary["arms"]["infonoise"]["steps_to_best"] == [None, None]
    table = report.format_table(summary).splitlines()
    assert "not reached" in next(line for line in table if line.startswith("InfoNoise"))
    assert "2.50 ± 0.71" in next(line for line in table if line.startswith("InfoNoise"))


@pytest.mark.slow
def test_main_writes_figure_and_numbers(tmp_path, capfd):
    assert demo.main(["--quick", "--out", str(tmp_path / "new"), "--workers", "2"]) == 0
    out = capfd.readouterr().out
    for arm in arms.ARMS.values():
        assert arm.label in out
    assert (tmp_path / "new" / "demo.png").read_bytes()[:4] == b"\x89PNG"
    record = json.loads((tmp_path / "new" / "demo.json").read_text())
    assert {run["name"] for run in record["runs"]} == set(arms.ARMS)
    assert all(np.isfinite(run["gap"]).all() for run in record["runs"])
    assert record["summary"]["entropy"] == pytest.approx(36.0, abs=0.2)


@pytest.mark.parametrize("bad", ["--steps", "--seeds", "--workers"])
def test_bad_options_are_refused(bad, capsys):
    with pytest.raises(SystemExit):
        demo.main([bad, "0"])
    assert bad in capsys.readouterr().err


def test_importance_sampling_of_another_range_and_objective():
    schedule = arms.SecondMoment(bins=2, history=1, uniform=0.0, sigma_min=0.1, sigma_max=10.0, base=torch.square)
    torch.testing.assert_close(schedule.table().edges, torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64))
    schedule.observe(torch.tensor([0.5, 2.0]), torch.tensor([4.0, 0.75]))
    schedule.step()
    torch.testing.assert_close(schedule.probability, torch.tensor([0.25, 0.75], dtype=torch.float64))
    torch.testing.assert_close(schedule.weight(torch.tensor([0.5, 2.0])), torch.tensor([0.5, 4.0 / 1.5]))
