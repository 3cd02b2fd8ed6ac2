"""What nvcc compiled of the CUDA kernels, run without a GPU by the interpreter of `tests/native/ptx`.

It proves, of the PTX of sm_90 and of every launch in `tests/ops` and here: no race in shared or global memory whatever
the order of threads, no access beyond a tensor or the block's shared memory, none misaligned, no read of shared or
scratch memory that nothing wrote, no barrier that threads miss; and that results are those of the CPU's library.

It cannot know what ptxas makes of the PTX, how the hardware rounds `approx` instructions, memory that is weaker than
barriers, fences and atomics say (scopes other than the whole device are taken as that), or anything of time.
"""

import struct
from functools import partial

import pytest
import torch
from support import FLOATS, OPS, assert_same_bits, call, copy_of, generator, make_state, random_batch
from support.emulated import PLANTED, PLANTED_IN_LOSS
from support.interpreted import Interpreted
from support.parity import LIMITS, SEEDS, batch_of, pair_of, rough_moments
from support.planted import loss_goes_wrong, step_goes_wrong

pytestmark = pytest.mark.slow  # builds the interpreter

ULPS = {"cdf": 64, "stats": 64}
"""Of float64, by which refreshed tables may differ from the CPU's, whose exp, log and pow are another library's."""


def ulps(one, other):
    """The largest distance of two float64 tensors, in numbers that lie between."""
    whole = [x.contiguous().view(torch.int64) for x in (one, other)]
    return int((whole[0] - whole[1]).abs().max())


def assert_same_as_cpu(state, expected):
    """Every bit, but for what a refresh computes by logarithms and exponentials."""
    for name, bound in ULPS.items():
        assert ulps(state[name], expected[name]) <= bound, name
    assert_same_bits(state | {name: expected[name] for name in ULPS}, expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("groups", [1, 3])
def test_steps_with_refreshes_are_the_cpus(interpreted, groups, limits, seed):
    rules = {"pivot_rule": 1 + seed % 2, "signal": seed, "pivot_value": 0.002 if seed % 2 == 0 else 0.02}
    state = make_state(groups, bins=64, capacity=64, warmup=1, refresh_every=2, min_count=2, **rules)
    expected, g = copy_of(state), generator(seed)
    op = Interpreted(interpreted, seed, threads=(64, 512)[seed % 2], **LIMITS[limits])
    for size in (256, 1025, 700):
        batch = batch_of(state, size, g)
        next_group = torch.randint(0, groups, (size,), generator=g) if groups > 1 else None
        found = call(op, "advance_", state, *batch, size, next_group)
        assert torch.equal(found, call(OPS["compiled"], "advance_", expected, *batch, size, next_group))
        assert_same_as_cpu(state, expected)
        state = copy_of(expected)  # so that digits do not add up
    assert (expected["counters"][:, 2] >= 1).all()


@pytest.mark.parametrize("bins", [64, 400])
def test_plain_batches_in_tiles_are_the_cpus(interpreted, bins):
    state = make_state(bins=bins, capacity=5)
    expected, batch = copy_of(state), random_batch(state, 4099, generator(bins))
    call(OPS["compiled"], "observe_", expected, *batch, None, None)
    call(Interpreted(interpreted, threads=128, one_launch=100, tile=600), "observe_", state, *batch, None, None)
    assert_same_bits(state, expected)


@pytest.mark.parametrize("stratified", [0, 1])
@pytest.mark.parametrize("groups", [1, 3])
def test_draws_are_the_cpus(interpreted, groups, stratified):
    state, n = make_state(groups, bins=96, stratified=stratified, rank=1, world=4), 13_003
    state["rng"][1] = 2**33 - 1
    expected, group = copy_of(state), torch.arange(n) % groups if groups > 1 else None
    wanted = call(OPS["compiled"], "sample_", expected, n, group)
    assert torch.equal(call(Interpreted(interpreted, 2), "sample_", state, n, group), wanted)
    assert_same_bits(state, expected)


@pytest.mark.parametrize("signal", range(4))
@pytest.mark.parametrize(("rule", "value"), [(0, 0.3), (1, 0.002), (2, 0.02)])
def test_refreshes_are_the_cpus(interpreted, rule, value, signal):
    state = make_state(3, bins=64, pivot_rule=rule, pivot_value=value, signal=signal)
    moments, expected = rough_moments(state, generator(rule), 0.2), copy_of(state)
    call(OPS["compiled"], "refresh_", expected, moments)
    call(Interpreted(interpreted), "refresh_", state, moments)
    assert_same_as_cpu(state, expected)


@pytest.mark.parametrize("dtype", FLOATS)
def test_gradients_of_the_loss_are_the_cpus(interpreted, dtype):
    for shape in ((5, 1), (70, 3), (2, 3, 31, 7), (2, 9000)):
        a, b = pair_of(shape, dtype)
        grad = torch.rand(len(a), generator=generator(1))
        found = Interpreted(interpreted, 2, cut=(8192, 4096)).denoising_error_backward(grad, a, b)
        assert torch.equal(found, OPS["compiled"].denoising_error_backward(grad, a, b))


@pytest.mark.parametrize("bug", ["", *PLANTED])
def test_every_planted_bug_is_caught(planted_ptx, bug):
    planted_ptx.plant(bug)
    found = [
        step_goes_wrong(partial(Interpreted, planted_ptx, seed, threads=128, one_launch=one_launch), seed)
        for seed in SEEDS[::2]
        for one_launch in (9, 999)
    ]
    assert any(found) == bool(bug)


@pytest.mark.parametrize("bug", ["", *PLANTED_IN_LOSS])
def test_every_planted_bug_of_the_loss_is_caught(planted_ptx, bug):
    planted_ptx.plant(bug)
    assert any(loss_goes_wrong(Interpreted(planted_ptx, seed), seed) for seed in SEEDS[::2]) == bool(bug)


EARLY = "race|before anything wrote|may not have started|different numbers"
MESSAGES = {
    ("cluster_sum", 4): {"reads_too_early": EARLY, "exits_too_early": "has exited"},
    ("cluster_count", 4): {"no_zero": "before anything wrote", "no_atomic": "race", "counts_too_early": "race"},
    ("last_block", 1): {"no_fence_before": "race", "no_fence_after": "race"},
    ("named_barriers", 1): {
        "no_wait": EARLY, "too_few": EARLY, "half_a_warp": "exited", "nobody_wrote": "before anything wrote",
    },
    ("copies", 1): {"beyond": "beyond every tensor", "misaligned": "misaligned"},
}  # fmt: skip
"""What the interpreter says of the bugs in `clusters.cu`, by kernel and blocks of a cluster."""


WANTED = {
    "cluster_sum": lambda x, clusters: clusters.sum(1).repeat_interleave(clusters.shape[1], 0),
    "cluster_count": lambda x, clusters: torch.stack([c.flatten().bincount(minlength=64) for c in clusters]),
    "last_block": lambda x, clusters: x.sum(0),
    "named_barriers": lambda x, clusters: torch.cat((x[0, :64].view(2, 32).sum(1).repeat_interleave(32), x[0, :64])),
    "copies": lambda x, clusters: x[0].view(16, 2).sum(1).repeat(2) + sum(1 << k for k in range(32) if x[0, k] > 50),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("kernel", "cluster", "bug", "message"),
    [(*key, bug, text) for key, bugs in MESSAGES.items() for bug, text in ({"": ""} | bugs).items()],
)
def test_clusters_named_barriers_and_fences(interpreter, kernel, cluster, bug, message, seed):
    module = interpreter("tests/native/clusters.cu")
    blocks, threads = {"last_block": (3, 64), "named_barriers": (1, 128), "copies": (1, 32)}.get(kernel, (8, 64))
    x = torch.randint(0, 64, (blocks, threads), generator=generator(seed), dtype=torch.int32)
    out, parts, tickets = torch.zeros_like(x), torch.zeros_like(x), torch.zeros(1, dtype=torch.int32)
    tensors = (x, parts, tickets, out) if kernel == "last_block" else (x, out)

    def launch():
        module.plant(bug)
        for tensor in tensors:
            module.name(tensor.data_ptr(), 4 * tensor.numel())
        try:
            module.launch(kernel, blocks, threads, cluster, 0, seed, [struct.pack("P", t.data_ptr()) for t in tensors])
        finally:
            module.forget()

    if bug:
        with pytest.raises(RuntimeError, match=message):
            launch()
        return
    launch()
    wanted = WANTED[kernel](x, x.view(-1, cluster, threads)).flatten()
    assert torch.equal(out.view(-1)[: wanted.numel()], wanted.int())


def costs_of(module, launch):
    """What the model says of the kernels that `launch` runs."""
    module.watch(False)
    module.measure(True)
    try:
        launch()
        return next(iter(module.costs().values()))
    finally:
        module.measure(False)
        module.watch(True)


def test_a_chain_is_as_long_as_its_additions(interpreter):
    """One warp: each addition of two doubles takes 8 cycles, so does the model's; loop and loads hide behind it."""
    module, x = interpreter("tests/native/clusters.cu"), torch.tensor([0.5, 0.0], dtype=torch.float64)

    def run(n):
        module.name(x.data_ptr(), 16)
        module.launch("chain", 1, 32, 1, 0, 0, [struct.pack("P", x.data_ptr()), struct.pack("i", n)])
        module.forget()

    short, long = (costs_of(module, lambda n=n: run(n)) for n in (400, 800))
    assert x[1] == 400
    assert 8 * 400 <= long["cycles"] - short["cycles"] <= 9 * 400


def test_counts_of_a_step_are_those_of_its_source(interpreted):
    """Of 16 warps at 512 samples: each comes to every barrier, and matches the one strip that it holds, once."""
    state = make_state(bins=64, capacity=16, warmup=100)
    op, batch = Interpreted(interpreted, threads=512), batch_of(state, 512, generator(1))
    cost = costs_of(interpreted, lambda: call(op, "advance_", state, *batch, 512, None))
    counts = [counts for _, counts in cost["intervals"]]
    assert all(c["barrier"] == 16 for c in counts[:-1])
    assert "barrier" not in counts[-1]
    assert sum(c.get("match", 0) for c in counts) == 16
