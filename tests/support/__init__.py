"""States, inputs and comparisons that the tests share."""

import inspect
import math
import os
from pathlib import Path

import torch

from infonoise_ext.ops import reference
from infonoise_ext.ops.schemas import COUNTERS, PARAMS, STATS, Params

ROOT = Path(__file__).parents[2]
"""Of the repository."""
MUTABLE = ("ring", "count", "previous_count", "previous_cdf", "mmse", "cdf", "stats", "counters", "rng")
ADVANCE = (*MUTABLE, "grid", "params")
REFRESH = (*MUTABLE[1:-1], "grid", "params")
DEVICE = os.environ.get("INFONOISE_TEST_DEVICE", "cpu")
"""Where the tests' states and inputs live; their numbers come from CPU generators on every device."""


OPS = {
    "compiled": torch.ops.infonoise,
    "eager": torch.ops.infonoise_eager,
    "triton": torch.ops.infonoise_triton,
    "reference": reference,
}
"""Of every backend; the reference's take tensors on the CPU."""
BACKENDS = ("compiled", "eager") if DEVICE == "cpu" else ("compiled", "eager", "triton")
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def make_state(groups=1, bins=32, capacity=8, low=0.01, high=50.0, seed=1, device=DEVICE, **params):
    """The op tensors by name, with a random table; `params` are some of `PARAMS`."""
    assert params.keys() <= set(PARAMS), params
    g = generator(seed)
    logs = torch.linspace(math.log(low), math.log(high), bins + 1, dtype=torch.float64)
    width = math.log(high / low) / bins
    grid = torch.zeros(4, bins + 1, dtype=torch.float64)
    grid[0] = logs.exp().float().double()
    grid[1, :-1] = (logs[:-1] + width / 2).exp()
    grid[2, :-1] = torch.rand(bins, generator=g, dtype=torch.float64) + 0.5
    grid[3, :-1] = math.inf
    named = dict.fromkeys(PARAMS, 0.0) | {
        "log_min": math.log(low), "width": width, "warmup": 4, "refresh_every": 3, "min_count": 3, "floor": 0.05,
        "reach": 0.6, "gate_power": 3, "pivot_rule": 1, "pivot_value": 0.002, "pivot_span": 1, "world": 1,
    } | params  # fmt: skip
    mass = torch.rand(groups, bins, generator=g, dtype=torch.float64) + 0.1
    cdf = torch.cat((torch.zeros(groups, 1, dtype=torch.float64), mass.cumsum(-1) / mass.sum(-1, keepdim=True)), -1)
    cdf[:, -1] = 1
    state = {
        "ring": torch.zeros(groups, bins, capacity),
        "count": torch.zeros(groups, bins, dtype=torch.int64),
        "previous_count": torch.zeros(groups, 2, bins, dtype=torch.int64),
        "previous_cdf": cdf.clone(),
        "mmse": torch.full((groups, bins), -1.0, dtype=torch.float64),
        "cdf": cdf,
        "stats": torch.zeros(groups, len(STATS), dtype=torch.float64),
        "counters": torch.zeros(groups, len(COUNTERS), dtype=torch.int64),
        "rng": torch.tensor([seed * 2**40 + 17, 0]),
        "grid": grid,
        "params": torch.tensor([float(named[name]) for name in PARAMS], dtype=torch.float64),
    }
    return {name: tensor.to(device) for name, tensor in state.items()}


def put_edges_at_uniforms(state, n, group=None):
    """Inner edges of every table: uniforms of the next draw of n, or their neighbours; some edges are double."""
    p, rng, g = Params(*state["params"].tolist()), state["rng"].tolist(), generator(n)
    u = reference.draw.uniforms(p, *rng, n * [0] if group is None else group.tolist())
    for table in state["cdf"]:
        chosen = [u[i] for i in torch.randint(0, n, (len(table) // 2 - 1,), generator=g)]
        edges = [math.nextafter(x, (x, 0.0, 1.0)[i % 3]) for i, x in enumerate(chosen)]
        edges += [edges[i] for i in torch.randint(0, len(edges), (len(table) - 2 - len(edges),), generator=g)]
        table[1:-1] = torch.tensor(sorted(edges), dtype=torch.float64)


def copy_of(state, device=None):
    return {name: tensor.to(device or tensor.device, copy=True) for name, tensor in state.items()}


def take(state, names):
    return [state[name] for name in names]


def call(ops, name, state, *rest):
    """An op with the tensors of the state that it takes, and its other arguments in their order."""
    names = list(inspect.signature(getattr(reference, name)).parameters)
    named = dict(zip([n for n in names if n not in state], rest, strict=True)) | state
    return getattr(ops, name)(*(named[n] for n in names))


def random_batch(state, size, g, dtype=torch.float32, spoiled=True):
    """Sigmas over the grid and beyond, losses, a few of each spoiled; on the device of the state."""
    edges, device = state["grid"][0].cpu(), state["grid"].device
    u = torch.rand(size, generator=g, dtype=torch.float64) * 1.02 - 0.01
    sigma = (edges[0].log() + u * (edges[-1] / edges[0]).log()).exp()
    error = sigma.square() / (1 + sigma.square()) * torch.rand(size, generator=g, dtype=torch.float64) * 2
    if spoiled and size:
        bad = torch.tensor([math.nan, math.inf, -math.inf, -1.0, 0.0, 1e30], dtype=torch.float64)
        for values in (sigma, error):
            where = torch.randint(0, size, (max(1, size // 20),), generator=g)
            values[where] = bad[torch.randint(0, len(bad), (len(where),), generator=g)]
    return sigma.to(device, dtype), error.to(device, dtype)


def tensors_of(schedule):
    """Of its state by name, if it is no such state already."""
    return schedule if isinstance(schedule, dict) else schedule.state._asdict()


def state_of(schedule, names=ADVANCE):
    return {name: tensors_of(schedule)[name].clone() for name in names}


def assert_same_bits(one, other):
    """All tensors that the other has, of schedules or of their states."""
    for name, tensor in tensors_of(other).items():
        assert torch.equal(tensors_of(one)[name], tensor), name


def assert_same_state(state, expected):
    """Integers and rings exactly, the cdf to 1e-12 relative, other statistics to 1e-9."""
    for name in ("ring", "count", "previous_count", "counters", "rng"):
        assert torch.equal(state[name], expected[name]), name
    torch.testing.assert_close(state["cdf"], expected["cdf"], rtol=1e-12, atol=0)
    torch.testing.assert_close(state["previous_cdf"], expected["previous_cdf"], rtol=1e-12, atol=0)
    torch.testing.assert_close(state["mmse"], expected["mmse"], rtol=1e-12, atol=0)
    torch.testing.assert_close(state["stats"], expected["stats"], rtol=1e-9, atol=1e-13)


def assert_same_sigma(sigma, expected):
    assert sigma.dtype == torch.float32
    torch.testing.assert_close(sigma, expected, rtol=1e-6, atol=0)
