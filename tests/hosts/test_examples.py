"""The examples run as they stand, where their library is installed, and end with an active schedule."""

import re
import runpy

import pytest
from support import ROOT, hosts

QUICK = {
    "edm": [],
    "video": [],
    "k_diffusion": [],
    "diffusers_flow": ["diffusers"],
    "diffusers_ddpm": ["diffusers"],
}
SLOW = {
    "lightning_train": ["lightning.pytorch"],
    "accelerate_train": ["accelerate"],
    "flow_matching_train": ["flow_matching"],
    "torchcfm_train": ["torchcfm"],
    "lucidrains_train": ["denoising_diffusion_pytorch"],
    "physicsnemo_train": ["physicsnemo.diffusion.noise_schedulers", "physicsnemo.diffusion.metrics.losses"],
}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs an example in an empty folder: its names, and what it said."""

    def run(name):
        path = ROOT / "examples" / f"{name}.py"
        assert len(path.read_text().splitlines()) < 60
        monkeypatch.chdir(tmp_path)
        return runpy.run_path(str(path), run_name="__main__"), capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_example_trains(name, run):
    for module in (QUICK | SLOW)[name]:
        hosts.load(module)
    names, said = run(name)
    assert names["schedule"].status == "active"
    assert names["schedule"].summary()["refreshes"] >= (1 if name in QUICK else 2)
    assert said.count("active") == (2 if name == "edm" else 1)


def test_example_of_a_frozen_network_runs(run):
    errors = re.findall(r"rms error of 10 steps ([\d.]+)", run("offline_grid")[1])
    assert len(errors) == 6
    assert max(map(float, errors)) < 0.3  # of data of radius 2
