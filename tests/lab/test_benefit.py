"""The bench for training schedules: the sharpened density in closed form, runs that go on, what counts as level."""

import json
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from support import generator

import infonoise_ext as inx
from experiments.benefit import data, mixture, networks, rules, runs, scores, statistics, tables
from experiments.benefit.runs import Job
from experiments.benefit.train import moments, train

LOW, HIGH = rules.SIGMA_MIN, rules.SIGMA_MAX
EDGES = torch.logspace(math.log10(LOW), math.log10(HIGH), 65, dtype=torch.float64)


def fed(schedule, errors, steps=400, batch=512):
    """The schedule after so many steps on squared errors that `errors` gives for sigma."""
    for _ in range(steps):
        sigma = schedule.sample(batch)
        schedule.observe(sigma, errors(sigma))
        schedule.step()
    return schedule


def distance(table, per_log_sigma):
    """Total variation over the schedule's bins between its table and a density per unit log sigma over the floor."""
    fine = torch.logspace(math.log10(LOW), math.log10(HIGH), 64 * 50 + 1, dtype=torch.float64)
    wanted = per_log_sigma((fine[1:] * fine[:-1]).sqrt()).view(64, 50).sum(1)
    wanted = 0.95 * wanted / wanted.sum() + 0.05 / 64
    return float((table.mass(EDGES) - wanted).abs().sum()) / 2


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("std", [0.1, 0.5, 2.0])
def test_gaussian_data_are_sampled_by_a_power_of_sech(gamma, std):
    """Under EDM's weight; r = g = 1 / (1 + (sigma / std)^2), so the window is sech^4(ln(sigma / std)) / 16."""
    schedule = rules.Sharpened(inx.InfoNoise(LOW, HIGH, seed=1, weight=inx.EDMWeight(std)), 2, gamma)
    fed(schedule, lambda sigma: std**2 * sigma**2 / (std**2 + sigma**2))

    def wanted(sigma):
        return (sigma / std).log().cosh() ** (-4 * gamma)

    assert distance(schedule.table(), wanted) < 0.02
    assert distance(schedule.table(), lambda sigma: wanted(sigma * 1.18)) > 0.05  # moved by one bin
    assert distance(schedule.table(), lambda sigma: wanted(sigma) ** 1.5) > 0.05


def test_independent_bits_are_sampled_by_their_quadrature():
    """Squared errors of the exact denoiser of random bits, against mmse = 1 - E tanh(snr + sqrt(snr) z)."""
    random = generator(3)

    def errors(sigma):
        y = 1 + sigma * torch.randn(len(sigma), generator=random)
        return (1 - (y / sigma.square()).tanh()).square()

    def wanted(sigma):
        z = torch.linspace(-9, 9, 2001, dtype=torch.float64)
        weight = (-z.square() / 2).exp() / math.sqrt(2 * math.pi) * (z[1] - z[0])
        snr = sigma.pow(-2).clamp(max=700).unsqueeze(1)
        r = ((1 - (snr + snr.sqrt() * z).tanh()) * weight).sum(1).clamp(min=0) / sigma.square()
        rho = 1 / (1 + sigma.square())
        return r * (1 - r) * rho * (1 - rho)

    recorder = inx.InfoNoise(LOW, HIGH, seed=1, weight=inx.EDMWeight(1.0))
    schedule = fed(rules.Sharpened(recorder, 2, 1.0), errors, steps=1000)
    assert distance(schedule.table(), wanted) < 0.025
    assert distance(schedule.table(), lambda sigma: sigma.log().cosh() ** -4) > 0.035  # Gaussian data


def test_the_control_draws_the_rules_density_by_another_stream():
    def errors(sigma):
        return sigma**2 / (1 + sigma**2)

    control = fed(rules.Redrawn(inx.InfoNoise(LOW, HIGH, seed=1), 2), errors, steps=200)
    assert control.recorder.status == "active"
    assert torch.equal(control.table().cdf, control.recorder.table().cdf)
    drawn, own = control.sample(40_000), control.recorder.sample(40_000)
    assert not torch.equal(drawn, own)
    u = control.table().below(drawn).sort().values
    assert (u - (torch.arange(40_000) + 0.5) / 40_000).abs().max() < 1.95 / math.sqrt(40_000)  # Kolmogorov, p = .001


def test_arms_have_the_names_of_the_plan():
    job = type("Task", (), {"std": 0.5, "weight": None})
    assert rules.schedule("log-normal:0.1:0.25", job, 0).table().below(math.exp(0.1)) == pytest.approx(0.5, abs=0.02)
    assert float(rules.schedule("sharpened:3", job, 0).power) == 3
    assert rules.schedule("option:floor:0", job, 0).config.floor == 0
    assert rules.schedule("option:sampling:stratified", job, 0).config.sampling == "stratified"
    assert rules.schedule("EDM shifted", job, 0).density.mean == rules.schedule("EDM", job, 0).density.mean == -1.2
    with pytest.raises(KeyError):
        rules.schedule("nonsense", job, 0)


def test_moments_without_the_floor():
    narrow = inx.LogNormal(0.3, 0.4)
    own, mixed = moments(narrow), moments(rules.floored(EDGES, narrow.mass(EDGES)))
    assert mixed["std"] > 0.7
    assert rules.without_floor("sharpened:1", **mixed) == pytest.approx((0.3, 0.4), abs=0.01)
    assert rules.without_floor("EDM", **own) == pytest.approx((0.3, 0.4), abs=0.01)


def test_runs_of_a_seed_differ_by_the_stream_alone():
    first, again, other = (train("dna", "rule", 8, 0, stream, 2) for stream in (0, 0, 1))
    assert first["step"] == [4, 8]
    assert first["score"] == again["score"] != other["score"]


def test_a_comparison_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    trained = []

    def stand_in(data, arm, steps, seed, stream, checkpoints):
        trained.append(seed)
        return {"step": [steps], "score": [1.23456789 + seed], "mean": 0.0, "std": 1.0, "seconds": 0.1}

    monkeypatch.setattr(runs, "train", stand_in)
    monkeypatch.setattr(runs, "ProcessPoolExecutor", lambda processes, context: ThreadPoolExecutor(processes))
    path = tmp_path / "deep" / "lines.jsonl"
    jobs = [Job("dna", "EDM", 10, seed, 0, 1) for seed in range(3)]
    runs.run_all(jobs[:2], path, 1)
    whole = path.read_text()
    path.write_text(whole + whole[:40])  # stopped while it wrote
    found = runs.run_all(jobs[1:], path, 2)
    assert trained == [0, 1, 2]
    assert path.read_text().startswith(whole)
    assert [json.loads(line)["seed"] for line in path.read_text().splitlines()] == [0, 1, 2]
    assert [run["score"] for run in found] == [[2.2346], [3.2346]]


def run(arm, seed, *scores, stream=0):
    steps = [100 * (i + 1) for i in range(len(scores))]
    return {"data": "dna", "arm": arm, "steps": 400, "seed": seed, "stream": stream, "step": steps,
            "score": list(scores), "mean": 0.0, "std": 1.0}  # fmt: skip


def test_what_is_within_two_standard_errors_is_level():
    assert tables.effect({"mean": -0.1, "error": 0.051, "seeds": 3}, 3) == "level (-0.100 ± 0.051)"
    assert tables.effect({"mean": -0.1, "error": 0.049, "seeds": 3}, 3) == "-0.100 ± 0.049"
    assert tables.effect({"mean": -0.1, "error": None, "seeds": 1}, 3) == "one seed (-0.100)"


def test_differences_are_paired_by_seed_and_spread_is_of_streams():
    lines = [run("rule", 0, 5.0), run("rule", 0, 5.2, stream=1), run("rule", 1, 9.0), run("EDM", 0, 6.0),
             run("EDM", 1, 10.1), run("sharpened:1", 0, 4.0), run("sharpened:1", 1, 8.0)]  # fmt: skip
    (group,) = statistics.summary(lines)
    own, found = group["arms"]["rule"], group["arms"]["sharpened:1"]["to rule"]
    assert own["mean"] == pytest.approx((5.1 + 9.0) / 2)
    assert own["stream_sd"] == pytest.approx(math.sqrt(0.02))  # of 5 and 5.2; seeds are 4 apart
    assert found["mean"] == pytest.approx(-1.0)  # of -1 and -1, over the stream that both have
    # Two seeds that agree by chance have at least the spread of all arms' differences: those of EDM are 1 and 1.1.
    assert found["error"] == pytest.approx(math.sqrt(0.005 / 2) / math.sqrt(2))
    assert "to rule" not in own


def test_steps_to_a_score():
    edm, own = run("EDM", 0, 8.0, 4.0, 2.0, 1.0), run("sharpened:1", 0, 4.5, 1.5, 0.7, 0.5)
    assert statistics.steps_to(3.0, own["step"], own["score"]) == pytest.approx(100 * math.sqrt(2))
    assert statistics.steps_to(0.4, own["step"], own["score"]) is None
    assert statistics.log_ratios([own], [edm], 0.5) == pytest.approx([math.log(2) * 5 / 6])
    assert statistics.log_ratios([edm], [own], 1.0) == []
    results = {"groups": statistics.summary([edm, own, run("rule", 0, 7.0, 3.0, 1.5, 0.8)])}
    assert "| γ = 1 |" in tables.section(results["groups"][0])


def test_exact_denoiser_of_the_mixture():
    """Its squared error is the posterior variance that importance sampling from the mixture finds."""
    random = generator(5)
    share, mean = torch.tensor([0.3, 0.7]), torch.tensor([[1.0, 0.0], [-0.5, 0.3]])
    root = torch.randn(2, 2, 2, generator=random)
    exact = mixture.Mixture.of(share, mean, root @ root.mT + 0.1 * torch.eye(2))
    y, sigma = torch.tensor([[0.4, -0.2], [1.5, 0.8]]), torch.tensor([0.5, 1.3])
    x = exact.sample(400_000, random)
    for noisy, level, found in zip(y, sigma, exact.denoise(y, sigma), strict=True):
        weight = (-(x - noisy).square().sum(1) / (2 * level**2)).double().softmax(0)
        torch.testing.assert_close(found.double(), weight @ x.double(), atol=0.01, rtol=0)


@pytest.mark.parametrize("make", [lambda: networks.TextConvolutions(3, 8, (1, 2)), lambda: networks.BitsMLP(12, 16)])
def test_a_fresh_network_knows_uniform_independent_symbols(make):
    """Four letters of three: the posterior by enumeration of one symbol."""
    net, random = make(), generator(6)
    x, sigma = torch.randn(5, 12, generator=random), torch.linspace(0.4, 3, 5)
    size = getattr(net, "size", None)
    codes = 2 * torch.eye(size) - 1 if size else torch.tensor([[1.0], [-1.0]])
    symbols = x.unflatten(1, (-1, codes.shape[1]))
    square = (symbols.unsqueeze(2) - codes).square().sum(3)
    wanted = ((-square / (2 * sigma.square().view(-1, 1, 1))).softmax(2) @ codes).flatten(1)
    torch.testing.assert_close(net(x, sigma), wanted, atol=1e-5, rtol=1e-5)


def test_entropy_bound_of_independent_bits():
    """The score of the exact denoiser is the entropy: 60 fair bits and 60 of probability 0.9."""
    p = torch.cat([torch.full((60,), 0.5), torch.full((60,), 0.9)])
    rows = torch.where(torch.rand(40_000, 120, generator=generator(7)) < p, 1.0, -1.0)
    bits = data.Bits(rows, rows)
    entropy = -(p * p.log() + (1 - p) * (1 - p).log()).mean()
    score = scores.EntropyBound(bits, 0.12, 20.0, bins=40, samples=400)
    assert score(bits.independent) == pytest.approx(float(entropy), rel=0.01)
    assert score(lambda x, sigma: x) == pytest.approx(score(bits.independent))  # independent symbols are the worst
