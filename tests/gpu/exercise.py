"""Every op of a backend at each of its launches, small: what compute-sanitizer watches.

`PYTHONPATH=.:tests python tests/gpu/exercise.py auto|triton|eager [DEVICE]`. Inputs are made on the CPU, so
hardly a kernel runs that is not the package's own. Exit status 1 if a result is not the CPU's.
"""

import sys

import torch
from support import ADVANCE, copy_of, generator, make_state, random_batch, take

from infonoise_ext.ops import registry as ops
from infonoise_ext.ops.schemas import SCHEMAS, SIGNALS

SIZES = (0, 700, 2**16 + 1)
RTOL = {torch.float32: 1e-5, torch.float64: 1e-9}


class Inputs:
    """What the rows below take their arguments from, on the CPU."""

    def __init__(self, size, groups):
        g = generator(size + groups)
        often = {"warmup": 1, "refresh_every": 1, "coverage": 0.05, "signal": SIGNALS.index("length")}
        self.size, self.state = size, make_state(groups, capacity=16, device="cpu", **often)
        sigma, error = random_batch(self.state, size, g)
        self.group = torch.randint(0, groups, (size,), generator=g) if groups > 1 else None
        self.batch = [sigma, error, torch.rand(size, generator=g) < 0.8, self.group]
        self.moments = torch.rand(groups, 32, 3, generator=g, dtype=torch.float64) * 100
        self.images = torch.randn(2, 5, 1 + size % 4096, generator=g)
        self.grad = torch.rand(5, generator=g)

    def take(self, *names):
        return take(copy_of(self.state), names)


ROWS = {
    "observe_": lambda i: [*i.take("ring", "count", "counters", "grid"), *i.batch],
    "bin_stats": lambda i: i.take("ring", "count"),
    "refresh_": lambda i: [i.moments, *i.take("mmse", "cdf", "stats", "counters", "grid", "params")],
    "sample_": lambda i: [*i.take("cdf", "rng", "grid", "params"), i.size, i.group],
    "advance_": lambda i: [*i.take(*ADVANCE), *i.batch, i.size, i.group],
    "denoising_error": lambda i: [*i.images],
    "denoising_error_backward": lambda i: [i.grad, *i.images],
}
"""Arguments of every op; a new op gets its line here."""


def same(found, wanted):
    if wanted.is_floating_point():
        return torch.allclose(found.cpu(), wanted, rtol=RTOL[wanted.dtype], atol=1e-12, equal_nan=True)
    return torch.equal(found.cpu(), wanted)


def wrong(backend, name, inputs, device):
    """Whether the op's result or a tensor that it changes differs from the CPU's."""
    wanted = ROWS[name](inputs)
    found = [a.to(device, copy=True) if isinstance(a, torch.Tensor) else a for a in wanted]
    results = getattr(ops.backend(backend), name)(*found), getattr(ops.backend("auto"), name)(*wanted)
    pairs = [*zip(found, wanted, strict=True), results]
    return not all(same(a, b) for a, b in pairs if isinstance(b, torch.Tensor))


def main(backend, device="cuda"):
    failed = 0
    for groups in (1, 2):
        for size in SIZES:
            inputs = Inputs(size, groups)
            for name in SCHEMAS:
                if wrong(backend, name, inputs, device):
                    failed = 1
                    print(f"{backend}: {name} of {size} in {groups} groups differs from the CPU's")
    print(f"{backend} on {device}: {len(SCHEMAS)} ops, {'some wrong' if failed else 'all right'}")
    return failed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
