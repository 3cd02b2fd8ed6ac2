"""The CUDA kernels of the training loss, run on the CPU under unfair schedules: what `tests/ops` does not compare."""

import math

import pytest
import torch
from support import FLOATS, generator
from support.emulated import PLANTED_IN_LOSS, Emulated
from support.parity import SEEDS, assert_same_loss, pair_of
from support.planted import loss_goes_wrong

pytestmark = pytest.mark.slow  # builds the emulator


@pytest.mark.parametrize(("shape", "wanted"), [((0, 5), 0), ((5, 1), 1), ((70, 3), 1), ((2, 1024), 1), ((3, 1500), 2)])
def test_launches(emulated, shape, wanted):
    op, (a, b) = Emulated(emulated), pair_of(shape)
    op.denoising_error(a, b)
    assert op.launches == wanted
    op.denoising_error_backward(torch.ones(len(a)), a, b)
    assert op.launches == (len(a) > 0)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [48, 1304])
def test_no_result_depends_on_alignment(emulated, dtype, size):
    """The same numbers at an address that no pack fits."""
    a, b = pair_of((3, size), dtype, torch.float32)
    moved = torch.empty(3 * size + 1, dtype=dtype)[1:].view(3, size).copy_(a)
    assert a.data_ptr() % 16 == 0
    assert moved.data_ptr() % 16 != 0
    grad = torch.rand(3, generator=generator(1))
    op = Emulated(emulated, 3)
    for x, y in zip(assert_same_loss([op], grad, a, b), assert_same_loss([op], grad, moved, b), strict=True):
        assert torch.equal(x, y)


def test_every_half_and_every_rounding_to_one(emulated):
    """All float16 there are as input; as output all halfway points between neighbours, and beyond."""
    half = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.float16)
    numbers = half[half.isfinite()].view(1, -1)
    op = Emulated(emulated)
    gradient = op.denoising_error_backward(torch.tensor([numbers.numel() / 2]), numbers, torch.zeros(numbers.shape))
    assert torch.equal(gradient, numbers)
    ordered = numbers[numbers >= 0].unique().float()
    middle = (ordered[1:] + ordered[:-1]) / 2
    edges = torch.tensor([0.0, 65519.996, 65520.0, 1e30, math.inf, 2**-25, 2**-24 * 1.5])
    wide = torch.cat((middle, middle.nextafter(torch.tensor(math.inf)), middle.nextafter(torch.tensor(0.0)), edges))
    wide = torch.cat((wide, -wide)).view(1, -1)
    grad = torch.tensor([-wide.numel() / 2])  # the numbers come as target, and out with their sign
    for dtype in (torch.float16, torch.bfloat16):
        rounded = op.denoising_error_backward(grad, torch.zeros(wide.shape, dtype=dtype), wide)
        assert torch.equal(rounded, wide.to(dtype))
        nan = op.denoising_error_backward(grad, torch.zeros(1, 1, dtype=dtype), torch.full((1, 1), math.nan))
        assert nan.isnan().all()


@pytest.mark.parametrize("bug", ["", *PLANTED_IN_LOSS])
def test_every_planted_bug_is_caught(planted, bug):
    planted.plant(bug)
    assert any(loss_goes_wrong(Emulated(planted, seed), seed) for seed in SEEDS) == bool(bug)
