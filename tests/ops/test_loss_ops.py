"""The training loss's ops of every backend against the float64 reference, in every layout."""

import math
from itertools import product

import pytest
import torch
from support import FLOATS, OPS, generator
from support.parity import assert_same_loss, over, pair_of

from infonoise_ext.ops import reference
from infonoise_ext.ops.checks import are_aligned
from infonoise_ext.ops.eager.loss import aligned
from infonoise_ext.ops.triton_ops import loss as triton_loss

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton.runtime.interpreter")  # inf - inf is meant
BACKENDS = ("compiled", "eager", "triton")
SHAPES = ((7,), (1, 1), (70, 3), (33, 5), (3, 64), (2, 3, 31, 7), (3, 1025), (2, 2048), (3, 1500), (1, 9001), (0, 4))
"""Lanes, a warp, a block, many blocks a sample; sizes that packs of 2, 4 and 8 divide and do not."""
LAST, LAST_3D = torch.channels_last, torch.channels_last_3d


@over("denoised target", list(product(FLOATS, FLOATS)))
def test_every_pair_of_dtypes_is_the_reference(backend, ways, denoised, target):
    for i, shape in enumerate(SHAPES if backend != "triton" or denoised is target else SHAPES[3:6]):
        grad = torch.randn(shape[0], generator=generator(1), dtype=(torch.float32, torch.float64)[i % 2])
        assert_same_loss(ways, grad, *pair_of(shape, denoised, target))


@pytest.mark.parametrize("size", [2048, 2049, 9999])
def test_triton_in_pieces(monkeypatch, size):
    """Samples are cut from 2048 elements on, into three pieces at most."""
    monkeypatch.setattr(triton_loss, "PIECE", 1024)
    monkeypatch.setattr(triton_loss, "MOST_PIECES", 3)
    assert_same_loss([OPS["triton"]], torch.tensor([1.0, 0.0, -2.0]), *pair_of((3, size)))


@over("", [()])
def test_sums_keep_their_digits(ways):
    """A large square, then 65536 small ones: adding one by one in float32 would be wrong by one in a thousand."""
    a = torch.full((1, 2**16 + 1), 0.1)
    a[0, 0] = 100.0
    wanted = (100.0**2 + 2**16 * float(a[0, 1]) ** 2) / (2**16 + 1)
    assert math.isclose(float(ways[0].denoising_error(a, torch.zeros_like(a))), wanted, rel_tol=2e-6)


def strange_pairs():
    """Pairs in layouts that a dense walk cannot take as they are, by name."""
    a, b = pair_of((4, 6, 5, 3))
    yield "channels_last and contiguous", a.to(memory_format=LAST), b
    yield "contiguous and channels_last", a, b.to(memory_format=LAST)
    yield "sliced", a[:, ::2], b[:, 1::2]
    yield "expanded target", a, b[:1].expand_as(b)
    yield "expanded denoised", a[:, :1].expand_as(a), b
    yield "batch inside", a.transpose(0, 3), b.transpose(0, 3)
    yield "overlapping", torch.arange(20.0).as_strided((3, 2, 2), (4, 1, 1)), torch.ones(3, 2, 2)


def dense_pairs():
    """Pairs that are walked as they are, by name."""
    a, b = pair_of((4, 6, 5, 3))
    yield "channels_last", a.to(memory_format=LAST), b.to(memory_format=LAST)
    yield "channels_last_3d", *(x.view(4, 3, 2, 5, 3).to(memory_format=LAST_3D) for x in (a, b))
    yield "permuted", a.transpose(1, 3), b.transpose(1, 3)
    yield "one channel", a[:, :1].contiguous(memory_format=LAST), b[:, :1].contiguous()
    yield "one sample of many", a[2:3], b[1:2]
    yield "offset", a[1:], b[1:]


@over("name a b", list(dense_pairs()))
def test_dense_layouts_are_walked_as_they_are(ways, name, a, b):
    assert all(x is y for x, y in zip(aligned(a, b), (a, b), strict=True))
    _, gradient = assert_same_loss(ways, torch.rand(len(a), generator=generator(1)), a, b)
    assert gradient.stride() == torch.empty_like(a).stride()


@pytest.mark.parametrize(("name", "a", "b"), list(strange_pairs()))
def test_other_layouts_are_refused_by_kernels_and_aligned_by_a_copy(name, a, b):
    grad = torch.rand(len(a), generator=generator(1))
    for backend in ("compiled", "triton"):
        with pytest.raises((ValueError, RuntimeError), match="dense, sample after sample"):
            OPS[backend].denoising_error(a, b)
    moved = aligned(a, b)
    assert are_aligned(*moved)
    assert all(torch.equal(x, y) for x, y in zip(moved, (a, b), strict=True))
    assert_same_loss([OPS["eager"]], grad, a, b)
    for backend in BACKENDS:
        assert_same_loss([OPS[backend]], grad, *moved)


@over("dtypes", [((torch.bfloat16, torch.float32),), ((torch.float16, torch.float32),)])
def test_a_gradient_of_zero_is_zero_whatever_the_sample_holds(ways, dtypes):
    a, b = pair_of((3, 40), *dtypes)
    a[1], b[1, 3] = math.nan, math.inf
    for way in (*ways, reference):
        gradient = way.denoising_error_backward(torch.tensor([1.0, 0.0, 2.0]), a, b)
        assert torch.equal(gradient[1], torch.zeros_like(gradient[1]))
        assert gradient.isfinite().all()
        assert way.denoising_error(a, b).isnan().tolist() == [False, True, False]


@over("stride", [(0,), (2,)])
def test_gradient_takes_any_stride(ways, stride):
    a, b = pair_of((3, 40))
    assert_same_loss(ways, torch.rand(6, generator=generator(1)).as_strided((3,), (stride,)), a, b)


def test_no_result_depends_on_the_number_of_threads():
    pairs = [pair_of(shape) for shape in ((1, 200_003), (5, 70_000), (3000, 64))]
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        for a, b in pairs:
            found.append(OPS["compiled"].denoising_error(a, b))
            found.append(OPS["compiled"].denoising_error_backward(found[-1], a, b))
    assert all(torch.equal(x, y) for x, y in zip(found, found[:6] * 3, strict=True))
    for (a, b), error in zip(pairs, found[:6:2], strict=True):
        torch.testing.assert_close(error, reference.denoising_error(a, b), rtol=1e-6, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.ones(2, 3), torch.ones(3, 2), "shape"),
        (torch.ones(2, 3), torch.ones(2), "shape"),
        (torch.ones(()), torch.ones(()), "shape"),
        (torch.ones(2, 0), torch.ones(2, 0), "elements in each sample"),
        (torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3), "denoised .*must be"),
        (torch.ones(2, 3), torch.ones(2, 3, dtype=torch.complex64), "target .*must be"),
        (torch.ones(2, 3), torch.ones(2, 3, device="meta"), r"device|Meta|meta"),
    ],
)
def test_bad_arguments_get_a_clear_error(backend, a, b, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        OPS[backend].denoising_error(a, b)
    if a.device == b.device and a.shape == (2, 3) == b.shape:
        return
    with pytest.raises((ValueError, RuntimeError, IndexError)):
        OPS[backend].denoising_error_backward(torch.ones(2), a, b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("grad", [torch.ones(3), torch.ones(2, 1), torch.ones(2, dtype=torch.int64)])
def test_bad_gradients_get_a_clear_error(backend, grad):
    with pytest.raises((ValueError, RuntimeError), match="grad_error"):
        OPS[backend].denoising_error_backward(grad, torch.ones(2, 3), torch.ones(2, 3))


@pytest.mark.parametrize("namespace", ["infonoise", "infonoise_eager", "infonoise_triton"])
def test_opcheck_with_gradients(namespace):
    a, b = (x.to(memory_format=LAST).requires_grad_() for x in pair_of((4, 3, 5, 2), torch.bfloat16))
    op = getattr(torch.ops, namespace)
    torch.library.opcheck(op.denoising_error.default, (a, b))
    torch.library.opcheck(op.denoising_error_backward.default, (torch.rand(4, requires_grad=True), a, b))


@pytest.mark.parametrize(
    ("namespace", "shape"),
    [("infonoise", (3,)), ("infonoise", (2, 3, 4)), ("infonoise_eager", (2, 3)), ("infonoise_triton", (2, 2))],
)
def test_first_and_second_derivatives(namespace, shape):
    a, b = (x.requires_grad_() for x in pair_of(shape, torch.float64, torch.float64))
    error = getattr(torch.ops, namespace).denoising_error.default
    assert torch.autograd.gradcheck(error, (a, b))
    assert torch.autograd.gradgradcheck(error, (a, b))
