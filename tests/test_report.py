"""What a run records, the page about it, and the warnings: all from real schedules driven into each state."""

import base64
import html
import json
import math
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from support import generator
from test_schedule import gaussian_mmse

import infonoise_ext as inx
from infonoise_ext.__main__ import main
from infonoise_ext._schemas import SIGNALS
from infonoise_ext.monitor import CURVES
from infonoise_ext.report import find_warnings, page_of, read_run
from infonoise_ext.report.page import MAX_VALUES, payload
from infonoise_ext.report.runs import Run, standing
from infonoise_ext.report.warnings import RULES, WINDOW

DOCS = Path(__file__).parent.parent / "docs" / "monitoring.md"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH: apt-get install chromium")
QUICK = {"warmup": 10, "refresh_every": 10}


def drive(schedule, steps, error=lambda sigma, step: gaussian_mmse(sigma), batch=256, seed=0, **extra):
    """Steps of a loop whose losses have mean `error` and a heavy spread."""
    g = generator(seed)
    for step in range(1, steps + 1):
        group = torch.randint(0, schedule.groups, (batch,), generator=g)
        sigma = schedule.sample(batch, group)
        noise = torch.randn(batch, 8, generator=g).square().mean(1)
        schedule.observe(sigma, error(sigma, step) * noise, group=group, **extra)
        schedule.step()
    return schedule


def recorded(path, steps, error=None, batch=256, seed=1, **options):
    schedule = inx.InfoNoise(seed=seed, history=inx.History(path), **(QUICK | options))
    return drive(schedule, steps, *([error] if error else []), batch=batch, seed=seed)


def warned(path):
    """Sentences by title."""
    return {finding.title: finding.text for finding in find_warnings(read_run(path))}


# The record


@pytest.mark.parametrize("groups", [1, 3])
def test_a_record_holds_the_profile_and_reads_back(tmp_path, groups):
    history = inx.History(tmp_path / "deep" / "run.jsonl")  # the folder is made
    schedule = inx.InfoNoise(seed=1, history=history, groups=groups, rank=1, world=2, **QUICK)
    history.record(schedule)  # before anything is measured: NaN in every curve that needs losses
    drive(schedule, 25, batch=400)
    again = inx.History.read(tmp_path / "deep" / "run.jsonl")
    assert again.records == history.records
    assert [record["step"] for record in again.records] == [0, 10, 20]
    assert again.records[0]["profiles"][0]["mmse"] == [None] * 64
    history.record(schedule)
    record = history.records[-1]
    assert (record["rank"], record["world"], record["config"]["pivot"]) == (1, 2, "Onset(p=0.002)")
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
    history.record(schedule)
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


# Warnings


def floored(sigma, step):
    """A network that keeps an error of 0.05 at low noise, where the truth goes to 0."""
    return 0.05 + gaussian_mmse(sigma)


def no_error(sigma, step):
    return torch.zeros_like(sigma)


def test_a_healthy_run_has_no_warnings(tmp_path):
    schedule = inx.InfoNoise(seed=1, warmup=200, refresh_every=25, weight=inx.EDMWeight(0.5))
    schedule.history = inx.History(tmp_path / "a.jsonl")
    schedule.history.record(schedule)  # a warm-up is no gap
    drive(schedule, 1000)
    recorded(tmp_path / "b.jsonl", 600, batch=768, warmup=50, refresh_every=25, groups=3, rank=1, world=2)
    assert warned(tmp_path / "a.jsonl") == {}
    assert warned(tmp_path / "b.jsonl") == {}


def test_degenerate_profile(tmp_path):
    schedule = recorded(tmp_path / "run.jsonl", 40, no_error, prior=inx.LogUniform())
    assert schedule.status == "degenerate profile kept out"
    found = warned(tmp_path / "run.jsonl")
    assert set(found) == {"Degenerate profile"}
    assert "step 40" in found["Degenerate profile"]
    assert f"{int(schedule.summary()['degenerates'])} in all" in found["Degenerate profile"]


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("error", [floored, None])
def test_low_noise_collapse(tmp_path, error, signal):
    """Without a gate: a constant error over sigma^2 or sigma rises at low noise; its differences vanish."""
    collapsed = error is not None and signal in ("entropy", "rescaled")
    schedule = recorded(tmp_path / "run.jsonl", 300, error, pivot=inx.FixedPivot(0.0), signal=signal)
    found = warned(tmp_path / "run.jsonl")
    assert ("Low-noise collapse" in found) == collapsed == (schedule.summary()["mass_lowest_decade"] > 0.5)
    if collapsed:
        assert f"{float(schedule.cdf(torch.tensor(0.02))):.0%} of the samples" in found["Low-noise collapse"]


def test_a_grid_of_one_decade_is_no_collapse(tmp_path):
    schedule = recorded(tmp_path / "run.jsonl", 100, sigma_min=0.2, sigma_max=2.5, bins=16)
    assert schedule.summary()["mass_lowest_decade"] > 0.5
    assert warned(tmp_path / "run.jsonl") == {}


def test_starved_bins(tmp_path):
    """Without a floor the bins below the pivot get nothing once the table is learned."""
    schedule = recorded(tmp_path / "run.jsonl", 300, floor=0.0, gate_power=8.0)
    (found,) = warned(tmp_path / "run.jsonl").items()
    assert found[0] == "Starved bins"
    mass = schedule.profile().density * schedule.config.width
    sure = int((mass * 256 * 10 * WINDOW < 1e-5).sum())  # 64 of these are hit in the window with p < 1e-3
    likely = int((mass * 256 * 10 * WINDOW < 20).sum())  # a bin of more is missed with p < 1e-8
    assert 0 < sure <= int(found[1].split()[0]) <= likely


def test_still_in_warm_up_with_its_forecast(tmp_path):
    schedule = recorded(tmp_path / "run.jsonl", 100, coverage=1.0, prior_floor=0.0)
    text = warned(tmp_path / "run.jsonl")["Still in warm-up"]
    needed = schedule.samples_needed()
    assert needed > 1e5
    assert int(re.search(r"About ([\d,]+) more", text)[1].replace(",", "")) == pytest.approx(needed, rel=1e-5)
    assert int(re.search(r"([\d,]+) steps at", text)[1].replace(",", "")) == pytest.approx(needed / 256, rel=1e-3)
    assert f"{int(schedule.summary()['waits'])} refreshes were refused" in text


def test_nothing_recorded_at_all(tmp_path):
    recorded(tmp_path / "run.jsonl", 80, lambda sigma, step: sigma * math.nan)
    found = warned(tmp_path / "run.jsonl")
    assert "never" in found["Still in warm-up"]
    assert "100.0% (error NaN or infinite" in found["Skipped samples"]


def test_refreshes_that_stopped(tmp_path):
    """Errors overflow where the first learned table sends most samples: coverage is never reached again."""
    options = {"pivot": inx.FixedPivot(0.0), "prior_floor": 0.0, "prior": inx.LogNormal(0.0, 0.6)}
    schedule = recorded(
        tmp_path / "run.jsonl", 200, lambda sigma, step: torch.where(sigma < 0.05, torch.nan, gaussian_mmse(sigma)),
        **options,
    )  # fmt: skip
    assert schedule.summary()["refreshes"] > 0
    assert schedule.status == "waiting for coverage"
    found = warned(tmp_path / "run.jsonl")
    waits = int(schedule.summary()["waits"])
    assert f"{waits} were refused for coverage" in found["Refreshes stopped"]
    assert "Skipped samples" in found


def spoil(kind):
    """(losses, sigma) to (losses, sigma) with a fifth of the samples spoiled."""

    def apply(error, sigma):
        bad = torch.arange(len(error)) % 5 == 0
        if kind == "out_of_range":
            return error, torch.where(bad, 1000.0, sigma)
        if kind == "nonfinite_sigma":
            return error, torch.where(bad, torch.nan, sigma)
        return torch.where(bad, {"nonfinite_error": torch.inf, "negative_error": -1.0}[kind], error), sigma

    return apply


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nonfinite_error", "error NaN or infinite"),
        ("negative_error", "error below 0"),
        ("out_of_range", "sigma outside"),
        ("nonfinite_sigma", "sigma NaN"),
    ],
)
def test_skipped_samples_of_late_are_told_by_cause(tmp_path, kind, words):
    """2% of the whole run, a fifth of the last ten records: the share told is the latter."""
    schedule = recorded(tmp_path / "run.jsonl", 1000)
    assert "Skipped samples" not in warned(tmp_path / "run.jsonl")
    for _ in range(10 * WINDOW):
        sigma = schedule.sample(250)
        error, sigma = spoil(kind)(gaussian_mmse(sigma), sigma)
        schedule.observe(sigma, error)
        schedule.step()
    text = warned(tmp_path / "run.jsonl")["Skipped samples"]
    assert f"20.0% ({words}" in text
    assert text.count("%") == 1


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


def test_every_warning_is_in_the_docs():
    for title in (*RULES, "Ranks disagree", "Step gaps"):
        assert f"**{title}**" in DOCS.read_text()


# The page


def data_of(page):
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1]
    return json.loads(text)


def unpacked(series, curve):
    return np.frombuffer(base64.b64decode(series["curves"][curve]), "<f4").reshape(-1, len(series["edges"]) - 1)


@pytest.fixture(scope="module")
def run_of_groups(tmp_path_factory):
    """(path, schedule) of three groups and twenty records, a few samples NaN."""
    path = tmp_path_factory.mktemp("report") / "three <groups>.jsonl"
    history = inx.History(path)
    schedule = inx.InfoNoise(seed=1, history=history, groups=3, **QUICK)
    history.record(schedule)

    def error(sigma, step):
        return torch.where(torch.arange(len(sigma)) % 20 == 0, torch.nan, gaussian_mmse(sigma))

    return path, drive(schedule, 190, error, batch=900)


def test_numbers_on_the_page_are_the_schedules(run_of_groups):
    path, schedule = run_of_groups
    data = data_of(page_of(read_run(path)))
    assert [series["name"] for series in data["series"]] == ["group 0", "group 1", "group 2"]
    summary = schedule.summary()
    for g, series in enumerate(data["series"]):
        profile = schedule.profile(g)
        for curve in ("density", "mmse", "standard_error", "rate", "gate", "count"):
            values = unpacked(series, curve)
            assert values.shape == (20, 64)
            np.testing.assert_allclose(values[-1], getattr(profile, curve).numpy(), rtol=1e-5)
        assert np.isnan(unpacked(series, "mmse")[0]).all()
        for name, values in series["numbers"].items():
            expected = summary["steps"] if name == "step" else summary[f"group{g}/{name}"]
            assert values[-1] == pytest.approx(expected, rel=5e-6), name
        assert series["config"]["bins"] == 64
    assert data["warnings"][0]["title"] == "Skipped samples"


def test_the_page_loads_nothing_and_names_are_escaped(run_of_groups):
    page = page_of(read_run(run_of_groups[0]))
    assert not re.search(r"https?:|src=|@import|url\((?!#)", page)
    assert "default-src 'none'" in page
    assert "@page" not in page
    assert "<groups>" not in page
    assert data_of(page)["name"] == "three <groups>.jsonl"


@pytest.mark.parametrize("records", [1000, 3000])
def test_a_long_run_makes_a_page_of_less_than_5_mb(records):
    """Copies of one real record; the page keeps the first and the last."""
    history = inx.History()
    drive(inx.InfoNoise(seed=1, bins=128, history=history, weight=inx.EDMWeight(0.5), **QUICK), 10, batch=20_000)
    record = history.records[0]
    run = Run("long", {0: [record | {"step": 10 * (i + 1)} for i in range(records)]})
    assert len(page_of(run)) < 5e6
    (series,) = payload(run)["series"]
    steps = series["numbers"]["step"]
    assert (steps[0], steps[-1]) == (10, 10 * records)
    assert len(steps) == min(records, MAX_VALUES // 129)
    assert max(b - a for a, b in pairwise(steps)) <= 10 * math.ceil(records / len(steps))
    assert bool(payload(run)["notes"]) == (records > 1000)


def test_many_groups_are_thinned_and_then_left_out():
    history = inx.History()
    schedule = inx.InfoNoise(seed=1, groups=2, bins=64, **QUICK)
    history.record(schedule)
    record = history.records[0]
    many = {"profiles": record["profiles"][:1] * 1500, "summary": dict(record["summary"])}
    for name, value in record["summary"].items():
        if name.startswith("group0/"):
            many["summary"] |= {f"group{g}/{name[7:]}": value for g in range(1500)}
    run = Run("many", {0: [record | many | {"step": step} for step in (10, 20, 30)]})
    data = payload(run)
    assert len(data["series"]) == MAX_VALUES // 65 // 2
    assert all(series["numbers"]["step"] == [10, 30] for series in data["series"])
    assert any("1500 series" in note for note in data["notes"])


# The command


def test_command_writes_the_page_and_says_where(tmp_path, capsys):
    recorded(tmp_path / "run.jsonl", 40, no_error, prior=inx.LogUniform())
    assert main(["report", str(tmp_path / "run.jsonl")]) == 0
    out = capsys.readouterr().out
    assert f"Wrote {tmp_path / 'run.html'}" in out
    assert "warning: Degenerate profile: " in out
    assert (tmp_path / "run.html").read_text().startswith("<!doctype html>")
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "x.html")]) == 0
    assert (tmp_path / "x.html").exists()


def test_a_folder_may_hold_logs_of_others(tmp_path, capsys):
    for rank in range(2):
        recorded(tmp_path / f"rank{rank}.jsonl", 100, seed=rank, rank=rank, world=2)
    (tmp_path / "metrics.jsonl").write_text('{"loss": 1}\n')
    assert main(["report", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "Passed over" in out
    assert "No warnings." in out
    assert [series["name"] for series in data_of((tmp_path / "report.html").read_text())["series"]] == [
        "rank 0",
        "rank 1",
    ]


@pytest.mark.parametrize("kind", ["missing", "empty", "foreign", "empty folder", "one rank twice", "itself"])
def test_runs_that_cannot_be_reported_are_named(tmp_path, capsys, kind):
    path, more = tmp_path / "run.jsonl", []
    if kind in ("one rank twice", "itself"):
        recorded(path, 10)
    if kind == "one rank twice":
        shutil.copy(path, tmp_path / "again.jsonl")
    elif kind == "itself":
        more = ["-o", str(path)]
    elif kind in ("empty", "foreign"):
        path.write_text("" if kind == "empty" else "epoch,loss\n1,2\n")
    target = tmp_path if kind in ("empty folder", "one rank twice") else path
    before = path.read_bytes() if path.exists() else b""
    assert main(["report", str(target), *more]) == 1
    words = {
        "missing": "No such file", "empty": "holds no records", "foreign": "holds no record",
        "empty folder": r"no \*.jsonl", "one rank twice": "both hold rank 0", "itself": "is the run itself",
    }  # fmt: skip
    assert re.search(words[kind], capsys.readouterr().err)
    assert (path.read_bytes() if path.exists() else b"") == before
    assert not list(tmp_path.glob("*.html"))


# In a browser


def dump(page, profile, fragment="", script="", width=1200):
    """The DOM after the page's script, and then `script`, ran in headless Chromium."""
    copy = profile / "page.html"
    copy.write_text(page.replace("</body>", f"<script>{script}</script></body>"))
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--virtual-time-budget=3000", f"--window-size={width},900",
        f"--user-data-dir={profile / 'profile'}",
    ]  # fmt: skip
    command = [CHROMIUM, *flags, "--dump-dom", f"file://{copy}{fragment}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def inner(dom, name):
    return re.search(rf'id="{name}"[^>]*>(.*?)</', dom, re.S)[1]


@needs_chromium
def test_the_page_in_a_browser(run_of_groups, tmp_path):
    """The slider, the selector, the address and the numbers, and that nothing is asked of any network."""
    path, schedule = run_of_groups
    page = page_of(read_run(path))
    dom = dump(page, tmp_path)
    assert 'data-state="ready"' in dom
    assert re.search(r'id="failed"[^>]* hidden', dom)
    assert inner(dom, "shown") == "record 20 of 20, step 190, active"
    median = f"{schedule.summary()['group0/sigma_q50']:.3g}"
    assert f"<dt>σ, median</dt><dd>{median}</dd>" in dom
    assert len(re.findall(r'<svg [^>]*role="img" aria-label="[^"]{20,}"', dom)) == 8
    assert "NaN" not in re.sub(r"<script.*?</script>", "", dom, flags=re.S).replace("error NaN or", "")
    dom = dump(page, tmp_path, "#record=12&series=2")
    assert inner(dom, "shown") == "record 12 of 20, step 110, active"
    held = inx.History.read(path).records[11]["summary"]["group1/sigma_q50"]
    assert f"<dt>σ, median</dt><dd>{held:.3g}</dd>" in dom


@needs_chromium
def test_the_controls_in_a_browser(run_of_groups, tmp_path):
    script = """
    const said = {};
    const slider = document.getElementById("record");
    slider.value = 5; slider.dispatchEvent(new Event("input"));
    said.slider = document.getElementById("shown").textContent + " " + location.hash;
    said.words = slider.getAttribute("aria-valuetext");
    document.getElementById("next").click();
    said.next = document.getElementById("shown").textContent;
    const select = document.getElementById("series");
    select.value = 2; select.dispatchEvent(new Event("change"));
    said.group = location.hash;
    document.getElementById("bins").open = true;
    const image = new Image();
    image.onload = () => {  // the brightest pixel of the last column, counted from the bottom
      const { width, height } = image;
      const context = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
      context.drawImage(image, 0, 0);
      const green = [...Array(image.height).keys()].map((y) => context.getImageData(image.width - 1, y, 1, 1).data[1]);
      said.brightest = image.height - 1 - green.indexOf(Math.max(...green));
    };
    image.src = document.querySelector("#heat image").getAttribute("href");
    setTimeout(() => {
      said.rows = document.querySelectorAll("#bins-table tr").length;
      said.requests = performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith("data:"));
      said.wide = document.documentElement.scrollWidth > innerWidth;
      document.body.dataset.said = JSON.stringify(said);
    }, 100);
    """
    path, schedule = run_of_groups
    dom = dump(page_of(read_run(path)), tmp_path, script=script, width=500)
    said = json.loads(html.unescape(re.search(r'data-said="(.*?)"', dom)[1]))
    assert said == {
        "slider": "record 5 of 20, step 40, active #record=5",
        "words": "record 5 of 20, step 40, active",
        "next": "record 6 of 20, step 50, active",
        "group": "#record=20&series=3",
        "brightest": int(schedule.profile(2).density.argmax()),
        "rows": 65,
        "requests": [],
        "wide": False,
    }


@needs_chromium
def test_a_script_that_fails_says_so_on_the_page(run_of_groups, tmp_path):
    page = page_of(read_run(run_of_groups[0])).replace('"curves":', '"curled":')
    dom = dump(page, tmp_path)
    assert 'data-state="failed"' in dom
    assert "script failed" in inner(dom, "failed")
