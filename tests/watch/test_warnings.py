"""Warnings about a recorded run, from real schedules driven into each state."""

import math

import pytest
import torch
from support.runs import QUICK, drive, gaussian_mmse, no_error, recorded, warned

import infonoise_ext as inx
from infonoise_ext.ops.schemas import COUNTERS, SIGNALS
from infonoise_ext.watch.report import read_run
from infonoise_ext.watch.report.runs import standing

WINDOW = 10  # records in which skipped samples are looked for


def floored(sigma, step):
    """A network that keeps an error of 0.05 at low noise, where the truth goes to 0."""
    return 0.05 + gaussian_mmse(sigma)


def test_a_healthy_run_has_no_warnings(tmp_path):
    schedule = inx.InfoNoise(seed=1, warmup=200, refresh_every=25, weight=inx.EDMWeight(0.5))
    schedule.history = inx.History(tmp_path / "a.jsonl")
    schedule.history.record(schedule.snapshot())  # a warm-up is no gap
    drive(schedule, 1000)
    recorded(tmp_path / "b.jsonl", 600, batch=768, warmup=50, refresh_every=25, groups=3, rank=1, world=2)
    assert warned(tmp_path / "a.jsonl") == {}
    assert warned(tmp_path / "b.jsonl") == {}


def test_degenerate_profile(tmp_path):
    schedule = recorded(tmp_path / "run.jsonl", 40, no_error, prior=inx.LogUniform())
    assert schedule.status.startswith("degenerate profile kept out, but Degenerate profile: ")
    found = warned(tmp_path / "run.jsonl")
    assert set(found) == {"Degenerate profile"}
    assert f"{int(schedule.summary()['degenerates'])} in all" in found["Degenerate profile"]


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("error", [floored, None])
def test_low_noise_collapse(tmp_path, error, signal):
    """Without a gate: a constant error over sigma^2 or sigma rises at low noise; its differences vanish."""
    collapsed = error is not None and signal in ("entropy", "rescaled")
    schedule = recorded(tmp_path / "run.jsonl", 300, error, signal=signal)
    found = warned(tmp_path / "run.jsonl")
    assert ("Low-noise collapse" in found) == collapsed == (schedule.summary()["mass_lowest_decade"] > 0.5)
    if collapsed:
        assert f"{float(schedule.table().below(torch.tensor(0.02))):.0%} of the draws" in found["Low-noise collapse"]


def test_a_grid_of_one_decade_is_no_collapse(tmp_path):
    schedule = recorded(tmp_path / "run.jsonl", 100, sigma_min=0.2, sigma_max=2.5, bins=16)
    assert schedule.summary()["mass_lowest_decade"] > 0.5
    assert set(warned(tmp_path / "run.jsonl")) == {"Range too high"}


def test_nothing_recorded_at_all(tmp_path):
    recorded(tmp_path / "run.jsonl", 80, lambda sigma, step: sigma * math.nan)
    found = warned(tmp_path / "run.jsonl")
    assert f"{80 * 256:,} were skipped" in found["Nothing recorded"]
    assert "100.0% (error NaN or infinite" in found["Skipped samples"]


@pytest.mark.parametrize(
    ("spoiled", "value", "words"),
    [("error", math.inf, "error NaN or infinite"), ("error", -1.0, "error below 0"),
     ("sigma", 1000.0, "sigma outside"), ("sigma", math.nan, "sigma NaN")],
)  # fmt: skip
def test_skipped_samples_of_late_are_told_by_cause(tmp_path, spoiled, value, words):
    """2% of the whole run, a fifth of the last ten records: the share told is the latter."""
    schedule = recorded(tmp_path / "run.jsonl", 1000)
    assert "Skipped samples" not in warned(tmp_path / "run.jsonl")
    for _ in range(10 * WINDOW):
        sigma = schedule.sample(250)
        given = {"sigma": sigma, "error": gaussian_mmse(sigma)}
        given[spoiled][::5] = value
        schedule.observe(**given)
        schedule.step()
    text = warned(tmp_path / "run.jsonl")["Skipped samples"]
    assert f"20.0% ({words}" in text
    assert text.count("%") == 1


def test_what_was_recomputed_is_told_and_is_no_other_sample(tmp_path):
    """Half of what was called is the other half again; 1.2% of the samples are NaN, 0.6% of the calls."""
    path = tmp_path / "run.jsonl"
    schedule = recorded(path, 100)
    schedule.state.counters[0, COUNTERS.index("nonfinite_error")] = recorded_once = 25_600 * 12 // 988
    schedule.state.counters[0, COUNTERS.index("recomputed")] = 25_600 + recorded_once
    schedule.history.record(schedule.snapshot())
    text = warned(path)["Skipped samples"]
    assert text == (
        "1.2% (error NaN or infinite: the network diverges, or overflows in low precision), "
        "100.0% (computed again in backward by activation checkpointing: not recorded there)."
    )


@pytest.mark.parametrize(("kept", "told"), [(0.7, False), (0.2, True)])
def test_masks_are_the_callers_choice_up_to_half(tmp_path, kept, told):
    schedule = inx.InfoNoise(seed=1, history=inx.History(tmp_path / "run.jsonl"), **QUICK)
    drive(schedule, 150, mask=torch.arange(256) < kept * 256)
    assert ("Skipped samples" in warned(tmp_path / "run.jsonl")) == told


@pytest.mark.parametrize(("std", "options", "words"), [
    (0.5, {}, None), (1.0, {}, "differ by"), (0.5, {"floor": 0.1}, "ranks 1 run with other options"),
])  # fmt: skip
def test_ranks_disagree(tmp_path, std, options, words):
    recorded(tmp_path / "0.jsonl", 300, rank=0, world=2)
    recorded(tmp_path / "1.jsonl", 300, lambda s, step: gaussian_mmse(s, std), seed=2, rank=1, world=2, **options)
    found = warned(tmp_path)
    assert ("Ranks disagree" in found) == (words is not None)
    if words:
        assert words in found["Ranks disagree"]


def test_a_rank_that_ends_early_is_told(tmp_path):
    recorded(tmp_path / "0.jsonl", 300, rank=0, world=2)
    recorded(tmp_path / "1.jsonl", 240, seed=2, rank=1, world=2)
    assert "rank 1 ends at step 240, another at 300" in warned(tmp_path)["Ranks disagree"]


def test_a_resumed_run_is_told_and_its_later_records_hold(tmp_path):
    path = tmp_path / "run.jsonl"
    schedule = recorded(path, 60)
    schedule.save(tmp_path / "state.pt")
    drive(schedule, 40)
    resumed = inx.InfoNoise(seed=9, history=inx.History(path), **QUICK)
    resumed.load(tmp_path / "state.pt")
    drive(resumed, 70, seed=5)
    assert "step 70 follows 100" in warned(path)["Step gaps"]
    (series,) = read_run(path).series()
    assert [entry["step"] for entry in series.entries] == list(range(10, 131, 10))
    last, held = resumed.profile(), series.entries[-1]["profile"]
    torch.testing.assert_close(torch.tensor(held["density"]).double(), last.density, rtol=1e-5, atol=0)


def test_missing_records_and_another_grid_are_told(tmp_path):
    path = tmp_path / "run.jsonl"
    schedule = recorded(path, 60)
    schedule.history = None
    drive(schedule, 60)
    schedule.history = inx.History(path)
    drive(schedule, 60)
    assert warned(path)["Step gaps"] == "nothing between steps 60 and 130."
    schedule.save(tmp_path / "state.pt")
    finer = inx.InfoNoise(seed=9, bins=80, history=inx.History(path), **QUICK)
    with pytest.warns(UserWarning, match="re-binned"):
        finer.load(tmp_path / "state.pt")
    drive(finer, 30)
    assert "12 record(s) on another grid are not shown" in warned(path)["Step gaps"]
    assert [record["step"] for record in standing(read_run(path).records[0])] == [190, 200, 210]


def test_groups_share_a_line(tmp_path):
    recorded(tmp_path / "run.jsonl", 40, no_error, batch=2000, groups=3, prior=inx.LogUniform())
    assert warned(tmp_path / "run.jsonl")["Degenerate profile"].startswith("group 0 (likewise group 1; group 2): ")
