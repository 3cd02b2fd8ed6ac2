"""`denoising_error` of every backend under the transforms of torch.func and in forward mode: those of the formula."""

import pytest
import torch
from support import BACKENDS, OPS, generator
from torch.autograd import forward_ad

SHAPE = (3, 2, 4)


def formula(denoised, target):
    return (denoised - target).square().flatten(1).mean(1)


@pytest.fixture(params=BACKENDS)
def error(request):
    return OPS[request.param].denoising_error


def pair(*lead, dtype=torch.float64, seed=1):
    return torch.randn(2, *lead, *SHAPE, generator=generator(seed), dtype=torch.float64).to(dtype).unbind()


def both(transform, error, *tensors, rtol=1e-12):
    for argument in (0, 1):
        for found, wanted in zip(transform(error, argument), transform(formula, argument), strict=True):
            assert bool(wanted.abs().max() > 0.1)
            torch.testing.assert_close(found, wanted, rtol=rtol, atol=1e-12)


def along(function, point, direction, h=1e-5):
    """The derivative along a direction by a central difference, exact for a quadratic but for rounding."""
    up, down = (function(*(x + s * h * d for x, d in zip(point, direction, strict=True))) for s in (1, -1))
    return (up - down) / (2 * h)


def test_forward_mode_is_a_finite_difference(error):
    point, direction = pair(), pair(seed=2)
    wanted = along(formula, point, direction)
    torch.testing.assert_close(torch.func.jvp(error, point, direction)[1], wanted, rtol=1e-9, atol=1e-9)
    with forward_ad.dual_level():
        duals = (forward_ad.make_dual(x, d) for x, d in zip(point, direction, strict=True))
        value, tangent = forward_ad.unpack_dual(error(*duals))
    torch.testing.assert_close(tangent, wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(value, formula(*point))


@pytest.mark.parametrize("name", ["jacfwd", "jacrev"])
def test_jacobians(error, name):
    jacobian, point = getattr(torch.func, name), pair()
    both(lambda f, argument: [jacobian(f, argument)(*point)], error)


def test_second_derivatives_of_every_mixture_of_modes(error):
    point, direction = pair(), pair(seed=2)[0]

    def seconds(f, argument):
        def total(*tensors):
            return f(*tensors).square().sum()  # of fourth order, so that no second derivative is constant

        first = torch.func.grad(total, argument)
        yield torch.func.hessian(total, argument)(*point)
        yield torch.func.jacrev(first, argument)(*point)
        moving = [direction if i == argument else torch.zeros_like(direction) for i in (0, 1)]
        yield torch.func.jvp(first, point, tuple(moving))[1]

    both(seconds, error)


@pytest.mark.parametrize("dims", [(0, 0), (0, None), (None, 1), (3, 0), (1, 2)])
def test_lanes_are_samples(error, dims):
    lanes = [x if dim is None else x.movedim(0, dim) for x, dim in zip((pair(5)), dims, strict=True)]
    lanes = [x[0] if dim is None else x for x, dim in zip(lanes, dims, strict=True)]
    found = torch.vmap(error, dims)(*lanes)
    each = [[x if dim is None else x.select(dim, i).contiguous() for x, dim in zip(lanes, dims, strict=True)]
            for i in range(5)]  # fmt: skip
    assert torch.equal(found, torch.stack([error(*one) for one in each]))


def test_gradients_in_lanes(error):
    """Of each lane by itself, and of many directions at once through one backward."""
    denoised, target = pair(5)
    by_lane = torch.vmap(torch.func.grad(lambda a, b: error(a, b).sum()))(denoised, target)
    torch.testing.assert_close(by_lane, torch.vmap(torch.func.grad(lambda a, b: formula(a, b).sum()))(denoised, target))
    leaf, directions = denoised[0].clone().requires_grad_(), torch.randn(4, 3, dtype=torch.float64)
    found, wanted = (
        torch.autograd.grad(f(leaf, target[0]), leaf, directions, is_grads_batched=True)[0] for f in (error, formula)
    )
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("dtypes", [(torch.bfloat16, torch.float32), (torch.float32, torch.float16)])
def test_tangents_of_narrow_dtypes_are_in_the_dtype_of_the_error(error, dtypes):
    point, direction = ([x.to(t) for x, t in zip(pair(seed=s), dtypes, strict=True)] for s in (1, 2))
    tangent = torch.func.jvp(error, tuple(point), tuple(direction))[1]
    assert tangent.dtype == torch.float32
    wanted = along(formula, [x.double() for x in point], [x.double() for x in direction])
    torch.testing.assert_close(tangent.double(), wanted, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_transforms_compile_whole(backend):
    torch._dynamo.reset()
    (point, target), (direction, _) = pair(), pair(seed=2)

    def derivatives(f):
        jvp = torch.func.jvp(lambda a: f(a, target), (point,), (direction,))[1]
        return jvp, torch.func.grad(lambda a: f(a, target).sum())(point)

    error = OPS["compiled"].denoising_error
    compiled = torch.compile(lambda: derivatives(error), backend=backend, fullgraph=True)()
    for found, wanted in zip(compiled, derivatives(formula), strict=True):
        torch.testing.assert_close(found, wanted)
