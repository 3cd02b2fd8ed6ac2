"""Profiles in files, checkpoints as sources of grids, and grids of several features."""

import dataclasses
import math

import pytest
import torch
from support.runs import train

import infonoise_ext as inx
from infonoise_ext import oracle
from infonoise_ext.state.checkpoint import read_profile

CURVES = [f.name for f in dataclasses.fields(inx.Profile) if f.name != "pivot"]


def assert_same(first, second, names=CURVES):
    for name in names:
        a, b = getattr(first, name), getattr(second, name)
        assert torch.equal(a.isnan(), b.isnan()), name
        assert torch.equal(a.nan_to_num(), b.nan_to_num()), name
        assert a.dtype == b.dtype == torch.float64
    assert first.pivot == second.pivot


def trained(steps=30, **options):
    schedule = inx.InfoNoise(0.01, 20.0, **({"bins": 24, "min_count": 2, "warmup": 5, "refresh_every": 5} | options))
    train(schedule, steps, batch=64)
    return schedule


def test_profile_of_a_file_is_the_same_to_the_bit_with_its_gaps(tmp_path):
    """A schedule after one small batch: bins without losses, whose means and standard errors are NaN."""
    schedule = inx.InfoNoise()
    schedule.observe(torch.tensor([0.5, 0.5, 3.0]), torch.rand(3))
    profile = schedule.profile()
    assert 60 < int(profile.mean.isnan().sum()) < 64 == int(profile.standard_error.isnan().sum()) + 1
    profile.save(tmp_path / "p.pt")
    assert_same(inx.Profile.load(str(tmp_path / "p.pt")), profile)
    assert [file.name for file in tmp_path.iterdir()] == ["p.pt"]


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("signal", ["entropy", "length"])
def test_checkpoint_is_a_source_without_its_schedule(tmp_path, suffix, signal):
    if suffix == "safetensors":
        pytest.importorskip("safetensors")
    schedule = trained(signal=signal, gate_power=2.0, pivot=inx.Onset(0.1), weight=inx.EDMWeight(0.5))
    path = tmp_path / f"s.{suffix}"
    schedule.save(path)
    assert schedule.profile().pivot > 0
    assert_same(read_profile(path), schedule.profile())
    assert torch.equal(inx.info_grid(path, 12), inx.info_grid(schedule, 12))


def test_groups_of_a_checkpoint(tmp_path):
    schedule = inx.InfoNoise(groups=3, bins=16)
    for group in range(3):
        sigma = schedule.sample(400, torch.full((400,), group))
        schedule.observe(sigma, sigma.square() / (sigma.square() + 9.0**group), group=torch.full((400,), group))
    path = tmp_path / "s.pt"
    schedule.save(path)
    grids = [inx.info_grid(path, 7, group=group) for group in range(3)]
    for group in range(3):
        assert torch.equal(grids[group], inx.info_grid(schedule.profile(group), 7))
    assert (grids[0][1:-2] < grids[1][1:-2]).all()
    with pytest.raises(ValueError, match=r"s\.pt: group is 3"):
        inx.info_grid(path, 7, group=3)
    schedule.profile().save(tmp_path / "p.pt")
    for source in (tmp_path / "p.pt", schedule, schedule.profile()):
        with pytest.raises(ValueError, match="group is 1, but"):
            inx.info_grid(source, 7, group=1)


def test_bound_is_not_in_a_file(tmp_path):
    schedule = trained(bound=lambda sigma: torch.full_like(sigma, 1e-3))
    path = tmp_path / "s.pt"
    schedule.save(path)
    assert_same(read_profile(path), schedule.profile(), {*CURVES} - {"rate", "allocation"})
    assert (schedule.profile().rate <= read_profile(path).rate).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"no", "damaged"),
        ({"format": "infonoise_ext.history"}, "format"),
        ({"format": "infonoise_ext.profile", "version": 2}, "version is 2, but this release reads 1"),
        ({"format": "infonoise_ext.profile", "version": 1}, "lacks the curves sigma, edges"),
        ([1, 2], "it holds a list"),
    ],
)
def test_files_that_are_something_else_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / "p.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    for read in (inx.Profile.load, lambda path: inx.info_grid(path, 5)):
        with pytest.raises(ValueError, match=rf"p\.pt.*{message}"):
            read(path)
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "absent")


def test_checkpoint_whose_options_are_damaged_is_refused(tmp_path):
    state = trained().state_dict()
    for change in ({"config": None}, {"config": state["config"] | {"bins": 23}}, {"config": {"bins": "24"}}):
        torch.save(state | change, tmp_path / "s.pt")
        with pytest.raises(ValueError, match=r"s\.pt: (config|bins) "):
            inx.info_grid(tmp_path / "s.pt", 5)


def test_curves_that_do_not_fit_are_named():
    edges, two = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    for bad in (edges.flip(0), edges - 1, edges[:1], edges * math.inf, edges * math.nan):
        with pytest.raises(ValueError, match="edges is"):
            inx.Profile.from_mmse(bad, two, two, two, two)
    with pytest.raises(ValueError, match=r"the shape of count is \[1\], but must be \[2\]"):
        inx.Profile.from_mmse(edges, two, two, two, two[:1])
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"mmse is {bad}, but must be finite and at least 0"):
            inx.Profile.from_mmse(edges, two, torch.tensor([1.0, bad]).double(), two, two)


def gaussian(std, low, high, bins):
    return oracle.Gaussian(1, std).profile(low, high, bins)


@pytest.mark.parametrize("bins", [700, 1024])
def test_grid_of_features_is_uniform_in_the_sum_of_their_shares(bins):
    """Rescaled, a Gaussian's coordinate is arctan(sigma / std), whatever the variance: on other edges too."""
    stds, ranges = (0.1, 5.0), ((0.01, 40.0), (0.02, 90.0))
    profiles = [gaussian(stds[0], *ranges[0], 1024), gaussian(stds[1], *ranges[1], bins)]
    grid = inx.info_grid(profiles, 30, blend=0.0)

    def share(sigma, std, low, high):
        return (math.atan(min(max(sigma, low), high) / std) - math.atan(low / std)) / (
            math.atan(high / std) - math.atan(low / std)
        )

    shares = [sum(share(s, std, *ends) for std, ends in zip(stds, ranges, strict=True)) for s in grid[:-1].tolist()]
    steps = -torch.tensor(shares).diff()
    assert (float(grid[0]), float(grid[-2])) == (90.0, pytest.approx(0.01))
    assert (steps / steps.mean() - 1).abs().max() < 0.01


def test_features_are_weighed_alike_whatever_their_size_order_and_number():
    small, large = gaussian(0.1, 0.01, 50.0, 128), gaussian(3.0, 0.01, 50.0, 128)
    tenfold = inx.Profile.from_mmse(large.edges, large.sigma, 10 * large.mmse, large.standard_error, large.count)
    grid = inx.info_grid([small, large], 15)
    torch.testing.assert_close(inx.info_grid((tenfold, small), 15), grid, rtol=1e-6, atol=0)
    torch.testing.assert_close(inx.info_grid([large, large], 15), inx.info_grid(large, 15), rtol=1e-6, atol=0)
    assert (inx.info_grid([small, small, large], 15)[1:-2] < grid[1:-2]).all()


def test_features_of_any_source(tmp_path):
    schedule, model = trained(), oracle.Gaussian(2, 0.5)
    schedule.profile().save(tmp_path / "p.pt")
    assert torch.equal(inx.info_grid(tmp_path / "p.pt", 9), inx.info_grid(schedule.profile(), 9))
    mixed = inx.info_grid([str(tmp_path / "p.pt"), model], 9)
    assert torch.equal(mixed, inx.info_grid([schedule, model.profile()], 9))
    with pytest.raises(ValueError, match="source is \\[\\], but must be one source or more"):
        inx.info_grid([], 9)
    with pytest.raises(ValueError, match="nothing is measured"):
        inx.info_grid([model, inx.InfoNoise()], 9)
