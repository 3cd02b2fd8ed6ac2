"""The CUDA kernels of the training loss: their own source, on the CPU under unfair schedules."""

import itertools
import math

import pytest
import torch
from support import FLOATS, generator
from support.emulated import PLANTED_IN_LOSS, EmulatedLoss

from infonoise_ext.ops import reference

pytestmark = pytest.mark.slow  # builds the emulator

SEEDS = (0, 1, 2, 3)
SHAPES = ((5, 1), (70, 3), (3, 64), (2, 3, 31, 7), (1, 4096), (2, 2048), (3, 1500), (0, 5))
"""Lanes, a warp, a block, many blocks a sample; sizes that packs of 2, 4 and 8 divide and do not."""


def pair_of(shape, denoised, target, seed=0):
    g = generator(seed)
    return torch.randn(shape, generator=g).to(denoised), torch.randn(shape, generator=g).to(target)


def assert_is_reference(op, grad, denoised, target):
    exact = torch.float64 in (denoised.dtype, target.dtype)
    error, wanted = op.denoising_error(denoised, target), reference.denoising_error(denoised, target)
    torch.testing.assert_close(error, wanted, rtol=1e-13 if exact else 3e-7, atol=0)
    gradient = op.denoising_error_backward(grad, denoised, target)
    torch.testing.assert_close(gradient, reference.denoising_error_backward(grad, denoised, target))
    return error, gradient


@pytest.mark.parametrize(("denoised", "target"), list(itertools.product(FLOATS, FLOATS)))
def test_every_pair_of_dtypes_is_the_reference(emulated, denoised, target):
    for shape in SHAPES:
        a, b = pair_of(shape, denoised, target)
        assert_is_reference(EmulatedLoss(emulated, 2), torch.rand(len(a), generator=generator(1)), a, b)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_result_depends_on_the_schedule(emulated, shape):
    a, b = pair_of(shape, torch.bfloat16, torch.float32)
    grad = torch.rand(len(a), dtype=torch.float64, generator=generator(1))
    found = []
    for seed in SEEDS:
        op = EmulatedLoss(emulated, seed)
        error = op.denoising_error(a, b)
        assert op.launches == (0 if len(a) == 0 else 2 if a[0].numel() > 1024 else 1)
        found.append((error, op.denoising_error_backward(grad, a, b)))
        assert op.launches == (len(a) > 0)
    assert all(torch.equal(x, y) for results in found for x, y in zip(results, found[0], strict=True))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [48, 1304])
def test_no_result_depends_on_alignment(emulated, dtype, size):
    """The same numbers at an address that no pack fits."""
    a, b = pair_of((3, size), dtype, torch.float32)
    moved = torch.empty(3 * size + 1, dtype=dtype)[1:].view(3, size).copy_(a)
    assert a.data_ptr() % 16 == 0
    assert moved.data_ptr() % 16 != 0
    grad = torch.rand(3, generator=generator(1))
    op = EmulatedLoss(emulated, 3)
    for x, y in zip(assert_is_reference(op, grad, a, b), assert_is_reference(op, grad, moved, b), strict=True):
        assert torch.equal(x, y)


def test_every_half_and_every_rounding_to_one(emulated):
    """All float16 there are as input; as output all halfway points between neighbours, and beyond."""
    half = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.float16)
    numbers = half[half.isfinite()].view(1, -1)
    op = EmulatedLoss(emulated)
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


def test_a_gradient_of_zero_is_zero_whatever_the_sample_holds(emulated):
    a, b = pair_of((3, 40), torch.float16, torch.float32)
    a[1] = math.nan
    b[1, 3] = math.inf
    gradient = EmulatedLoss(emulated).denoising_error_backward(torch.tensor([1.0, 0.0, 2.0]), a, b)
    assert torch.equal(gradient[1], torch.zeros_like(gradient[1]))
    assert gradient.isfinite().all()


def caught(op, seed):
    """Whether the ops raise or differ from the reference, on samples of several sizes, one of them left out."""
    for size in (6, 700, 1504, 1505):
        a, b = pair_of((2, size), torch.float32, torch.float32, seed)
        grad = torch.tensor([0.0, 1.0])
        try:
            assert_is_reference(op, grad, a, b)
            a[0] = math.nan
            assert torch.equal(op.denoising_error_backward(grad, a, b)[0], torch.zeros(size))
        except (AssertionError, RuntimeError):
            return True
    return False


@pytest.mark.parametrize("bug", ["", *PLANTED_IN_LOSS])
def test_every_planted_bug_is_caught(planted, bug):
    planted.plant(bug)
    assert any(caught(EmulatedLoss(planted, seed), seed) for seed in SEEDS) == bool(bug)
