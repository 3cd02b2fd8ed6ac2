"""The examples run as they stand, where their library is installed, and end with an active schedule."""

import re
import runpy

import pytest
from support import ROOT, hosts

EXAMPLES = ROOT / "examples"
LIBRARIES = {
    "lightning_train": ["lightning.pytorch"],
    "accelerate_train": ["accelerate"],
    "flow_matching_train": ["flow_matching"],
    "torchcfm_train": ["torchcfm"],
    "lucidrains_train": ["denoising_diffusion_pytorch"],
    "physicsnemo_train": ["physicsnemo.diffusion.noise_schedulers", "physicsnemo.diffusion.metrics.losses"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARIES)
def test_example_runs(name, tmp_path, monkeypatch, capsys):
    for module in LIBRARIES[name]:
        hosts.load(module)
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert names["schedule"].status == "active"
    assert names["schedule"].summary()["refreshes"] >= 2
    assert "active" in capsys.readouterr().out
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 60


def test_example_of_a_frozen_network_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "offline_grid.py"), run_name="__main__")
    errors = re.findall(r"rms error of 10 steps ([\d.]+)", capsys.readouterr().out)
    assert len(errors) == 6
    assert max(map(float, errors)) < 0.3  # of data of radius 2
    assert len((EXAMPLES / "offline_grid.py").read_text().splitlines()) < 60
