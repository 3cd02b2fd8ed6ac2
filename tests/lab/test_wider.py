"""The wider bench's data, networks and arms: closed forms, covariance under scaling, what is recorded."""

import gzip
import math
from types import SimpleNamespace

import pytest
import torch
from support import generator

import infonoise_ext as inx
from experiments.benefit import (
    compare,
    debian,
    headline,
    plan,
    rules,
    samples,
    statistics,
    sweep,
    tables,
    tasks,
    variants,
    vectors,
    wider,
)
from experiments.benefit import transfer as transfers
from experiments.benefit.data import Text
from experiments.benefit.embeddings import EmbeddedBound, EmbeddedText, OneHotText, cross_entropy_step
from experiments.benefit.runs import Job
from infonoise_ext.curves.density import Schedule
from infonoise_ext.demo.train import train_step


def cloud(n=4000, dim=40, seed=1):
    """Correlated vectors, whose mean is not 0."""
    random = generator(seed)
    x = torch.randn(n, dim, generator=random) @ torch.randn(dim, dim, generator=random) / dim**0.5 + 0.3
    return vectors.scaled(x[n // 4 :], x[: n // 4])


def test_scaled_vectors_have_the_standard_deviation_that_they_tell():
    data = cloud()
    assert float(data.train.mean()) == pytest.approx(0, abs=1e-6)
    assert float(data.train.std()) == pytest.approx(data.std, rel=1e-3)


def test_latents_are_white():
    white = vectors.latents(cloud())
    assert white.dim == vectors.LATENTS
    torch.testing.assert_close(white.train.T.cov(), torch.eye(white.dim), atol=1e-4, rtol=0)
    spread = white.held_out.T.cov().diagonal()  # of 1000 others: standard error .045
    assert (spread - 1).abs().max() < 0.25


def test_frechet_distance_of_gaussians():
    """|m|^2 + d (1 - s)^2, in principal components that are all there are."""
    random = generator(2)
    real, x = torch.randn(40_000, 6, generator=random), torch.randn(40_000, 6, generator=random)
    judge = samples.Frechet(real[:20_000])
    wanted = 6 * 0.2**2 + 6 * 1.5**2
    assert judge(1.5 + 1.2 * x)["frechet_pca"] == pytest.approx(wanted, rel=0.02)
    assert judge(real[:20_000]) == pytest.approx({"frechet_pca": 0, "frechet_random": 0}, abs=1e-4)
    assert max(judge(x).values()) < 0.02


def test_rectified_directions_of_a_gaussian():
    """E max(0, t) = b Phi(b / s) + s phi(b / s) of t ~ N(b, s^2), b and s read off the features' own linear part."""
    x = 3 + 2 * torch.randn(200_000, 8, generator=generator(3))
    feature = samples.rectified(x)
    large = 3 + 1e4 * 2 * torch.eye(8)  # one element of 1e4 deviations, the rest at the mean
    w = (feature(large) - feature(6 - large)) / 1e4  # max(0, t) - max(0, -t) = t
    b = feature(torch.full((1, 8), 3.0))[0]
    on = b > 0.05
    s, b = w.square().sum(0).sqrt()[on], b[on]
    normal = torch.distributions.Normal(0.0, 1.0)
    wanted = b * normal.cdf(b / s) + s * normal.log_prob(b / s).exp()
    assert int(on.sum()) > 20
    torch.testing.assert_close(feature(x)[:, on].mean(0), wanted, atol=0.02, rtol=0)


def test_the_classifier_tells_its_classes_and_leaves_torchs_generator_alone():
    random = generator(4)
    label = torch.randint(3, (3000,), generator=random)
    x = 2 * torch.nn.functional.one_hot(label, 5).float() + 0.4 * torch.randn(3000, 5, generator=random)
    before = torch.get_rng_state()
    net = samples.Classifier.trained(x[:2000], label[:2000])
    assert torch.equal(torch.get_rng_state(), before)
    assert (net(x[2000:]).argmax(1) == label[2000:]).float().mean() > 0.97
    assert net.hidden(x).shape == (3000, 32)


def test_data_times_a_factor_are_another_unit():
    """The same draws in their own unit give the same network, and the same scores."""
    home, factor = wider.vectors_task(cloud()), 4.0
    big = wider.scaled(home, factor)
    torch.testing.assert_close(big.sample(3, generator(5)), factor * home.sample(3, generator(5)))
    assert rules.schedule("EDM shifted", big, 0).density.mean == pytest.approx(-1.2 + math.log(factor))
    nets = []
    for job in (home, big):
        torch.manual_seed(6)
        net, data, noise = job.network(), generator(7), generator(8)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        arranged = rules.schedule("EDM shifted", job, 9)
        for _ in range(5):
            x = job.sample(32, data)
            job.step(net, optimizer, arranged, x, torch.randn(x.shape, generator=noise))
        nets.append(net)
    assert big.score(0)(nets[1]) == pytest.approx(home.score(0)(nets[0]), rel=1e-3)
    assert big.score(0)(nets[1]) != home.score(0)(nets[1])


def test_error_under_edms_weight_of_the_linear_denoiser():
    """Of independent Gaussians: 1 at every level, which span log(24 / .04)."""
    x = 0.7 * torch.randn(20_000, 10, generator=generator(9))
    judge = wider.WeightedError(vectors.Vectors(x, x, 0.7))
    score = judge(lambda y, sigma: y * 0.49 / (0.49 + sigma.square().unsqueeze(1)))
    assert score == pytest.approx(math.log(24 / 0.04), rel=0.02)


def test_files_of_debian(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(debian, "ROOTS", [tmp_path])
    with pytest.raises(FileNotFoundError, match="the Debian package sibelia-examples is missing: apt-get install"):
        debian.genome()
    with pytest.raises(FileNotFoundError, match="dataset-fashion-mnist"):
        debian.fashion("train")
    jobs = [Job(data, "EDM", 1, 0, 0, 1) for data in ("dna", "genome", "fashion/decay")]
    assert compare.obtainable(jobs) == jobs[:1]
    assert "skipped: fashion/decay, as the Debian package dataset-fashion-mnist" in capsys.readouterr().out
    path = tmp_path / debian.GENOME
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(b">first strain, A\nACGTN\nacgtT\n>second\nGGGG\n"))
    found = debian.genome()
    assert compare.obtainable(jobs) == jobs[:2]
    assert torch.cat((found.train, found.held_out)).tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 3]
    folder = tmp_path / debian.FASHION
    folder.mkdir(parents=True)
    pictures = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, *range(6)])
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(pictures))
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9])))
    images, labels = debian.fashion("t10k")
    assert images.tolist() == [[[0, 1, 2]], [[3, 4, 5]]]
    assert labels.tolist() == [7, 9]


def letters(n=60_000, size=3):
    """Independent ones, of unequal frequency."""
    p = torch.tensor([0.6, 0.3, 0.1])
    drawn = torch.multinomial(p, n, replacement=True, generator=generator(10))
    return Text(drawn, drawn, size=size, length=8), float(-(p * p.log()).sum())


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_bound_over_embeddings_is_the_entropy_in_any_scale(scale):
    text, entropy = letters()
    torch.manual_seed(11)
    net = EmbeddedText(3)
    with torch.no_grad():
        net.codes.mul_(scale)
    bound = EmbeddedBound(text, samples=1500)
    assert bound(net) == pytest.approx(entropy, rel=0.03)  # of the independent letters, the better of the two
    posterior = net.logits(net.clean(torch.tensor([[0, 1, 2]])), torch.tensor([1.3])).softmax(2)[0]
    square = (net.codes.unsqueeze(1) - net.codes).square().sum(2)
    torch.testing.assert_close(posterior, (-square / (2 * 1.3**2)).softmax(1))


class Listening(Schedule):
    """Draws one level, and keeps what it is told."""

    weight = None

    def sample(self, n, group=None):
        return torch.full((n,), 0.9)

    def observe(self, sigma, error, mask=None, group=None):
        self.error = error


class ListeningToEntropy(Listening, rules.OfCrossEntropy):
    def __init__(self):
        pass

    def step(self):
        return


@pytest.mark.parametrize("make", [EmbeddedText, OneHotText])
def test_what_cross_entropy_training_records(make):
    """Of a fresh network, which knows uniform independent letters: its error by Bayes' rule."""
    torch.manual_seed(12)
    net = make(20)
    codes = net.codes.detach().clone() if make is EmbeddedText else 2 * torch.eye(20) - 1
    drawn = torch.randint(20, (64, 5), generator=generator(13))
    one_hot = 2 * torch.nn.functional.one_hot(drawn, 20).flatten(1).float() - 1
    noise = torch.randn(one_hot.shape, generator=generator(14))
    clean = codes[drawn]
    noisy = clean + 0.9 * noise.unflatten(1, (5, 20))[..., : codes.shape[1]]
    log_p = (-(noisy.unsqueeze(2) - codes).square().sum(3) / (2 * 0.9**2)).log_softmax(2)
    square = (log_p.exp() @ codes - clean).square().mean((1, 2))
    entropy = -log_p.gather(2, drawn.unsqueeze(2)).mean((1, 2))
    for schedule, wanted in ((Listening(), square), (ListeningToEntropy(), entropy)):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
        cross_entropy_step(net, optimizer, schedule, one_hot, noise)
        torch.testing.assert_close(schedule.error, wanted, atol=1e-4, rtol=1e-3)
    if make is EmbeddedText:
        assert net.codes.grad.abs().max() > 0


def squares(std=0.5, weight=None, step=train_step):
    return SimpleNamespace(std=std, weight=weight, step=step)


def test_further_arms():
    assert rules.schedule("logit-normal", squares(0.3), 0).table().below(0.3) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="CDCD is for cross-entropies"):
        rules.schedule("CDCD", squares(), 0)
    with pytest.raises(ValueError, match="second moment is for squared errors"):
        rules.schedule("second moment", squares(step=cross_entropy_step), 0)
    warped = rules.schedule("CDCD", squares(step=cross_entropy_step), 0)
    assert warped.config.signal == "mmse"


def test_second_moment_draws_by_the_weighted_error():
    """Under EDM's weight an error of sigma^3 / (1 + sigma^2): density in proportion to the product; streams differ."""
    arm, other = (rules.schedule("second moment", squares(0.5, inx.EDMWeight(0.5)), stream) for stream in (1, 2))
    assert not torch.equal(arm.sample(50), other.sample(50))
    for _ in range(60):
        sigma = arm.sample(400)
        arm.observe(sigma, sigma**3 / (1 + sigma**2))
        arm.step()
    edges = arm.table().edges
    middle = (edges[1:] * edges[:-1]).sqrt()
    wanted = inx.EDMWeight(0.5)(middle) * middle**3 / (1 + middle**2)
    wanted = 0.999 * wanted / wanted.sum() + 0.001 / len(middle)
    torch.testing.assert_close(arm.table().mass(edges), wanted, rtol=0.03, atol=1e-6)
    base = arm.weight(middle.float()).double() * arm.table().mass(edges) * len(middle)
    torch.testing.assert_close(base, inx.EDMWeight(0.5)(middle), rtol=1e-4, atol=0)


def line(arm, seed, score, **extra):
    return {"data": "ks", "arm": arm, "steps": 100, "seed": seed, "stream": 0, "step": [100], "score": [score],
            "mean": 0.0, "std": 1.0, "extra": extra}  # fmt: skip


def test_a_sweep_tells_what_it_cost():
    jobs = sweep.sweep("ks", "vectors", 100, 4, shift=math.log(0.5))
    assert len({job.arm for job in jobs}) == 9
    assert {job.seed for job in jobs} == {0}
    assert jobs[4].arm == f"log-normal:{-1.2 + math.log(0.5):.4g}:0.9"
    runs = [line(job.arm, 0, abs(i - 5)) for i, job in enumerate(jobs)] + [line("rule", 0, 0.5)]
    wanted = {"arm": jobs[5].arm, "score": 0, "rule": 0.5, "cost": 900}
    assert sweep.winners(runs) == {"ks": wanted}
    later = [run | {"seed": 1, "score": [-9.0]} for run in runs]  # of other seeds: no part of the search
    assert sweep.winners(runs + later) == {"ks": wanted}
    assert sweep.winners(runs[1:]) == {}  # eight are no sweep
    assert sweep.winners([run for run in runs if run["arm"] != "rule"]) == {}  # where its data are missing
    assert "| a turbulent field | -1.893 / 1.3 | 0.0000 | 0.5000 | 900 steps |" in sweep.swept(
        {"swept": {"ks": wanted}}
    )


def test_further_scores_are_compared_with_edm():
    lines = [line("EDM", 0, 1.0, frechet=2.0), line("EDM", 1, 1.0, frechet=8.0), line("rule", 0, 1.0, frechet=1.0),
             line("rule", 1, 1.0, frechet=2.0)]  # fmt: skip
    (group,) = statistics.summary(lines)
    found = group["extra"]["rule"]["frechet"]
    assert found["mean"] == pytest.approx(1.5)
    assert found["ratio"]["mean"] == pytest.approx(math.sqrt(0.5 * 0.25))
    assert "| rule | 1.500 ± 0.500 (0.35 ± " in tables.section(group)


def test_the_plan_names_tasks_and_arms_that_there_are():
    jobs = plan.full()
    assert len(set(jobs)) == len(jobs)
    assert {job.data.split("/")[0] for job in jobs} <= tasks.SCORES.keys()
    assert {variant for job in jobs for variant in job.data.split("/")[1:]} <= variants.VARIANTS.keys()
    assert {job.arm.split(":")[0] for job in jobs} <= rules.RULES.keys()
    by_entropy = [job.arm for job in jobs if job.data in ("cross-entropy", "embeddings")]
    assert "CDCD" in by_entropy
    assert "second moment" not in by_entropy


def test_the_rule_against_a_rival():
    """Errors of 1 and 2 against 2 and 4: half; and the rival's end at the middle of the curve, on a log scale."""
    rule = [
        line("rule", seed, score) | {"step": [50, 100], "score": [4 * score, score]}
        for seed, score in ((0, 1.0), (1, 2.0))
    ]
    edm = [
        line("EDM", seed, 2 * score) | {"step": [50, 100], "score": [8 * score, 2 * score]}
        for seed, score in ((0, 1.0), (1, 2.0))
    ]
    (group,) = statistics.summary(rule + edm)
    duel = group["duels"]["EDM"]
    assert duel["error"]["mean"] == pytest.approx(0.5)
    assert duel["steps"]["mean"] == pytest.approx(100 / (50 * 2 ** (2 / 3)))  # from 4 to 1, 2 is two thirds of the way
    assert statistics.duel(edm, rule)["steps"]["mean"] == pytest.approx(1 / duel["steps"]["mean"])  # where it is behind
    assert headline.verdict(headline.Goal("ks", "EDM", 1.5), [duel["steps"]]) == "missed"
    assert headline.verdict(headline.Goal("ks", "EDM", 1.2), [duel["steps"]]) == "reached"
    assert headline.verdict(headline.Goal("ks", "EDM", error=0.4), [{"mean": 0.5, "error": 0.06}]) == "within the error"
    apart = [{"mean": 0.9, "error": 0.02}, {"mean": 1.2, "error": 0.05}]
    assert headline.verdict(headline.Goal("ks", "EDM", samples=1), apart) == "missed"  # by the worst


def test_by_hand_is_the_best_of_those_with_the_most_seeds():
    """A sweep's losers have one seed; without log-normals it is EDM's, moved."""
    runs = [line("rule", seed, 1.0) for seed in (0, 1)]
    runs += [line(f"log-normal:{mean}:1", seed, score)
             for mean, seed, score in ((0, 0, 0.5), (1, 0, 2.0), (1, 1, 2.0), (2, 0, 1.5), (2, 1, 1.5))]  # fmt: skip
    runs += [line("EDM shifted", seed, 3.0) for seed in (0, 1)]
    (group,) = statistics.summary(runs)
    rivals = group["duels"]
    assert headline.named(rivals, headline.BY_HAND) == "log-normal:2:1"
    assert headline.named({"EDM": {}}, headline.BY_HAND) == "EDM shifted"
    assert headline.named(rivals, "EDM") == "EDM"


@pytest.mark.parametrize("reach", [0.4, 1.0])
def test_transfer_of_errors_that_fall_by_a_known_law(monkeypatch, reach):
    """By half of exp(-distance / reach): means over a distance of .15 to both sides stay close to it."""

    def taught(made, net, levels, steps, seed):
        return levels if isinstance(levels, rules.Drawn) else None  # the band itself stands for what it taught

    def errors(test, net):
        log_sigma = test.sigma.log()
        if net is None:
            return torch.full_like(log_sigma, 100.0)
        return 100 * (1 - 0.5 * (-(log_sigma - float(net.density.level(0.5).log())).abs() / reach).exp())

    monkeypatch.setattr(transfers, "taught", taught)
    monkeypatch.setattr(transfers, "errors", errors)
    found = [one["mean"] for one in transfers.transfer("dna", before=1, after=1, samples=2, seeds=2)]
    for distance, ratio in zip(transfers.DISTANCES, found, strict=True):
        assert ratio == pytest.approx(math.exp(-distance / reach), rel=0.3, abs=0.01)
