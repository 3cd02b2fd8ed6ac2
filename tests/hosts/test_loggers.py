"""What is logged, read back from TensorBoard's event files and W&B's objects."""

import math

import pytest
import torch
from support.runs import fed, gaussian_mmse

import infonoise_ext as inx
from infonoise_ext.integrations import loggers
from infonoise_ext.integrations.loggers import log


@pytest.fixture(scope="module")
def schedule():
    return fed(lambda s: gaussian_mmse(s, 1.0))


def events(schedule, folder, **options):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder) as writer:
        log(writer, schedule, 7, **options)
    return EventAccumulator(str(folder)).Reload()


def test_tensorboard_holds_the_numbers_and_the_exact_histogram(schedule, tmp_path):
    read = events(schedule, tmp_path, figure=False)
    summary = schedule.summary()
    assert set(read.Tags()["scalars"]) == {f"infonoise/{key}" for key in summary}
    for key, value in summary.items():
        (event,) = read.Scalars(f"infonoise/{key}")
        assert event.step == 7
        assert event.value == pytest.approx(value, rel=1e-6)
    (event,) = read.Histograms("infonoise/log10_sigma")
    histogram, profile = event.histogram_value, schedule.profile()
    counts = torch.tensor(histogram.bucket, dtype=torch.float64)
    limits = torch.tensor(histogram.bucket_limit, dtype=torch.float64)
    # The format opens with an empty bucket that ends where the first of ours begins.
    torch.testing.assert_close(limits[-64:], profile.edges[1:].log10())
    torch.testing.assert_close(counts[-64:], profile.cdf.diff())
    assert float(counts[:-64].sum()) == 0
    assert histogram.num == 1
    # Moments against a fine quadrature of the quantile function.
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    logs = schedule.table().level(u).double().log10()
    assert histogram.sum == pytest.approx(float(logs.mean()), abs=1e-5)
    assert histogram.sum_squares == pytest.approx(float(logs.square().mean()), abs=1e-5)
    assert not read.Tags()["images"]


def test_tensorboard_gets_a_figure_unless_matplotlib_is_missing(schedule, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    assert events(schedule, tmp_path / "with").Tags()["images"] == ["infonoise/figure"]
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    read = events(schedule, tmp_path / "without")
    assert not read.Tags()["images"]
    assert read.Tags()["histograms"] == ["infonoise/log10_sigma"]


def test_groups_have_their_own_histograms(tmp_path):
    read = events(inx.InfoNoise(groups=2), tmp_path, name="run", figure=False)
    assert set(read.Tags()["histograms"]) == {"run/group0/log10_sigma", "run/group1/log10_sigma"}
    assert "run/group1/pivot" in read.Tags()["scalars"]


def test_more_bins_than_buckets_are_merged_exactly():
    schedule = inx.InfoNoise(bins=1000)
    mass, edges = loggers._histogram(schedule.profile())
    assert len(mass) == loggers.MAX_BUCKETS == len(edges) - 1
    torch.testing.assert_close(
        schedule.table().below(10**edges)[1:], mass.cumsum(0), rtol=1e-5, atol=1e-7
    )  # float32 edges


@pytest.mark.slow
def test_wandb_run_gets_numbers_histogram_and_image(schedule, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    pytest.importorskip("matplotlib")
    rows = []
    with wandb.init(mode="disabled", dir=tmp_path) as run:
        monkeypatch.setattr(run, "log", lambda values, step: rows.append((step, values)))
        log(run, schedule, 3)
    ((step, values),) = rows
    assert step == 3
    assert values["infonoise/pivot"] == schedule.summary()["pivot"]
    histogram = values["infonoise/log10_sigma"]
    assert isinstance(histogram, wandb.Histogram)
    assert histogram.histogram == schedule.profile().cdf.diff().tolist()
    assert histogram.bins[0] == pytest.approx(math.log10(0.002), abs=1e-6)
    assert isinstance(values["infonoise/figure"], wandb.Image)


def test_dictionary_and_callable_get_the_numbers(schedule):
    into, calls = {"loss": 1.0}, []
    log(into, schedule, 3, name="s")
    log(lambda values, step: calls.append((step, values)), schedule, 4, name="s")
    wanted = {f"s/{key}": value for key, value in schedule.summary().items()}
    assert into == {"loss": 1.0} | wanted
    assert calls == [(4, wanted)]


def test_fixed_density_has_numbers_only(tmp_path):
    read = events(inx.LogNormal(-1.2, 1.2), tmp_path)
    assert len(read.Tags()["scalars"]) == 3
    assert not read.Tags()["histograms"]


def test_unknown_target_is_named(schedule):
    with pytest.raises(ValueError, match="target is 5"):
        log(5, schedule, 1)
