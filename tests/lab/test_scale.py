"""The run at scale, rehearsed on a CPU: that it ends, goes on where it was cut short, and starts where it should."""

import pytest
import torch

from experiments.benefit import scale
from experiments.benefit.runs import finished
from experiments.benefit.unet import OfBits, OfNumbers, UNet


def only(data):
    return lambda size, tasks=scale.tasks: {data: tasks(size)[data]}


@pytest.mark.slow  # compiles
def test_a_rehearsal_ends_and_is_not_made_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scale, "tasks", only("long text"))
    monkeypatch.setattr(scale, "SCHEDULES", {"rule": scale.SCHEDULES["rule"]})
    out = tmp_path / "scale.json"
    for _ in range(2):
        scale.main(["--rehearse", "--out", str(out)])
        runs = finished(out.with_suffix(".jsonl"))
        assert [run["arm"] for run in runs] == ["rule"]
    assert "| rule |" in capsys.readouterr().out
    for run in runs:
        assert run["step"] == [2, 3]
        assert len(run["share"]) == 3
        assert all(score > 0 for score in run["score"])


def test_what_has_no_time_left_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "tasks", only("long text"))
    out = tmp_path / "scale.json"
    scale.main(["--rehearse", "--seconds", "0", "--out", str(out)])
    assert finished(out.with_suffix(".jsonl")) == []


def test_without_a_gpu_it_refuses(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA device"):
        scale.main([])


@pytest.mark.parametrize("made", [OfBits, lambda net: OfNumbers(net, 0.5)])
def test_a_u_net_starts_at_what_independent_pixels_say(made):
    """Of bits of mean 0, and of numbers around 0 of standard deviation 0.5: the exact posterior means."""
    net = made(UNet((32,)))
    x, sigma = torch.randn(2, 784, generator=torch.Generator().manual_seed(1)), torch.tensor([0.3, 2.0])
    square = sigma.square().unsqueeze(1)
    wanted = (x / square).tanh() if isinstance(net, OfBits) else x * 0.25 / (0.25 + square)
    torch.testing.assert_close(net(x, sigma), wanted)
