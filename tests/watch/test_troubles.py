"""Every trouble is told in the situation that it names, and none in a healthy run."""

import math
import re

import pytest
import torch
from support import ROOT, generator
from support.runs import code_losses, gaussian_losses, gaussian_mmse, no_error, train, trained_on

import infonoise_ext as inx
from infonoise_ext.watch.troubles import RULES, distance

QUICK = {"seed": 3, "warmup": 10, "refresh_every": 10}


def titles(schedule, group=0):
    return {text.partition(":")[0] for text in schedule.troubles(group)}


def loop(schedule, steps, recorded=lambda sigma: sigma, error=gaussian_mmse, batch=128, stepping=True):
    """Draws, and records what `recorded` makes of the levels."""
    g = generator(5)
    for _ in range(steps):
        sigma = schedule.sample(batch)
        level = recorded(sigma)
        schedule.observe(level, error(sigma) * torch.randn(batch, 8, generator=g).square().mean(1))
        if stepping:
            schedule.step()
    return schedule


@pytest.mark.parametrize("batch", [1, 16, 256])
@pytest.mark.parametrize("losses", [gaussian_losses(), gaussian_losses(5.0), code_losses(), code_losses(size=0.3)])
@pytest.mark.parametrize("options", [{}, {"weight": inx.EDMWeight(0.5)}, {"sampling": "stratified"}])
def test_a_healthy_run_has_no_trouble(losses, batch, options):
    schedule = trained_on(losses, 400 * batch, batch, **options)
    assert schedule.troubles() == []
    assert schedule.status == "active"
    assert schedule.summary()["troubles"] == 0


def test_a_run_that_accumulates_gradients_is_healthy():
    schedule, losses, g = inx.InfoNoise(seed=1), gaussian_losses(), generator(2)
    for _ in range(150):
        for _ in range(8):
            sigma = schedule.sample(8)
            schedule.observe(sigma, losses(sigma, g))
        schedule.step()
    assert schedule.troubles() == []


def test_step_is_forgotten():
    assert titles(loop(inx.InfoNoise(**QUICK), 20, stepping=False)) == {"No steps"}


def test_step_once_an_epoch():
    schedule = inx.InfoNoise(**QUICK)
    for _ in range(3):
        loop(schedule, 400, batch=4, stepping=False)
        schedule.step()
    assert titles(schedule) == {"Rare steps"}


def test_nothing_is_recorded():
    schedule = inx.InfoNoise(**QUICK)
    for _ in range(100):
        schedule.sample(16)
        schedule.step()
    assert titles(schedule) == {"Nothing recorded"}
    assert schedule.status.startswith("waiting for losses, but Nothing recorded")


@pytest.mark.parametrize("wrong", [
    lambda sigma: sigma / (1 + sigma),  # t for sigma
    lambda sigma: sigma.clamp(0.2, 2.0),
    lambda sigma: 3 * sigma,
    lambda sigma: 0.02 * torch.ones_like(sigma),
])  # fmt: skip
def test_levels_that_were_not_drawn(wrong):
    assert "Levels not drawn here" in titles(loop(inx.InfoNoise(**QUICK), 100, recorded=wrong))


WRONG_ERRORS = {
    "velocity": lambda sigma: gaussian_mmse(sigma) * (1 + 1 / sigma) ** 2,
    "eps": lambda sigma: gaussian_mmse(sigma) / sigma**2,
    "v": lambda sigma: gaussian_mmse(sigma) * (1 + 1 / sigma**2),
    "weighted": lambda sigma: gaussian_mmse(sigma) * inx.EDMWeight(0.5)(sigma),
    "of a level beside it": lambda sigma: gaussian_mmse(sigma.flip(0)),
    "of a net that has learned nothing": torch.ones_like,
}


@pytest.mark.parametrize("kind", WRONG_ERRORS)
def test_errors_that_are_not_of_the_clean_sample_at_that_level(kind):
    """Against data of standard deviation 0.5, for which the clean errors are told to be right above."""
    schedule = loop(inx.InfoNoise(**QUICK), 190, error=WRONG_ERRORS[kind])
    assert "Not the clean error" not in titles(schedule)  # a network may have that long
    assert "Not the clean error" in titles(loop(schedule, 20, error=WRONG_ERRORS[kind]))


class Power(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.power = torch.nn.Parameter(torch.tensor(0.0))

    def forward(self, sigma):
        return sigma**self.power


@pytest.mark.parametrize(
    "of", [lambda net: net, lambda net: lambda sigma: inx.EDMWeight(0.5)(sigma) / net(sigma).exp()]
)
def test_a_weight_that_is_trained_and_never_refreshed(of, tmp_path):
    schedule = inx.InfoNoise(weight=of(Power()), **QUICK)
    for round_ in range(3):
        loop(schedule, 990, batch=4)
        assert titles(schedule) == set(), round_
        schedule.refresh_weight()
    loop(schedule, 1010, batch=4)
    assert titles(schedule) == {"Weight out of date"}
    assert "1,010 steps ago" in schedule.status
    assert schedule.summary()["troubles"] == 1
    assert [title for title, _ in schedule.snapshot()["troubles"][0]] == ["Weight out of date"]
    schedule.save(tmp_path / "state.pt")
    resumed = inx.InfoNoise(weight=of(Power()), **QUICK)
    resumed.load(tmp_path / "state.pt")
    assert titles(resumed) == set()


@pytest.mark.parametrize("weight", [inx.EDMWeight(0.5), "eps", Power().requires_grad_(False)])
def test_a_weight_that_stays_is_never_out_of_date(weight):
    assert "Weight out of date" not in titles(loop(inx.InfoNoise(weight=weight, **QUICK), 1100, batch=4))


@pytest.mark.parametrize(("low", "std"), [(0.3, 1.0), (0.002, 0.01)])
def test_a_low_decade_that_holds_the_data_is_no_collapse(low, std):
    schedule = loop(inx.InfoNoise(low, 80.0, **QUICK), 200, error=lambda sigma: gaussian_mmse(sigma, std))
    assert float(schedule.table().below(10 * low)) > 0.8  # the trouble asks for a half
    assert titles(schedule) == set()


@pytest.mark.parametrize("factor", [16.0, 1 / 16, 3072.0])
def test_a_loss_that_changes_its_scale(factor):
    schedule = loop(inx.InfoNoise(**QUICK), 200)
    schedule = loop(schedule, 15, error=lambda sigma: factor * gaussian_mmse(sigma))
    assert "Loss rescaled" in titles(schedule)
    assert schedule.summary()["rescaled"] == pytest.approx(factor, rel=0.5)


def test_spikes():
    def spoiled(sigma):
        return gaussian_mmse(sigma) * torch.where(torch.arange(len(sigma)) % 128 == 0, 1e6, 1.0)

    schedule = loop(inx.InfoNoise(**QUICK), 200, error=spoiled)
    assert titles(schedule) == {"Spikes"}


@pytest.mark.parametrize(("std", "title"), [(1e4, "Range too low"), (30.0, "Range too low"), (1e-3, "Range too high")])
def test_data_far_outside_of_the_range(std, title):
    schedule = loop(inx.InfoNoise(**QUICK), 100, error=lambda sigma: gaussian_mmse(sigma, std))
    assert title in titles(schedule)


def test_ranges_that_miss_the_data():
    """Of standard deviation 0.5."""
    high = loop(inx.InfoNoise(0.3, 30.0, weight=inx.EDMWeight(0.5), **QUICK), 100)
    low = loop(inx.InfoNoise(0.002, 0.4, weight=inx.EDMWeight(0.5), **QUICK), 100)
    assert titles(high) == {"Range too high"}
    assert titles(low) == {"Range too low"}


def test_a_pivot_that_gates_the_information_away():
    schedule = loop(inx.InfoNoise(signal="entropy", pivot=20.0, gate_power=8.0, **QUICK), 100)
    assert "Information gated away" in titles(schedule)


def test_pure_noise_is_drawn():
    """The error of eps for that of the clean sample, which is told apart from the data by no level."""
    schedule = inx.InfoNoise(signal="entropy", weight=lambda sigma: sigma**-4.0, **QUICK)
    assert "Pure noise" in titles(loop(schedule, 100))


def test_low_noise_collapse():
    schedule = inx.InfoNoise(signal="entropy", **QUICK)
    assert titles(loop(schedule, 100, error=lambda sigma: 0.05 + gaussian_mmse(sigma))) >= {"Low-noise collapse"}


def test_degenerate_profile():
    schedule = loop(inx.InfoNoise(**QUICK), 40, error=lambda sigma: no_error(sigma, 0))
    assert titles(schedule) == {"Degenerate profile"}


def test_troubles_are_of_their_group():
    schedule, g = inx.InfoNoise(groups=2, **QUICK), generator(4)
    group = torch.arange(256) % 2
    for _ in range(100):
        sigma = schedule.sample(256, group)
        level = torch.where(group == 1, 3 * sigma, sigma)
        schedule.observe(level, gaussian_mmse(sigma) * torch.randn(256, 8, generator=g).square().mean(1), group=group)
        schedule.step()
    assert titles(schedule, 0) == set()
    assert "Levels not drawn here" in titles(schedule, 1)
    healthy, sick = schedule.status
    assert healthy == "active"
    assert sick.startswith("active, but ")


def test_distance_has_few_false_alarms():
    """Kolmogorov's bound of 2 is exceeded once in 1500: in 400 samples of the drawn table itself, less than 5 times."""
    cdf = torch.linspace(0, 1, 65, dtype=torch.float64)
    draws = torch.randint(64, (400, 500), generator=generator(6))
    alarms = sum(distance(torch.bincount(row, minlength=64), cdf) > 0 for row in draws)
    assert alarms < 5
    moved = torch.bincount((draws[0] + 20).clamp(max=63), minlength=64)
    assert distance(moved, cdf) == pytest.approx(20 / 64, abs=0.15)


def test_a_trained_schedule_goes_on_in_another_process_without_trouble(tmp_path):
    schedule = inx.InfoNoise(**QUICK)
    train(schedule, 100)
    schedule.save(tmp_path / "state.pt")
    other = inx.InfoNoise(**QUICK)
    other.load(tmp_path / "state.pt")
    assert other.troubles() == []
    train(other, 50)
    assert other.troubles() == []


def test_the_page_has_a_row_for_each_title_and_a_test():
    """As many as there are, in no other words; those of the report are told in test_warnings.py."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    first = page.split("## What the schedule says")[1].split("\n## ")[0]
    rows = [
        title for row in re.findall(r"^\| (\*\*.*?) \|", first, re.M) for title in re.findall(r"\*\*(.*?)\*\*", row)
    ]
    of_the_report = ["Skipped samples", "Ranks disagree", "Step gaps"]
    assert sorted(rows) == sorted([*RULES, *of_the_report])
    assert len(page.splitlines()) <= 90
    tests = "".join(
        (ROOT / "tests" / "watch" / f"test_{name}.py").read_text() for name in ("troubles", "warnings", "held_out")
    )
    for title in rows:
        assert re.search(rf"(assert|==|warned).*\"{title}\"", tests), title


def test_a_sentence_holds_its_numbers():
    schedule = loop(inx.InfoNoise(**QUICK), 100, recorded=lambda sigma: 3 * sigma)
    (text,) = [text for text in schedule.troubles() if text.startswith("Levels")]
    found = [float(part.rstrip(".")) for part in text.split("medians are ")[1].split(". Record")[0].split(" and ")]
    assert math.log(found[0] / found[1]) > 0.5
