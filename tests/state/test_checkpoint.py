"""Nothing learned is lost: resume, re-binning, damaged files."""

import copy
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch
from support import assert_same_bits, state_of
from support.runs import gaussian_mmse, train

import infonoise_ext as inx
from infonoise_ext.state.tensors import MUTABLE


def test_history_cadence_survives_a_resume(tmp_path):
    schedule = inx.InfoNoise(seed=1, warmup=10, refresh_every=4)
    for _ in range(12):
        schedule.step()
    schedule.save(tmp_path / "s.pt")
    resumed = inx.InfoNoise(warmup=10, refresh_every=4, history=inx.History())
    resumed.load(tmp_path / "s.pt")
    for _ in range(8):
        resumed.step()
    assert [r["step"] for r in resumed.history.records] == [14, 18]


def test_state_is_plain_and_live(tmp_path):
    schedule = inx.InfoNoise(seed=1, pivot=inx.PowerLaw())
    state = schedule.state_dict()
    torch.save(state, tmp_path / "s.pt")
    loaded = torch.load(tmp_path / "s.pt", weights_only=True)
    assert loaded["config"]["bins"] == 64
    train(schedule, 5)
    assert int(state["counters"][0, 0]) == 5  # live tensors: a distributed checkpoint loads in place


@pytest.mark.parametrize(
    "options",
    [{"bins": 100}, {"bins": 40}, {"capacity": 64}, {"capacity": 1000}, {"sigma_min": 0.01, "sigma_max": 20.0},
     {"sigma_min": 1e-4, "sigma_max": 500.0, "bins": 90}],
)  # fmt: skip
def test_another_grid_is_rebinned_with_a_warning(options):
    old = inx.InfoNoise(seed=1)
    train(old, 500)
    new = inx.InfoNoise(seed=2, **options)
    with pytest.warns(UserWarning, match="re-binned"):
        new.load_state_dict(old.state_dict())
    low, high = max(0.002, new.config.sigma_min), min(80, new.config.sigma_max)
    sigma = torch.linspace(math.log(low * 1.1), math.log(high / 1.1), 200, dtype=torch.float64).exp()
    inside = old.table().below(torch.tensor(high)) - old.table().below(torch.tensor(low))
    wanted = (old.table().below(sigma) - old.table().below(torch.tensor(low))) / inside
    assert (new.table().below(sigma) - wanted).abs().max() < 0.06  # a floor beyond the old range, else the old cdf
    profile = new.profile()
    known = (profile.sigma > low * 1.2) & (profile.sigma < high / 1.2)
    assert (profile.mmse[known] / gaussian_mmse(profile.sigma[known]) - 1).abs().max() < 0.35
    held = (profile.count[known] > 0).double().mean()
    assert held == 1
    steps = new.summary()["steps"]
    assert steps == 500
    train(new, 200)
    assert new.status == "active"


def test_a_state_from_before_signals_serves_any_of_them():
    """Its config names no signal: table and statistics load as they are, the next refresh takes the new signal."""
    old = inx.InfoNoise(seed=1, prior=inx.LogUniform())
    train(old, 500)
    saved = old.state_dict()
    saved["config"] = {name: value for name, value in saved["config"].items() if name != "signal"}
    same, other = inx.InfoNoise(seed=2), inx.InfoNoise(seed=2, signal="length", floor=0.0)
    for schedule in (same, other):
        schedule.load_state_dict(saved)
        assert_same_bits(schedule, state_of(old, MUTABLE))
    old.refresh()
    same.refresh()
    other.refresh()
    assert torch.equal(same.state.cdf, old.state.cdf)
    assert torch.equal(other.state.mmse, old.state.mmse)
    torch.testing.assert_close(other.profile().density, other.profile().allocation, rtol=1e-12, atol=1e-14)
    assert other.profile().pivot == 0


def test_rebinning_keeps_the_newest_losses_in_order():
    old = inx.InfoNoise(seed=1, capacity=10, min_count=1)
    level = float(old.state.row("sigma")[20])
    old.observe(torch.full((14,), level), torch.arange(14.0))
    new = inx.InfoNoise(capacity=6, min_count=1)
    with pytest.warns(UserWarning, match="rings of 10"):
        new.load_state_dict(old.state_dict())
    assert new.state.ring[0, 20].tolist() == [8, 9, 10, 11, 12, 13]
    new.observe(torch.tensor([level]), torch.tensor([99.0]))
    assert sorted(new.state.ring[0, 20].tolist()) == [9, 10, 11, 12, 13, 99]


def test_one_group_starts_many_but_not_the_reverse():
    one, three = inx.InfoNoise(seed=1), inx.InfoNoise(seed=1, groups=3)
    train(one, 200)
    with pytest.warns(UserWarning, match="groups"):
        three.load_state_dict(one.state_dict())
    assert torch.equal(three.state.cdf[2], one.state.cdf[0])
    with pytest.raises(ValueError, match="3 groups"):
        one.load_state_dict(three.state_dict())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_and_pickles_go_their_own_way(duplicate):
    """Trainers pickle their loss object: the copy draws the same numbers from tensors of its own."""
    schedule = inx.InfoNoise(seed=1, weight=inx.EDMWeight(0.5), backend="eager")
    train(schedule, 120)
    twin = duplicate(schedule)
    assert torch.equal(twin.sample(10), schedule.sample(10))
    assert torch.equal(train(twin, 100), train(schedule, 100))
    for name, tensor in twin.state._asdict().items():
        assert tensor.data_ptr() != getattr(schedule.state, name).data_ptr()
        assert tensor._dynamo_static_input_type == "unguarded"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format", "other", "format"),
        ("version", 99, "99"),
        ("ring", None, "ring"),
        ("ring", torch.zeros(1, 64, 256).double(), "ring"),
        ("ring", torch.full((1, 64, 256), math.nan), "ring"),
        ("ring", torch.full((1, 64, 256), -2.0), "ring"),
        ("counters", torch.zeros(1, 11).long(), r"counters is torch.int64 \[1, 11\], but must be .* \[1, 12\]"),
        ("counters", torch.zeros(1, 3).long(), r"counters is torch.int64 \[1, 3\], but must be .* \[1, 12\]"),
        ("count", torch.zeros(1, 63, dtype=torch.int64), "count"),
        ("cdf", torch.zeros(1, 65).double(), "cdf"),
        ("cdf", torch.full((1, 65), math.nan).double(), "cdf"),
        ("edges", torch.zeros(65).double(), "edges"),
        ("rng", torch.zeros(3, dtype=torch.int64), "rng"),
        ("count", torch.full((1, 64), 2**63 - 1), "count is damaged: .*can be reached"),
        ("counters", torch.full((1, 12), 2**63 - 1), "counters is damaged: .*can be reached"),
        ("previous_count", torch.full((1, 2, 64), 2**63 - 1), "previous_count is damaged"),
        ("previous_cdf", torch.linspace(0.0, 0.5, 65).double().view(1, 65), "previous_cdf is damaged"),
        ("mmse", torch.full((1, 64), -5.0).double(), "mmse is damaged"),
        ("stats", torch.full((1, 6), math.nan).double(), "stats is damaged"),
        ("stats", torch.zeros(1, 6).double().to_sparse(), r"stats is torch\.sparse_coo on cpu, but must be dense"),
        ("rng", torch.zeros(2, dtype=torch.int64, device="meta"), "rng is .* on meta, but must be dense, with values"),
    ],
)
def test_damaged_state_is_refused_and_changes_nothing(name, value, message):
    schedule = inx.InfoNoise(seed=1)
    train(schedule, 150)
    before = state_of(schedule)
    with pytest.raises(ValueError, match=message):
        schedule.load_state_dict(schedule.state_dict() | {name: value})
    assert_same_bits(schedule, before)


@pytest.mark.parametrize("name", MUTABLE)
def test_a_state_loads_whole_or_not_at_all(name):
    """All other tensors are those of a trained schedule, whichever is the one that does not fit."""
    other, schedule = inx.InfoNoise(seed=1), inx.InfoNoise(seed=9)
    train(other, 120)
    before, state = state_of(schedule), other.state_dict()
    state[name] = state[name][:, :-1] if name == "ring" else state[name][..., :-1]
    with pytest.raises(ValueError, match=r"must be|bins"):
        schedule.load_state_dict(state)
    assert_same_bits(schedule, before)


def test_options_of_any_numeric_type_load_again(tmp_path):
    options = {
        "sigma_min": np.float32(0.01), "sigma_max": torch.tensor(50.0), "bins": np.int64(32),
        "floor": Fraction(1, 10), "min_count": torch.tensor(16), "reach": np.float64(0.5), "capacity": np.uint8(64),
    }  # fmt: skip
    strings = {"signal": np.str_("length"), "sampling": np.str_("stratified")}
    schedule = inx.InfoNoise(seed=1, **options, **strings)
    train(schedule, 120)
    schedule.save(tmp_path / "s.pt")
    resumed = inx.InfoNoise(seed=2, config=schedule.config)
    resumed.load(tmp_path / "s.pt")
    assert torch.equal(resumed.sample(64), schedule.sample(64))
    plain = (0.01, 50.0, 32, 0.1, 16, 0.5, 64)
    assert [getattr(resumed.config, name) for name in options] == pytest.approx(plain, rel=1e-6)
    assert all(type(getattr(resumed.config, name)) in (int, float) for name in options)
    assert all(type(getattr(resumed.config, name)) is str for name in strings)


def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    schedule = inx.InfoNoise(seed=1)
    path = tmp_path / "s.pt"
    schedule.save(path)
    whole = path.read_bytes()

    def dies(obj, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        schedule.save(path)
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]
