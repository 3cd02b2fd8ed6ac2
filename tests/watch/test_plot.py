"""Figures of a schedule and of its history."""

import pytest
from support.runs import fed, gaussian_mmse, recorded

import infonoise_ext as inx
from infonoise_ext.watch import plot


def test_schedule_figure_draws_what_the_profile_holds(tmp_path):
    schedule = fed(lambda s: gaussian_mmse(s, 1.0), bins=512)
    figure = plot.schedule_figure(schedule)
    figure.savefig(tmp_path / "schedule.png")
    assert (tmp_path / "schedule.png").stat().st_size > 20_000
    labels = [text.get_text() for axes in figure.axes if axes.get_legend() for text in axes.get_legend().get_texts()]
    assert set(labels) >= {"sampled density", "prior", "allocation φ, learnable"}
    drawn = [patch.get_data().values for axes in figure.axes for patch in axes.patches if hasattr(patch, "get_data")]
    assert any(len(d) == 512 and abs(d - schedule.profile().density.numpy()).max() == 0 for d in drawn)
    plot.schedule_figure(inx.InfoNoise()).savefig(tmp_path / "empty.png")  # before anything is measured


def test_history_figure(tmp_path):
    with pytest.raises(ValueError, match="records in history is 0, but must be at least 2"):
        plot.history_figure(inx.History())
    plot.history_figure(recorded(tmp_path / "run.jsonl", 40).history).savefig(tmp_path / "history.png")
    assert (tmp_path / "history.png").stat().st_size > 20_000
