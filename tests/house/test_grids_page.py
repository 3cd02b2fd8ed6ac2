"""docs/grids.md: its code runs as it stands there, and its numbers are those of the exact grids."""

import math
import re

import torch
from support import ROOT
from support.oracle import exact_parts, upper_share

import infonoise_ext as inx
from infonoise_ext import oracle

TEXT = (ROOT / "docs" / "grids.md").read_text()


def test_code_of_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {}
    for code in re.findall(r"```python\n(.*?)```", TEXT, re.S):
        exec(code, names)
    assert names["schedule"].status == "active"
    assert names["basis"].shape == (64, 1)
    assert len(names["parts"]) == 2
    assert names["x"].shape == (500, 64)
    for line in re.findall(r"^(inx\.info_grid\(.*?\)) ", TEXT, re.M):
        grid = eval(line, names)
        assert grid.shape == (19,)
        assert (grid.diff() < 0).all()


def test_shares_of_the_page_are_those_of_the_exact_mmse():
    table = TEXT[TEXT.index("| | d = 64") :].split("\n\n")[0].splitlines()
    rows = {cells[0]: cells[1:] for cells in ([cell.strip() for cell in row.split("|")[1:-1]] for row in table)}
    for column, dim in enumerate(int(head.removeprefix("d = ")) for head in rows[""]):
        model = oracle.TwoModes(dim)
        whole = model.profile(sigma_max=10 * math.sqrt(dim))
        for name in ("entropy", "rescaled", "rescaled, by feature", "mmse", "length"):
            signal, _, split = name.partition(", ")
            grid = inx.info_grid(exact_parts(model, whole) if split else whole, 1000, signal, 0.0)
            assert rows[name][column] == f"{upper_share(grid, dim):.3f}", (name, dim)
