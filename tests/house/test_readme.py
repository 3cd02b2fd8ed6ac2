"""The README fits one screen or two, and its code, as it stands there, trains, samples and resumes."""

import functools
import re

import torch
from support import ROOT

import infonoise_ext as inx

TEXT = (ROOT / "README.md").read_text()
LOOP, _, SAMPLING = re.findall(r"```python\n(.*?)```", TEXT, re.S)


class Denoiser(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x, sigma):
        return self.body(x) / (1 + sigma.view(-1, 1, 1, 1))


def surroundings(batches):
    torch.manual_seed(0)
    net = Denoiser()
    data = 0.5 * torch.randn(batches, 16, 1, 4, 4)
    optimizer = torch.optim.Adam(net.parameters())
    return {"torch": torch, "net": net, "loader": list(data), "batch": 16, "optimizer": optimizer}


def test_loop_of_the_readme_trains_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    names = surroundings(130)
    before = names["net"].body.weight.clone()
    exec(LOOP, names)
    schedule = names["schedule"]
    assert not torch.equal(names["net"].body.weight, before)
    assert schedule.summary()["steps"] == 130
    assert schedule.summary()["recorded"] == 130 * 16
    schedule.save(tmp_path / "schedule.pt")
    resumed = inx.InfoNoise(sigma_min=0.002, sigma_max=80.0, weight=inx.EDMWeight(0.5))
    resumed.load(tmp_path / "schedule.pt")
    assert torch.equal(resumed.sample(16), schedule.sample(16))
    names["x0"] = names["loader"][0]
    exec(SAMPLING, names)
    assert names["grid"].shape == (10,)
    assert names["x"].shape == (16, 1, 4, 4)
    assert torch.isfinite(names["x"]).all()


def test_it_stays_short():
    assert len(TEXT.splitlines()) <= 90
    assert len(TEXT.split()) <= 700


def test_each_change_that_it_lists_is_taken():
    """The table's calls, with the values that a reader would put."""
    sigma, error, n, G = torch.ones(3), torch.ones(3), 3, 2
    schedule, sigmas = inx.InfoNoise(), torch.linspace(0.1, 10.0, 9)
    table = TEXT[TEXT.index("| you have |") :].split("\n\n")[0]
    calls = [call for call in re.findall(r"`([^`]+\))`", table) if "process_group" not in call and "path" not in call]
    assert len(calls) == 5
    for call in calls:
        eval(call, {"inx": inx}, locals() | {"G": G})
    assert schedule.summary()["recorded"] == 3
    assert schedule.summary()["steps"] == 1


def test_its_commands_are_targets_of_make():
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M).group(1).split()
    for target in re.findall(r"^make (\w+)|`make (\w+)", TEXT, re.M):
        assert "".join(target) in targets, target
