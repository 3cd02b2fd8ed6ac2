"""The command that runs all experiments, and the tables that documents show of them."""

import importlib
import json
import os
import sys

import pytest

from experiments import __main__ as command
from experiments import lab
from experiments.lab import EXPERIMENTS, Experiment, filled, pages

ANSWER = """
import argparse, json, pathlib
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    options.out.write_text(json.dumps({"answer": 42 if options.short else 43}))
    print("answered")
def table(results):
    return f"| answer |\\n|---|\\n| {results['answer']} |"
if __name__ == "__main__":
    main()
"""
STAND_INS = [
    Experiment("breaks", "lab_breaks", 1),
    Experiment("answer", "lab_answer", 2),
    Experiment("silent", "lab_silent", 1),
]


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """Three experiments: one raises, one answers, one writes nothing."""
    (tmp_path / "lab_answer.py").write_text(ANSWER)
    (tmp_path / "lab_breaks.py").write_text("raise RuntimeError('lost')\n")
    (tmp_path / "lab_silent.py").write_text("")
    monkeypatch.setattr(lab, "EXPERIMENTS", STAND_INS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("lab_answer", None)


def called(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["experiments", *map(str, arguments)])
    return command.main()


def test_one_that_fails_is_told_and_the_others_run(stand_ins, monkeypatch, capsys):
    out = stand_ins / "out"
    assert called(monkeypatch, "--out", out) == 1
    said = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "failed, exit status 1: see breaks.log" in said["breaks"]
    assert "RuntimeError: lost" in (out / "breaks.log").read_text()
    assert "was not written" in said["silent"]
    assert said["answer"].endswith("s  answer.json")
    assert json.loads((out / "answer.json").read_text()) == {"answer": 42}
    assert (out / "answer.log").read_text() == "answered\n"


def test_results_of_an_earlier_run_do_not_hide_a_failure(stand_ins, monkeypatch, capsys):
    (stand_ins / "silent.json").write_text("{}")
    os.utime(stand_ins / "silent.json", (1, 1))
    assert called(monkeypatch, "--out", stand_ins, "--only", "silent") == 1
    assert "was not written" in capsys.readouterr().out


def test_full_writes_the_results_and_fills_the_documents(stand_ins, monkeypatch, capsys):
    results, docs = stand_ins / "experiments" / "results", stand_ins / "docs" / "deep"
    results.mkdir(parents=True)
    docs.mkdir(parents=True)
    monkeypatch.setattr(lab, "ROOT", stand_ins)
    monkeypatch.setattr(lab, "RESULTS", results)
    (stand_ins / "README.md").write_text("nothing here\n")
    page = docs / "page.md"
    page.write_text("before\n<!-- table: answer -->\nold\n<!-- /table -->\nafter\n")
    assert called(monkeypatch, "--full", "--only", "answer", "--out", stand_ins / "logs") == 0
    assert "about 2 minutes" in capsys.readouterr().out
    wanted = "before\n<!-- table: answer -->\n| answer |\n|---|\n| 43 |\n<!-- /table -->\nafter\n"
    assert page.read_text() == wanted
    assert (stand_ins / "logs" / "answer.log").exists()
    assert called(monkeypatch, "--fill") == 0
    assert "up to date" in capsys.readouterr().out


def test_a_table_of_nothing_is_refused(stand_ins, tmp_path):
    place = "<!-- table: {} -->\n<!-- /table -->\n"
    assert filled("no place\n", tmp_path) == "no place\n"
    for name in ("answer", "unknown"):  # one has no result yet, the other is no experiment
        with pytest.raises(ValueError, match=f"'{name}'"):
            filled(place.format(name), tmp_path)


def test_an_unknown_name_is_refused(monkeypatch, capsys):
    with pytest.raises(SystemExit) as refusal:
        called(monkeypatch, "--only", "nonsense")
    assert refusal.value.code == 2
    assert "nonsense" in capsys.readouterr().err


def test_list_names_every_experiment(monkeypatch, capsys):
    assert called(monkeypatch, "--list") == 0
    said = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert said == [experiment.name for experiment in EXPERIMENTS]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_documents_hold_the_tables_of_the_results(page):
    text = page.read_text()
    assert filled(text, lab.RESULTS) == text, "python -m experiments --fill"


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_every_experiment_keeps_the_contract(experiment):
    module = importlib.import_module(experiment.module)
    assert callable(module.main)
    if experiment.page:
        text = (lab.ROOT / experiment.page).read_text()
        assert text.count(f"<!-- table: {experiment.name} -->") == 1
        assert f"{experiment.name}.png" in text
    for suffix, limit in ((".json", 10**6), (".png", 150_000)):
        assert 0 < (lab.RESULTS / f"{experiment.name}{suffix}").stat().st_size < limit
