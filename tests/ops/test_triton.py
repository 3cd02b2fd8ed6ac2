"""What is special to the Triton ops: many programs, launches, refusals, and code for GPUs that are not here.

No test here runs on a GPU: `conftest.py` sets TRITON_INTERPRET=1. `test_ops.py` holds the ops to the reference.
"""

import json
import os
import subprocess
import sys

import pytest
import torch
from support import OPS, ROOT, assert_same_sigma, assert_same_state, call, generator, make_state, random_batch
from support.arguments import Inputs
from support.parity import Parity, batch_of, group_of
from torch._dynamo.testing import CompileCounterWithBackend

import infonoise_ext as inx
from infonoise_ext.ops.schemas import SCHEMAS
from infonoise_ext.ops.triton_ops import advance, draw, record

# numpy's, for the logarithm of a pivot of 0, which is meant
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton.runtime.interpreter")
TRITON = OPS["triton"]


@pytest.fixture
def many_programs(monkeypatch):
    """Batches beyond 100 count as large, in chunks of 64."""
    for module in (record, draw, advance):
        monkeypatch.setattr(module, "ONE_PROGRAM", 100)
    monkeypatch.setattr(record, "CHUNK", 64)


@pytest.fixture(params=["forward", "backward"])
def program_order(request, monkeypatch):
    """Programs run from the first to the last, or from the last to the first."""
    from triton.runtime.interpreter import interpreter_builder as builder

    plain = builder.set_grid_idx
    if request.param == "backward":
        monkeypatch.setattr(builder, "set_grid_idx", lambda x, y, z: plain(builder.grid_dim[0] - 1 - x, y, z))
    return request.param


@pytest.mark.parametrize("capacity", [3, 64])
def test_observe_by_many_programs_in_any_order(many_programs, program_order, capacity):
    """Exact ranks across chunks, with rings that overflow within a chunk and across chunks."""
    run, g = Parity([TRITON], make_state(3, capacity=capacity)), generator(capacity)
    for size in (101, 500):
        run("observe_", *batch_of(run.expected, size, g))


def test_sample_by_many_programs_in_any_order(many_programs, program_order):
    for stratified in (0, 1):
        run = Parity([TRITON], make_state(3, stratified=stratified, rank=1, world=3))
        group = group_of(run.expected, 2000, generator(0)).to(torch.int32)[::2]
        for _ in range(2):
            run("sample_", 1000, group)


@pytest.mark.parametrize(
    ("batch", "n", "groups", "rule"),
    [(120, 0, 1, 0), (0, 120, 2, 1), (3, 120, 3, 2), (130, 130, 1, 1), (130, 130, 3, 0)],
)
def test_advance_by_many_programs(batch, n, groups, rule, many_programs):
    often = {"warmup": 2, "refresh_every": 1, "min_count": 1}
    state = make_state(groups, pivot_rule=rule, pivot_value=[0.1, 0.002, 0.1][rule], **often)
    run, g = Parity([TRITON], state), generator(batch)
    sigma, error = random_batch(state, batch, g)
    for _ in range(6):
        group, following = group_of(state, batch, g), group_of(state, n, g)
        drawn = run("advance_", sigma, error, torch.rand(batch, generator=g) < 0.9, group, n, following)
        if n == batch:
            sigma, error = drawn, drawn.square() / (1 + drawn.square()) * torch.rand(batch, generator=g)
    assert (run.expected["counters"][:, 2] > 3).all() or batch < 100


@pytest.fixture
def launches(monkeypatch):
    """How often a kernel was launched, by name."""
    from triton.runtime.interpreter import GridExecutor

    seen = []
    plain = GridExecutor.__call__
    monkeypatch.setattr(
        GridExecutor, "__call__", lambda self, *a, **k: (seen.append(self.fn.__name__), plain(self, *a, **k))[1]
    )
    return seen


@pytest.mark.parametrize("name", sorted(SCHEMAS.keys() - {"advance_"}))
def test_an_ordinary_op_is_one_launch(name, launches):
    getattr(TRITON, name)(*Inputs(40, 2).of(name))
    assert len(launches) == 1


@pytest.mark.parametrize(
    ("groups", "size", "wanted"),
    [
        (1, 60, ["step_kernel"]),
        (2, 60, ["step_kernel", "moments_kernel", "finish_kernel"]),
        (1, 130, ["rank_kernel", "prefix_kernel", "write_kernel", "sample_kernel", "moments_kernel", "finish_kernel"]),
    ],
)
@pytest.mark.parametrize("due", [False, True])
def test_launches_of_advance_do_not_depend_on_what_is_due(groups, size, wanted, due, launches, many_programs):
    state = make_state(groups, warmup=1 if due else 9, min_count=1)
    sigma, error = random_batch(state, size, generator(1))
    call(TRITON, "advance_", state, sigma, error, None, None, size, None)
    assert launches == wanted
    assert bool(state["counters"][0, 2]) == due


def test_the_object_on_triton_compiles_whole_and_matches_the_default():
    torch._dynamo.reset()
    options = {"seed": 1, "warmup": 3, "refresh_every": 2, "bins": 40, "min_count": 1}
    schedule, plain = inx.InfoNoise(backend="triton", **options), inx.InfoNoise(**options)
    counter = CompileCounterWithBackend("aot_eager")
    fast = torch.compile(lambda s, x: s.advance(x, x.square()), backend=counter, fullgraph=True)
    for batch in (64, 32, 64, 7, 33, 64):
        sigma = plain.sample(batch)
        assert_same_sigma(schedule.sample(batch), sigma)
        assert_same_sigma(fast(schedule, sigma), plain.advance(sigma, sigma.square()))
    assert counter.frame_count <= 2
    assert_same_state(schedule.state._asdict(), plain.state._asdict())
    assert int(plain.state.counters[0, 2]) > 0


@pytest.mark.parametrize(
    ("change", "n", "message"),
    [
        (torch.t, 3, r"cdf is float64 \[33, 2\], not contiguous, but must be contiguous float64 \[G, K \+ 1\]"),
        (torch.Tensor.float, 3, r"cdf is float32 \[2, 33\], but must be contiguous float64"),
        (torch.Tensor.clone, -1, r"n is -1, but must be in \[0, 4294967296\]"),
    ],
)
def test_bad_state_gets_a_clear_error(change, n, message):
    state = make_state(2)
    with pytest.raises(ValueError, match=message):
        call(TRITON, "sample_", state | {"cdf": change(state["cdf"])}, n, None)


def test_too_many_bins_get_a_clear_error():
    with pytest.raises(ValueError, match="bins is 5000, but must be at most 4096"):
        call(TRITON, "sample_", make_state(bins=5000), 3, None)


def without_interpreter(*command):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = str(ROOT)  # a script's own folder comes first, and then what is installed
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, env=environment)


def test_cpu_tensors_without_the_interpreter_get_a_clear_error():
    result = without_interpreter("-c", "import infonoise_ext as inx; inx.InfoNoise(backend='triton').sample(3)")
    assert "RuntimeError: backend 'triton' serves CPU tensors only through Triton's interpreter" in result.stderr
    assert "TRITON_INTERPRET=1" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("target", "registers"), [("cuda:80", 255), ("cuda:90", 255), ("hip:gfx942", 256)])
def test_kernels_compile_for_a_gpu_without_spills(target, registers):
    """Every kernel at 64 bins with all options and at 512 without, no GPU needed; a missing target fails."""
    result = without_interpreter("tests/native/triton_targets.py", target)
    assert result.returncode == 0, result.stderr
    rows = json.loads(result.stdout)
    assert len(rows) == 26
    for row in rows:
        assert row["spilled"] == 0, row
        assert row["registers"] <= registers, row
        assert row["approximate"] == [], row
