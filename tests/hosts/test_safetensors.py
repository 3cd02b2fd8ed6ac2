"""`save` and `load` of paths that end in .safetensors."""

import json

import pytest
import torch
from support.runs import train

import infonoise_ext as inx
from infonoise_ext.state.tensors import MUTABLE

safetensors = pytest.importorskip("safetensors")


@pytest.fixture
def schedule():
    schedule = inx.InfoNoise(seed=2**63 + 5, pivot=inx.PowerLaw(), weight=inx.EDMWeight(0.5), floor=0.1 + 0.2)
    train(schedule, 150)
    return schedule


def test_every_bit_comes_back(schedule, tmp_path):
    path = tmp_path / "schedule.safetensors"
    schedule.save(path)
    resumed = inx.InfoNoise(seed=1, pivot=inx.PowerLaw(), weight=inx.EDMWeight(0.5), floor=0.1 + 0.2)
    resumed.load(str(path))
    for name in MUTABLE:
        theirs, ours = getattr(resumed.state, name), getattr(schedule.state, name)
        assert theirs.dtype == ours.dtype
        assert torch.equal(theirs, ours), name
    assert torch.equal(train(schedule, 120), train(resumed, 120))
    assert [p.name for p in tmp_path.iterdir()] == ["schedule.safetensors"]


def test_others_can_read_it(schedule, tmp_path):
    path = tmp_path / "schedule.safetensors"
    schedule.save(path)
    with safetensors.safe_open(path, framework="pt") as file:
        plain = json.loads(file.metadata()["infonoise_ext"])
        assert set(file.keys()) == {*MUTABLE, "edges"}
        assert torch.equal(file.get_tensor("cdf"), schedule.state.cdf)
    assert plain["version"] == 1
    assert plain["config"]["floor"] == 0.1 + 0.2
    assert plain == {k: v for k, v in schedule.state_dict().items() if not isinstance(v, torch.Tensor)}


@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_truncated_file_is_refused_and_changes_nothing(schedule, tmp_path, keep):
    path = tmp_path / "s.safetensors"
    schedule.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    before = {name: getattr(schedule.state, name).clone() for name in MUTABLE}
    with pytest.raises(ValueError, match=r"s\.safetensors is damaged, or not a file of infonoise_ext"):
        schedule.load(path)
    assert all(torch.equal(getattr(schedule.state, name), before[name]) for name in MUTABLE)


def test_somebody_elses_file_is_refused(schedule, tmp_path):
    from safetensors.torch import save_file

    for metadata in ({"format": "pt"}, None):
        save_file({"ring": torch.zeros(3)}, tmp_path / "model.safetensors", metadata)
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            schedule.load(tmp_path / "model.safetensors")
    with pytest.raises(FileNotFoundError):
        schedule.load(tmp_path / "absent.safetensors")
