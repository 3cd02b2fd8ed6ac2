"""The page about a recorded run: what it holds, the command that writes it, and it in a browser."""

import base64
import html
import json
import math
import re
import shutil
import subprocess
from itertools import pairwise

import numpy as np
import pytest
import torch
from support.runs import QUICK, drive, gaussian_mmse, no_error, recorded

import infonoise_ext as inx
from infonoise_ext.__main__ import main
from infonoise_ext.watch.report import page_of, read_run
from infonoise_ext.watch.report.page import MAX_VALUES, payload
from infonoise_ext.watch.report.runs import Run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH: apt-get install chromium")


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
    history.record(schedule.snapshot())

    def error(sigma, step):
        return torch.where(torch.arange(len(sigma)) % 20 == 0, torch.nan, gaussian_mmse(sigma))

    return path, drive(schedule, 190, error, batch=900)


def test_numbers_on_the_page_are_the_schedules(run_of_groups):
    path, schedule = run_of_groups
    page = page_of(read_run(path))
    data = data_of(page)
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
    assert '<ul id="warnings"><li><strong>Skipped samples:</strong> ' in page


def test_the_page_loads_nothing_and_names_are_escaped(run_of_groups):
    page = page_of(read_run(run_of_groups[0]))
    assert not re.search(r"https?:|src=|@import|url\((?!#)", page)
    assert "default-src 'none'" in page
    assert "@page" not in page
    assert "<groups>" not in page
    assert "<h1>Noise schedule of three &lt;groups&gt;.jsonl</h1>" in page


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
    history.record(schedule.snapshot())
    record = history.records[0]
    many = {name: record[name][:1] * 1500 for name in ("profiles", "troubles")} | {"summary": dict(record["summary"])}
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
    series = data_of((tmp_path / "report.html").read_text())["series"]
    assert [one["name"] for one in series] == ["rank 0", "rank 1"]


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


@pytest.mark.parametrize("wrong", [None, "x", [], {}, -1, 1e400])
def test_a_damaged_record_is_one_line_of_words(tmp_path, capsys, wrong):
    """Each part of a record missing, or of another kind."""
    recorded(tmp_path / "run.jsonl", 20)
    first, last = map(json.loads, (tmp_path / "run.jsonl").read_text().splitlines())
    parts = [(last, name) for name in last if name not in ("format", "version")]
    parts += [(last["profiles"][0], name) for name in last["profiles"][0]]
    parts += [(last["summary"], "steps"), (last["summary"], "skipped_masked"), (last["config"], "refresh_every")]
    for holder, name in parts:
        right = holder.pop(name)
        if wrong is not None:
            holder[name] = wrong
        (tmp_path / "bad.jsonl").write_text(json.dumps(first) + "\n" + json.dumps(last) + "\n")
        status = main(["report", str(tmp_path / "bad.jsonl")])
        said = capsys.readouterr().err
        assert (status, len(said.splitlines())) in ((0, 0), (1, 1)), (name, said)
        holder[name] = right


def test_markup_in_a_trouble_is_text(tmp_path, capsys):
    recorded(tmp_path / "run.jsonl", 20)
    first, last = map(json.loads, (tmp_path / "run.jsonl").read_text().splitlines())
    last["troubles"] = [[["<b>title</b>", "<b>text</b>"]]]
    (tmp_path / "bad.jsonl").write_text(json.dumps(first) + "\n" + json.dumps(last) + "\n")
    page = page_of(read_run(tmp_path / "bad.jsonl"))
    assert "<b>" not in page
    assert "<strong>&lt;b&gt;title&lt;/b&gt;:</strong> &lt;b&gt;text&lt;/b&gt;" in page
    last["profiles"] = []
    (tmp_path / "bad.jsonl").write_text(json.dumps(first) + "\n" + json.dumps(last) + "\n")
    assert main(["report", str(tmp_path / "bad.jsonl")]) == 1
    assert "bad.jsonl holds a damaged record: LookupError, it has not as many profiles" in capsys.readouterr().err


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


@pytest.mark.slow
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


@pytest.mark.slow
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
    density = schedule.profile(2).density
    assert (
        density[said.pop("brightest")] > (1 - 1 / 64) * density.max()
    )  # of neighbours that eight bits do not tell apart
    assert said == {
        "slider": "record 5 of 20, step 40, active #record=5",
        "words": "record 5 of 20, step 40, active",
        "next": "record 6 of 20, step 50, active",
        "group": "#record=20&series=3",
        "rows": 65,
        "requests": [],
        "wide": False,
    }


@pytest.mark.slow
@needs_chromium
def test_a_script_that_fails_says_so_on_the_page(run_of_groups, tmp_path):
    page = page_of(read_run(run_of_groups[0])).replace('"curves":', '"curled":')
    dom = dump(page, tmp_path)
    assert 'data-state="failed"' in dom
    assert "script failed" in inner(dom, "failed")


@pytest.mark.slow
@needs_chromium
def test_hostile_names_and_numbers_are_text(tmp_path):
    """Markup in the names of the folder and of a file passed over, in options and in numbers."""
    hostile = "<img id=evil onerror='document.title=1' src=x>@json@"
    folder = tmp_path / f"run {hostile}"
    folder.mkdir()
    (folder / f"other {hostile}.jsonl").write_text('{"loss": 1}\n')
    recorded(folder / "run.jsonl", 40)
    records = [json.loads(line) for line in (folder / "run.jsonl").read_text().splitlines()]
    for record in records:
        record["config"] |= {f"option {hostile}": f"value {hostile}", "floor": f'">{hostile}', "sigma_min": hostile}
        record["summary"] |= {"pivot": hostile, "information": f'">{hostile}'}
    (folder / "run.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    script = "const b = document.body; b.dataset.images = document.images.length; b.dataset.text = b.textContent"
    dom = dump(page_of(read_run(folder)), tmp_path, script=script)
    assert 'data-state="ready"' in dom
    assert 'data-images="0"' in dom
    text = html.unescape(re.search(r'data-text="(.*?)"', dom, re.S)[1])
    for before in ("Noise schedule of run ", "other ", "option ", "value ", " on σ from "):
        assert before + hostile in text
