"""Noise levels of any shape: a level for each frame or token is what the same levels in a vector are."""

import math
import re

import pytest
import torch
from support import ROOT, assert_same_state
from support.runs import gaussian_mmse

import infonoise_ext as inx

SHAPES = [(), (6,), (3, 4), (2, 3, 4)]
OPTIONS = {"warmup": 2, "refresh_every": 2, "min_count": 1}


def pair(groups=1):
    return [inx.InfoNoise(seed=3, groups=groups, **OPTIONS) for _ in range(2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_loop_over_levels_of_any_shape_is_that_of_the_vector(shape):
    shaped, flat = pair()
    n = math.prod(shape)
    sigma, vector = shaped.sample(shape), flat.sample(n)
    for _ in range(6):
        assert sigma.shape == shape
        assert torch.equal(sigma.reshape(-1), vector)
        mask = vector > 0.1
        sigma = shaped.advance(sigma, gaussian_mmse(sigma), mask.view(shape))
        vector = flat.advance(vector, gaussian_mmse(vector), mask)
        shaped.observe(sigma, sigma * 2)
        flat.observe(vector, vector * 2)
    assert_same_state(shaped.state._asdict(), flat.state._asdict())


@pytest.mark.parametrize("whole", [True, False])
def test_the_group_of_a_sample_holds_for_its_frames(whole):
    shaped, flat = pair(groups=3)
    group, following = torch.tensor([2, 0]), torch.tensor([1, 1, 2])
    spread, next_spread = group.repeat_interleave(4), following.repeat_interleave(4)
    sigma = shaped.sample((2, 4), spread.view(2, 4) if whole else group)
    vector = flat.sample(8, spread)
    assert torch.equal(sigma.view(-1), vector)
    out = shaped.advance(sigma, sigma, None, spread.view(2, 4) if whole else group, following)
    assert out.shape == (3, 4)
    assert torch.equal(out.view(-1), flat.advance(vector, vector, None, spread, next_spread))
    assert_same_state(shaped.state._asdict(), flat.state._asdict())


def test_one_profile_for_each_position():
    schedule = inx.InfoNoise(groups=4, seed=1, **OPTIONS)
    position = torch.arange(4).expand(2, 4)
    sigma = schedule.sample((2, 4), position)
    schedule.observe(sigma, sigma, group=position)
    assert schedule.state.count.sum(1).tolist() == [2, 2, 2, 2]


def test_fixed_schedules_and_tables_take_shapes_too():
    table = inx.SigmaTable.from_flow(first="noise", steps=10)
    for schedule in (inx.LogNormal(-1.2, 1.2), inx.InfoNoise(seed=1), inx.InfoNoise(seed=1).table()):
        sigma = schedule.sample((2, 3))
        assert sigma.shape == schedule.advance(sigma, sigma).shape == (2, 3)
        index, entry = table.sample(schedule, (2, 3))
        assert index.shape == entry.shape == (2, 3)


@pytest.mark.slow
def test_levels_of_frames_compile_in_one_graph():
    schedule, plain = pair()

    @torch.compile(fullgraph=True)
    def step(sigma):
        return schedule.advance(sigma, gaussian_mmse(sigma))

    sigma, expected = schedule.sample((2, 3)), plain.sample((2, 3))
    for _ in range(4):
        sigma, expected = step(sigma), plain.advance(expected, gaussian_mmse(expected))
        torch.testing.assert_close(sigma, expected)


def test_corruption_by_frame_is_that_of_each_frame():
    x0, noise = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    sigma = torch.rand(2, 3) * 4
    for path in (inx.channel.VE(), inx.channel.VP(), inx.channel.Flow("noise")):
        x = path.corrupt(x0, noise, sigma)
        for b in range(2):
            torch.testing.assert_close(x[b], path.corrupt(x0[b], noise[b], sigma[b]))


def loss_by_hand(denoised, target, sigma, weight, keep):
    """Every level by itself: the mean over its elements kept, weighted; then the mean over the levels that keep any."""
    terms = []
    for at in torch.cartesian_prod(*map(torch.arange, sigma.shape)).view(-1, sigma.dim()):
        at = tuple(at)
        kept = keep[at].reshape(-1)
        if kept.any():
            square = (denoised[at].double() - target[at].double()).square().reshape(-1)
            terms.append(weight(sigma[at]) * square[kept].mean())
    return torch.stack(terms).mean()


@pytest.mark.parametrize("mask", [None, "levels", "elements", "tokens"])
@pytest.mark.parametrize("lead", [1, 2])
def test_loss_of_frames_and_of_padding(lead, mask):
    torch.manual_seed(1)
    shape = (3, 4, 5, 2)
    denoised, target = torch.randn(shape, requires_grad=True), torch.randn(shape)
    sigma = torch.rand(shape[:lead]) + 0.1
    sizes = {None: 0, "levels": lead, "elements": 4, "tokens": 3}[mask]
    keep = torch.rand(shape[:sizes]) < 0.6
    spread = keep.view(*keep.shape, *[1] * (4 - sizes)).expand(shape) if mask else torch.ones(shape, dtype=torch.bool)
    schedule = inx.InfoNoise(weight=inx.EDMWeight(0.5), seed=1)
    expected = loss_by_hand(denoised, target, sigma, schedule.weight, spread)
    (wanted,) = torch.autograd.grad(expected, denoised)
    with torch.no_grad():
        spoiled = torch.where(spread, target, math.nan)
    loss = inx.denoising_loss(denoised, spoiled, sigma, schedule, mask=keep if mask else None)
    torch.testing.assert_close(loss.double(), expected.double(), rtol=1e-5, atol=0)
    (gradient,) = torch.autograd.grad(loss, denoised)
    torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-7)
    assert int(schedule.state.count.sum()) == int(spread.flatten(lead).any(-1).sum())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, x: s.observe(x, x.T), r"the shape of error is \[3, 2\], but must be that of sigma, \[2, 3\]"),
        (lambda s, x: s.observe(x, x[0]), r"the shape of error is \[3\]"),
        (lambda s, x: s.advance(x, x, x[0] > 0), r"the shape of mask is \[3\]"),
        (lambda s, x: s.observe(x, x, group=torch.zeros(3, dtype=torch.long)), r"group is \[3\], but must be that of"),
        (lambda s, x: s.sample((2, 3), torch.zeros(3, dtype=torch.long)), r"group is \[3\], but must be that of"),
        (lambda s, x: s.sample((2, -3)), r"shape is \(2, -3\), but must be at least 0"),
        (lambda s, x: inx.channel.VE().corrupt(x, x, x[0]), r"the shape of sigma is \[3\], but must be how"),
        (lambda s, x: inx.denoising_loss(x, x, x, s, mask=x[:, 0] > 0), r"the shape of mask is \[2\]"),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(call, message):
    schedule = inx.InfoNoise(seed=1)
    with pytest.raises(ValueError, match=message):
        call(schedule, torch.ones(2, 3))
    assert int(schedule.state.count.sum()) == 0
    assert int(schedule.state.rng[1]) == 0


def test_the_page_does_what_it_says():
    text = (ROOT / "docs" / "levels.md").read_text()
    x0, present = torch.randn(2, 3, 5), torch.rand(2, 3) < 0.7
    names = {"inx": inx, "torch": torch, "batch": 2, "frames": 3, "x0": x0, "present": present}
    names["net"] = lambda x, sigma: x / (1 + sigma.square()).unsqueeze(-1)
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    assert names["sigma"].shape == (2, 3)
    assert names["schedule"].state.count.sum(1).tolist() == [2, 2, 2]
