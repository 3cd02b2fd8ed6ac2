"""One comparison for every backend: its ops, under each schedule that they run by, against the float64 reference."""

import pytest
import torch

from infonoise_ext.ops import reference

from . import (
    BACKENDS,
    DEVICE,
    OPS,
    assert_same_bits,
    assert_same_sigma,
    assert_same_state,
    call,
    copy_of,
    generator,
    random_batch,
)
from .emulated import Emulated
from .interpreted import Interpreted

SLOW = ("triton", "emulated", "interpreted") if DEVICE == "cpu" else ()
"""Backends that run in an interpreter or an emulator here, and so take fewer cases."""
SEEDS = (0, 1, 2, 3)
LIMITS = {"one launch": {}, "two launches": {"one_launch": 200, "tile": 128}}
SIZES = (0, 1, 31, 33, 300, 1025)
"""Of batches: none, one, a warp and its neighbours, and more than a block."""
LARGE = () if DEVICE == "cpu" else (4096, 2**16, 2**16 + 1, 2**20)
"""Sizes that pick every launch on a GPU; the reference's loops would need minutes."""
MOST = (2**23 + 3,) if LARGE else ()


def schedules(backend, module, **options):
    """The emulated ops under four schedules; the interpreted under two, as it finds races under any."""
    if backend == "interpreted":
        return [Interpreted(module, seed, **options) for seed in SEEDS[::2]]
    return [Emulated(module, seed, **options) for seed in SEEDS]


def over(names, cases, slow_cases=None):
    """Parametrize a test of `ways` over backends and cases; those of `SLOW` are marked and may take fewer."""
    parameters = []
    for backend in dict.fromkeys((*BACKENDS, *SLOW)):
        marks = [pytest.mark.slow] if backend in SLOW else []
        chosen = cases if slow_cases is None or backend not in SLOW else slow_cases
        parameters += [pytest.param(backend, *case, marks=marks) for case in chosen]
    return pytest.mark.parametrize(f"backend {names}".split(), parameters)


def on_cpu(x):
    return x.cpu() if isinstance(x, torch.Tensor) else x


class Parity:
    """A state in the hands of the reference, and of each way in which a backend runs its ops."""

    def __init__(self, ways, state, against="reference"):
        self.ways, self.states = ways, [copy_of(state) for _ in ways]
        self.exact, self.expected = OPS[against], copy_of(state, "cpu")

    def __call__(self, name, *rest):
        """Run an op everywhere: the ways must agree bit for bit, and with the reference; returns its result."""
        wanted = call(self.exact, name, self.expected, *map(on_cpu, rest))
        found = [call(way, name, state, *rest) for way, state in zip(self.ways, self.states, strict=True)]
        if name == "bin_stats":
            torch.testing.assert_close(found[0].cpu(), wanted, rtol=1e-13, atol=0)
        elif wanted is not None:
            assert_same_sigma(found[0].cpu(), wanted)
        assert wanted is None or all(torch.equal(each, found[0]) for each in found)
        for state in self.states[1:]:
            assert_same_bits(state, self.states[0])
        assert_same_state(copy_of(self.states[0], "cpu"), self.expected)
        return wanted


def batch_of(state, size, g, dtype=torch.float32):
    """A spoiled batch with a mask, and groups, some unknown, when there are several."""
    device, groups = state["cdf"].device, len(state["cdf"])
    mask = torch.rand(size, generator=g) < 0.7
    group = torch.randint(-1, groups + 1, (size,), generator=g).to(device) if groups > 1 else None
    return *random_batch(state, size, g, dtype), mask.to(device), group


def group_of(state, n, g):
    """A known group for each of n, when there are several."""
    groups = len(state["cdf"])
    return torch.randint(0, groups, (n,), generator=g).to(state["cdf"].device) if groups > 1 else None


def rough_moments(state, g, empty):
    """Moments of a bumpy profile in which a share of the bins holds no loss, and others one that is huge."""
    sigma = state["grid"][1, :-1].cpu()
    shape = len(state["cdf"]), len(sigma)
    bumps = 0.5 + torch.rand(shape, generator=g, dtype=torch.float64)
    mean = sigma.square() / (1 + sigma.square()) * bumps
    count = torch.randint(1, 200, shape, generator=g).double()
    largest = mean * 10 ** (4 * torch.rand(shape, generator=g, dtype=torch.float64) ** 4)
    moments = torch.stack((count, (count - 1) * mean, largest), -1)
    moments[torch.rand(shape, generator=g) < empty] = 0
    return moments.to(state["cdf"].device)


def pair_of(shape, denoised=torch.float32, target=torch.float32, seed=0):
    """A prediction and its target."""
    g = generator(seed)
    return torch.randn(shape, generator=g).to(denoised), torch.randn(shape, generator=g).to(target)


def assert_same_loss(ways, grad, denoised, target):
    """Errors to float32's last digits, or float64's, the same of every way; returns them with their gradient."""
    rtol = 1e-13 if torch.float64 in (denoised.dtype, target.dtype) else 3e-7
    wanted = reference.denoising_error(denoised, target)
    slope = reference.denoising_error_backward(grad, denoised, target)
    found = [(w.denoising_error(denoised, target), w.denoising_error_backward(grad, denoised, target)) for w in ways]
    for error, gradient in found:
        assert torch.equal(error, found[0][0])
        assert torch.equal(gradient, found[0][1])
    torch.testing.assert_close(found[0][0], wanted, rtol=rtol, atol=0)
    torch.testing.assert_close(found[0][1], slope)
    return found[0]
