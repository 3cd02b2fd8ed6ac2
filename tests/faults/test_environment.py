"""Torch's global modes and defaults, other processes, and memory that runs out."""

import ast
import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from support import assert_same_bits, generator, state_of
from support.runs import gaussian_mmse

import infonoise_ext as inx

BACKENDS = ("auto", "eager")
OPTIONS = {"seed": 5, "bins": 24, "capacity": 16, "warmup": 4, "refresh_every": 3, "min_count": 2}


def use(schedule):
    """Every call of a run; returns what a run learns and draws."""
    sigma = schedule.sample(64)
    for i in range(12):
        error = gaussian_mmse(sigma) * (1 + 0.1 * (sigma * i).cos())
        schedule.observe(sigma, error)
        schedule.step()
        sigma = schedule.advance(sigma, error)
    schedule.refresh()
    twin = copy.deepcopy(schedule)
    twin.reset()
    twin.load_state_dict(schedule.state_dict())
    table = twin.table()
    last = [twin.sample(3), inx.info_grid(twin, 4)]
    last += [table.below(sigma), table.density(sigma), table.level(sigma.clamp(max=1))]
    return [
        sigma,
        *last,
        *twin.state._asdict().values(),
        torch.tensor(list(twin.summary().values()), dtype=torch.float64, device="cpu"),
    ]


MODES = {  # what sets it, to what, and back
    "default float64": (torch.set_default_dtype, torch.float64, torch.float32),
    "default bfloat16": (torch.set_default_dtype, torch.bfloat16, torch.float32),
    "default device": (torch.set_default_device, "meta", None),
    "deterministic": (torch.use_deterministic_algorithms, True, False),
    "flush denormals": (torch.set_flush_denormal, True, False),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", sorted(MODES))
def test_global_defaults_change_nothing(mode, backend):
    expected = use(inx.InfoNoise(backend=backend, **OPTIONS))
    change, there, back = MODES[mode]
    try:
        change(there)
        got = use(inx.InfoNoise(backend=backend, **OPTIONS))
    finally:
        change(back)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.device == b.device
        assert torch.equal(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "mode",
    [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["inference", "no_grad", "autocast"],
)
def test_contexts_change_nothing(mode, backend):
    """Also built in one and used outside of it, and the other way round."""
    expected = use(inx.InfoNoise(backend=backend, **OPTIONS))
    with mode():
        inside = inx.InfoNoise(backend=backend, **OPTIONS)
        moved = inx.InfoNoise(backend=backend, **OPTIONS).to("cpu")
        unpickled = pickle.loads(pickle.dumps(inside))
        both = use(copy.deepcopy(inside))
    outside = inx.InfoNoise(backend=backend, **OPTIONS)
    with mode():
        late = use(outside)
    for got in (both, late, use(inside), use(moved), use(unpickled)):
        for a, b in zip(got, expected, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rebinning_keeps_float32_under_other_defaults(backend):
    old = inx.InfoNoise(backend=backend, **OPTIONS)
    use(old)
    rings = []
    for dtype in (torch.float32, torch.bfloat16):
        new = inx.InfoNoise(backend=backend, **(OPTIONS | {"bins": 17, "capacity": 11}))
        torch.set_default_dtype(dtype)
        try:
            with torch.device("meta"), pytest.warns(UserWarning, match="re-binned"):
                new.load_state_dict(old.state_dict())
        finally:
            torch.set_default_dtype(torch.float32)
        rings.append(new.state.ring)
    assert torch.equal(*rings)


def test_triton_draws_float32_under_other_defaults():
    pytest.importorskip("triton")
    schedule = inx.InfoNoise(backend="triton", **OPTIONS)
    one, half = torch.ones(3), torch.tensor([0.5])
    expected = [schedule.sample(5), schedule.table().level(half), schedule.advance(one, one)]
    again = inx.InfoNoise(backend="triton", **OPTIONS)
    torch.set_default_dtype(torch.float64)
    try:
        half, one = torch.tensor([0.5], dtype=torch.float32), torch.ones(3, dtype=torch.float32)
        got = [again.sample(5), again.table().level(half), again.advance(one, one)]
    finally:
        torch.set_default_dtype(torch.float32)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("bins", "low", "high"), [(7, 0.1, 3.0), (64, 0.002, 80.0), (333, 1e-6, 1e6), (50, 1.0, 1.6)])
def test_a_sigma_on_an_edge_belongs_to_the_bin_above(bins, low, high, backend):
    schedule = inx.InfoNoise(low, high, bins=bins, backend=backend, seed=1)
    edges = schedule.state.edges
    below = torch.nextafter(edges.float(), torch.tensor(0.0))
    schedule.observe(edges, torch.ones(bins + 1))  # float64
    assert schedule.state.count[0].tolist() == [1] * (bins - 1) + [2]
    schedule.observe(below, torch.ones(bins + 1))
    assert schedule.state.count[0].tolist() == [3] + [2] * (bins - 2) + [3]
    assert schedule.table().level(torch.tensor([0.0, 1.0])).tolist() == edges[[0, -1]].tolist()


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_functions_and_one_sample(backend):
    schedule = inx.InfoNoise(backend=backend, **OPTIONS)
    leaf = torch.tensor([0.7], requires_grad=True)
    schedule.observe(leaf, leaf * 2)
    assert not schedule.advance(leaf * 1, leaf).requires_grad
    assert schedule.table().level(leaf).requires_grad  # a function of u as smooth as any density's

    def loss(w, x):
        error = (w * x).square()
        schedule.observe(x, error)
        return error.mean()

    assert torch.func.grad(loss)(torch.tensor(2.0), torch.ones(4)) == 4
    assert int(schedule.state.count.sum()) == 6


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_that_is_refused_changes_nothing(backend):
    """Too many noise levels, and a group that does not exist."""
    schedule = inx.InfoNoise(backend=backend, **OPTIONS)
    use(schedule)
    before = state_of(schedule)
    endless = torch.zeros(1, dtype=torch.int64).expand(2**45)
    one = torch.ones(1)
    for call in (
        lambda: schedule.advance(one, one, next_group=endless),
        lambda: schedule.sample(2**45),
        lambda: schedule.advance(one, one, next_group=torch.tensor([0, 1])),
    ):
        with pytest.raises((RuntimeError, ValueError), match=r"n is 35184372088832|next_group"):
            call()
        assert_same_bits(schedule, before)


@pytest.mark.parametrize("dies", ["bin_stats", "refresh_"])
def test_interrupted_refresh_changes_nothing(dies, monkeypatch):
    schedule = inx.InfoNoise(**OPTIONS)
    use(schedule)
    before = state_of(schedule)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(schedule._ops, dies, interrupt)
    with pytest.raises(KeyboardInterrupt):
        schedule.refresh()
    assert_same_bits(schedule, before)


@pytest.mark.parametrize("survived", range(5))
def test_reset_interrupted_anywhere_leaves_no_invented_loss(survived, monkeypatch):
    """No zero that `reset` wrote into a ring may count as a loss."""
    schedule = inx.InfoNoise(**OPTIONS)
    use(schedule)
    least = float(schedule.state.ring[schedule.state.ring > 0].min())
    calls = []

    def dying(method):
        def dies(*args):
            if len(calls) == survived:
                raise KeyboardInterrupt
            calls.append(args)
            return method(*args)

        return dies

    for name in ("zero_", "fill_"):
        monkeypatch.setattr(torch.Tensor, name, dying(getattr(torch.Tensor, name)))
    with pytest.raises(KeyboardInterrupt):
        schedule.reset()
    held = torch.arange(16) < schedule.state.count[0].unsqueeze(-1)
    assert (schedule.state.ring[0][held] >= least).all()


def test_no_function_checks_by_assert():
    """`python -O` removes asserts."""
    for path in Path(inx.__file__).parent.rglob("*.py"):
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        assert not any(isinstance(node, ast.Assert) for f in functions for node in ast.walk(f)), path


class Draws(torch.utils.data.Dataset):
    """Draws its noise level in the worker, which gets a copy of the schedule."""

    def __init__(self, schedule):
        self.schedule = schedule

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.schedule.sample(3)


def test_every_worker_has_a_copy_that_draws_what_the_parent_would():
    """As docs/robustness.md warns: the copies are equal, and what they record stays with them."""
    schedule = inx.InfoNoise(**OPTIONS)
    loader = torch.utils.data.DataLoader(Draws(schedule), num_workers=2, multiprocessing_context="fork", batch_size=1)
    first, second, third, fourth = (batch[0] for batch in loader)  # workers take turns
    assert torch.equal(first, second)
    assert torch.equal(third, fourth)
    assert int(schedule.state.rng[1]) == 0
    assert torch.equal(schedule.sample(3), first)


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_may_race_but_nothing_breaks(backend):
    """Counts may be lost; no crash, no NaN, nothing out of range, and one more refresh mends the table."""
    schedule = inx.InfoNoise(backend=backend, groups=2, **(OPTIONS | {"warmup": 1, "refresh_every": 1}))
    rounds = 200 if backend == "auto" else 15

    def traffic(seed):
        g = generator(seed)
        sigma = schedule.sample(500, torch.arange(500) % 2)
        for i in range(rounds):
            group = torch.randint(0, 2, (500,), generator=g)
            sigma = schedule.advance(sigma, gaussian_mmse(sigma), group=group, next_group=group)
            schedule.observe(sigma, gaussian_mmse(sigma), group=group)
            assert sigma.isfinite().all()
            assert ((sigma >= 0.002) & (sigma <= 80)).all()
            if seed == 1 and i % 10 == 0:
                schedule.reset()
            if seed == 2:
                schedule.summary()
                schedule.refresh()
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(traffic, range(6)))
    use_alone = schedule.sample(4000, torch.arange(4000) % 2)
    schedule.observe(use_alone, gaussian_mmse(use_alone), group=torch.arange(4000) % 2)
    schedule.refresh()
    assert (schedule.state.cdf.diff() > 0).all()
    assert schedule.status == ["active", "active"]
    inx.InfoNoise(groups=2, **OPTIONS).load_state_dict(schedule.state_dict())
