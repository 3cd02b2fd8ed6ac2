"""What a run records."""

import math
from pathlib import Path

import pytest
import torch
from support.runs import QUICK, drive, recorded

import infonoise_ext as inx
from infonoise_ext.watch.history import CURVES


@pytest.mark.parametrize("groups", [1, 3])
def test_a_record_holds_the_profile_and_reads_back(tmp_path, groups):
    history = inx.History(tmp_path / "deep" / "run.jsonl")  # the folder is made
    schedule = inx.InfoNoise(seed=1, history=history, groups=groups, rank=1, world=2, **QUICK)
    history.record(schedule.snapshot())  # before anything is measured: NaN in every curve that needs losses
    drive(schedule, 25, batch=400)
    again = inx.History.read(tmp_path / "deep" / "run.jsonl")
    assert again.records == history.records
    assert [record["step"] for record in again.records] == [0, 10, 20]
    assert again.records[0]["profiles"][0]["mmse"] == [None] * 64
    history.record(schedule.snapshot())
    record = history.records[-1]
    assert (record["rank"], record["world"], record["config"]["pivot"]) == (1, 2, "0.0")
    for g, held in enumerate(record["profiles"]):
        profile = schedule.profile(g)
        for name in CURVES:
            values = torch.tensor([math.nan if v is None else v for v in held[name]], dtype=torch.float64)
            torch.testing.assert_close(values, getattr(profile, name), rtol=5e-6, atol=0, equal_nan=True)
    assert record["summary"] == pytest.approx(schedule.summary(), rel=5e-6)
    assert sum(profile["seen"][k] for profile in record["profiles"] for k in range(64)) == 25 * 400
    torch.testing.assert_close(torch.tensor(record["edges"]), schedule.profile().edges.float(), rtol=5e-6, atol=0)


def test_counts_keep_all_their_digits(tmp_path):
    schedule = inx.InfoNoise(seed=1)
    schedule.state.counters[:] = 123_456_789_123
    history = inx.History(tmp_path / "run.jsonl")
    schedule.state.counters[0, 1] = 2
    history.record(schedule.snapshot())
    assert history.records[0]["step"] == history.records[0]["summary"]["refreshes"] == 123_456_789_123


def test_a_record_is_small(tmp_path):
    recorded(tmp_path / "run.jsonl", 400, weight=inx.EDMWeight(0.5))
    longest = max(map(len, (tmp_path / "run.jsonl").read_text().splitlines()))
    assert longest < 7_500  # 64 bins; docs/monitoring.md says "about 6.6 kB"


def test_a_line_cut_short_is_passed_over_and_the_resumed_run_appends(tmp_path):
    path = tmp_path / "run.jsonl"
    recorded(path, 20)
    whole = path.read_bytes()
    path.write_bytes(whole[:-700])  # a crash within the second line
    history = inx.History.read(path)
    assert (len(history), history.damaged) == (1, 1)
    resumed = inx.InfoNoise(seed=2, history=history, **QUICK)
    drive(resumed, 10)
    again = inx.History.read(path)
    assert [record["step"] for record in again.records] == [10, 10]
    assert again.damaged == 1
    assert again.records == history.records
    assert path.read_bytes().startswith(whole[:-700] + b"\n{")


@pytest.mark.parametrize("path", ["/dev/full", "a file/run.jsonl", "folder"])
def test_a_path_that_cannot_be_written_warns_once_and_training_goes_on(tmp_path, path):
    if path == "/dev/full" and not Path(path).exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "a file").write_text("")
    (tmp_path / "folder").mkdir()
    history = inx.History(tmp_path / path)
    schedule = inx.InfoNoise(seed=1, history=history, **QUICK)
    with pytest.warns(UserWarning, match="History cannot write") as caught:
        drive(schedule, 40)
    assert len(caught) == 1
    assert len(history) == 4
    history.path = tmp_path / "run.jsonl"  # the disk has room again
    drive(schedule, 10)
    assert inx.History.read(history.path).records == history.records
    assert len(history) == 5


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("hello\nworld\n", "holds no record"),
        ('{"loss": 0.1}\n', "line 1, is no record"),
        ("[1, 2]\n", "line 1, is no record"),
        ('{"format":"infonoise_ext.history","version":99}\n', "version 99, but this release reads 1"),
    ],
)
def test_files_of_others_are_refused(tmp_path, text, match):
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(ValueError, match=match):
        inx.History.read(tmp_path / "x.jsonl")
