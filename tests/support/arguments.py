"""Arguments for every op, made on the CPU: what opcheck, the count of launches and compute-sanitizer run it with."""

import torch

from infonoise_ext.ops.schemas import SIGNALS

from . import ADVANCE, REFRESH, copy_of, generator, make_state, random_batch, take

ROWS = {
    "observe_": lambda i: [*i.take("ring", "count", "counters", "grid"), *i.batch],
    "bin_stats": lambda i: i.take("ring", "count"),
    "refresh_": lambda i: [i.moments, *i.take(*REFRESH)],
    "sample_": lambda i: [*i.take("cdf", "rng", "grid", "params"), i.size, i.group],
    "advance_": lambda i: [*i.take(*ADVANCE), *i.batch, i.size, i.group],
    "denoising_error": lambda i: [*i.images],
    "denoising_error_backward": lambda i: [i.grad, *i.images],
}
"""A new op gets its line here."""


class Inputs:
    """What the rows take their arguments from: a state that refreshes at every step, batches, images."""

    def __init__(self, size, groups):
        g = generator(size + groups)
        often = {"warmup": 1, "refresh_every": 1, "signal": SIGNALS.index("length")}
        self.size, self.state = size, make_state(groups, capacity=16, device="cpu", **often)
        sigma, error = random_batch(self.state, size, g)
        self.group = torch.randint(0, groups, (size,), generator=g) if groups > 1 else None
        self.batch = [sigma, error, torch.rand(size, generator=g) < 0.8, self.group]
        self.moments = torch.rand(groups, 32, 3, generator=g, dtype=torch.float64) * 100
        self.images = torch.randn(2, 5, 1 + size % 4096, generator=g)
        self.grad = torch.rand(5, generator=g)

    def take(self, *names):
        return take(copy_of(self.state), names)

    def of(self, name):
        """Arguments of one op, the state's tensors copied."""
        return ROWS[name](self)
