"""The README's loop, as it stands there, trains, saves and resumes."""

import functools
import re

import torch
from support import ROOT

import infonoise_ext as inx

TEXT = (ROOT / "README.md").read_text()
LOOP = re.search(r"```python\n(import infonoise_ext.*?)```", TEXT, re.S).group(1)


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
    return {
        "torch": torch,
        "net": net,
        "loader": list(data),
        "batch": 16,
        "optimizer": torch.optim.Adam(net.parameters()),
    }


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


def test_names_in_the_table_of_uses_exist():
    table = TEXT[TEXT.index("| you want |") : TEXT.index("A NaN, an Inf")]
    for name in set(re.findall(r"inx\.(\w+)", table)):
        assert hasattr(inx, name), name
    for name in set(re.findall(r"schedule\.(\w+)", table)):
        assert hasattr(inx.InfoNoise, name), name
