"""Every op of a backend at each of its launches, small: what compute-sanitizer watches.

`PYTHONPATH=.:tests python tests/gpu/exercise.py auto|triton|eager [DEVICE]`. Inputs are made on the CPU, so
hardly a kernel runs that is not the package's own. Exit status 1 if a result is not the CPU's.
"""

import sys

import torch
from support.arguments import Inputs

from infonoise_ext.ops import registry as ops
from infonoise_ext.ops.schemas import SCHEMAS

SIZES = (0, 700, 2**16 + 1)
RTOL = {torch.float32: 1e-5, torch.float64: 1e-9}


def same(found, wanted):
    if wanted.is_floating_point():
        return torch.allclose(found.cpu(), wanted, rtol=RTOL[wanted.dtype], atol=1e-12, equal_nan=True)
    return torch.equal(found.cpu(), wanted)


def wrong(backend, name, inputs, device):
    """Whether the op's result or a tensor that it changes differs from the CPU's."""
    wanted = inputs.of(name)
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
