"""A known shift of each sample in log sigma: data of several resolutions share one profile."""

import math

import pytest
import torch
from support import assert_same_state, generator
from support.runs import gaussian_mmse, variation

import infonoise_ext as inx

STD, OFTEN = 0.5, {"warmup": 2, "refresh_every": 2, "min_count": 1}
EDM = inx.EDMWeight(STD)


def error_of_images(sigma, pixels, g):
    """Of the exact denoiser of 16 Gaussian values, each in `pixels` equal pixels, which average their noise."""
    x = STD * torch.randn(len(sigma), 16, generator=g)
    noise = torch.randn(len(sigma), 16, int(pixels.max()), generator=g)
    there = torch.arange(noise.shape[-1]) < pixels.view(-1, 1, 1)
    level = sigma.view(-1, 1)
    y = x + level * (noise * there).sum(-1) / pixels.view(-1, 1)
    effective = level.square() / pixels.view(-1, 1)
    return (y * STD**2 / (STD**2 + effective) - x).square().mean(1)


def trained(pixels, shifts, steps=300, batch=256):
    schedule, g = inx.InfoNoise(seed=1, weight=EDM, capacity=1024), generator(2)
    for _ in range(steps):
        n = torch.tensor(pixels)[torch.randint(len(pixels), (batch,), generator=g)]
        shift = n.float().sqrt().log() if shifts else None
        sigma = schedule.sample(batch, shift=shift)
        schedule.observe(sigma, error_of_images(sigma, n, g), shift=shift)
        schedule.step()
    schedule.refresh()
    return schedule


def test_two_resolutions_share_one_profile():
    small, both, mixed = trained([1], True), trained([1, 16], True), trained([1, 16], False)
    exact = gaussian_mmse(both.profile().sigma, STD)
    rich = both.profile().count >= 512  # 1.6% of the mean of 16 squares; five times that is 1 in 1.7 million
    assert int(rich.sum()) > 15
    torch.testing.assert_close(both.profile().mean[rich], exact[rich], rtol=0.08, atol=0)
    assert variation(both, small) < 0.1
    assert variation(mixed, small) > 2 * variation(both, small)
    assert not both.troubles()


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)])
def test_levels_move_by_the_shift_and_count_without_it(shape):
    """Against a schedule that is told levels and errors of the unshifted data."""
    moved, plain = (inx.InfoNoise(seed=3, **OFTEN) for _ in range(2))
    shift, following = torch.randn(shape[:1], generator=generator(1)), torch.randn(shape, generator=generator(2))
    factor = shift.exp().view(-1, *[1] * (len(shape) - 1))
    sigma, own = moved.sample(shape, shift=shift), plain.sample(shape)
    torch.testing.assert_close(sigma, own * factor)
    for _ in range(4):
        out = moved.advance(sigma, own, shift=shift, next_shift=following)
        next_own = plain.advance(own, own)
        torch.testing.assert_close(out, next_own * following.exp())
        moved.observe(out, next_own, shift=following)
        plain.observe(next_own, next_own)
        own = moved.sample(shape)
        assert torch.equal(own, plain.sample(shape))
        sigma = own * factor
    assert_same_state(moved.state._asdict(), plain.state._asdict())


def test_a_number_shifts_all_levels_of_fixed_schedules_too():
    for make in (lambda: inx.InfoNoise(seed=1), lambda: inx.LogNormal(-1.2, 1.2)):
        torch.manual_seed(0)
        plain = make().sample(7)
        torch.manual_seed(0)
        torch.testing.assert_close(make().sample(7, shift=math.log(3.0)), 3 * plain)
        assert make().advance(plain, plain, shift=0.5, next_shift=0.5).shape == (7,)


def test_the_loss_tells_the_shift():
    schedule, shift = inx.InfoNoise(seed=1), torch.tensor([math.log(1e6), 0.0])
    sigma, x = torch.tensor([1e6, 1.0]), torch.zeros(2, 3)
    loss = inx.denoising_loss(x + 1, x, sigma, schedule, shift=shift)
    assert float(loss) == 1.0
    assert schedule.summary()["skipped_out_of_range"] == 0
    assert int(schedule.state.count.max()) == 2


def test_shifts_that_do_not_fit_are_refused():
    schedule, x = inx.InfoNoise(seed=1), torch.ones(4)
    with pytest.raises(ValueError, match="next_shift is None, but must be the shift of the batch to draw"):
        schedule.advance(x, x, shift=x)
    with pytest.raises(ValueError, match=r"the shape of shift is \[3\], but must be that of sigma, \[4\]"):
        schedule.observe(x, x, shift=x[:3])
    with pytest.raises(ValueError, match=r"the shape of shift is \[4, 1\]"):
        schedule.sample(4, shift=torch.ones(4, 1))
    for shift in (math.nan, math.inf, "1"):
        with pytest.raises(ValueError, match=f"^shift is {shift!r}, but must be a finite number"):
            schedule.sample(4, shift=shift)
        with pytest.raises(ValueError, match=f"^next_shift is {shift!r}, but must be a finite number"):
            schedule.advance(x, x, shift=0.0, next_shift=shift)
    assert int(schedule.state.count.sum()) == 0


@pytest.mark.slow
def test_shifts_compile_in_one_graph():
    schedule, plain = (inx.InfoNoise(seed=3, **OFTEN) for _ in range(2))
    shift = torch.tensor([0.5, -0.5, 1.0])

    @torch.compile(fullgraph=True)
    def step(sigma):
        return schedule.advance(sigma, gaussian_mmse(sigma), shift=shift, next_shift=shift)

    sigma, expected = schedule.sample(3, shift=shift), plain.sample(3, shift=shift)
    for _ in range(4):
        sigma = step(sigma)
        expected = plain.advance(expected, gaussian_mmse(expected), shift=shift, next_shift=shift)
        torch.testing.assert_close(sigma, expected)
