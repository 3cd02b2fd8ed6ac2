"""A schedule and the ranks that it learns of: made before them, copied, pickled, compiled. No second process runs."""

import copy
import os
import pickle
import warnings

import pytest
import torch
import torch.distributed as dist
from support import assert_same_bits
from support.runs import train
from torch._dynamo.testing import CompileCounterWithBackend

import infonoise_ext as inx
from infonoise_ext.ops.schemas import PARAMS

WARMUP = PARAMS.index("warmup")


@pytest.fixture
def form():
    """Forms a group of four of which this process is one; its collectives do nothing."""
    fake = pytest.importorskip("torch.testing._internal.distributed.fake_pg")
    yield lambda rank: dist.init_process_group("fake", rank=rank, world_size=4, store=fake.FakeStore())
    if dist.is_initialized():
        dist.destroy_process_group()


def of_rank(rank, **options):
    return inx.InfoNoise(seed=1, rank=rank, world=4, **options)


@pytest.mark.parametrize("drawn_before", [False, True])
@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("draw", [lambda s: s.sample(50), lambda s: s.advance(*torch.ones(2, 50)), lambda s: s.step()])
def test_schedule_made_before_the_group_draws_as_its_rank(form, draw, rank, drawn_before):
    schedule, expected = inx.InfoNoise(seed=1, sampling="stratified"), of_rank(rank, sampling="stratified")
    before = schedule.state.params.data_ptr()
    if drawn_before:
        schedule.sample(7)
        expected.sample(7)
    form(rank)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = draw(schedule)
    assert (schedule.rank, schedule.world) == (rank, 4)
    assert schedule.state.params.data_ptr() == before
    wanted = draw(expected)
    assert first is None or torch.equal(first, wanted)
    assert torch.equal(schedule.sample(50), expected.sample(50))


def test_rank_that_was_given_stays(form):
    schedule = of_rank(2)
    form(3)
    schedule.sample(4)
    assert (schedule.rank, schedule.world) == (2, 4)


@pytest.mark.parametrize(("launcher", "told"), [({}, 1), ({"WORLD_SIZE": "4", "RANK": "0"}, 0)])
def test_it_says_once_that_each_learns_alone(form, monkeypatch, launcher, told):
    """At the first draw, unless a launcher's environment told it when the schedule was made."""
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        schedule = inx.InfoNoise(seed=1)
    assert len(caught) == 1 - told
    form(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        schedule.sample(4)
        schedule.sample(4)
    assert len(caught) == told
    assert all("4 processes train, but each learns" in str(w.message) for w in caught)
    assert all(os.path.basename(w.filename) == "test_ranks.py" for w in caught)


def test_compiled_draws_ask_too(form):
    """At their trace, without a graph break; one that was traced before the group hears of it by `step`."""
    early, late = inx.InfoNoise(seed=1), inx.InfoNoise(seed=1)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    draw_early = torch.compile(lambda: early.sample(8) * 2, fullgraph=True, backend=counter)
    draw_late = torch.compile(lambda: late.sample(8) * 2, fullgraph=True, backend=counter)
    expected_early, expected_late = of_rank(3), of_rank(3)
    draw_early()
    form(3)
    early.step()
    expected_early.sample(8)
    for _ in range(3):
        assert torch.equal(draw_early(), 2 * expected_early.sample(8))
        assert torch.equal(draw_late(), 2 * expected_late.sample(8))
    assert counter.frame_count <= 4


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy])
def test_copies_stay_in_the_group(form, twin):
    form(3)
    schedule = inx.InfoNoise(seed=1, process_group=dist.group.WORLD)
    other = twin(schedule)
    assert other.process_group is schedule.process_group
    assert (other.rank, other.world) == (3, 4)
    assert_same_bits(other, schedule)
    assert other.state.ring.data_ptr() != schedule.state.ring.data_ptr()


def test_pickle_leaves_the_group_behind_and_keeps_what_was_learned(form):
    form(3)
    schedule = inx.InfoNoise(seed=1, warmup=7, process_group=dist.group.WORLD)
    sigma = schedule.sample(64)
    schedule.observe(sigma, sigma)
    data = pickle.dumps(schedule)
    dist.destroy_process_group()
    alone = pickle.loads(data)
    assert alone.process_group is None
    assert (alone.rank, alone.world) == (0, 1)
    assert torch.equal(alone.state.ring, schedule.state.ring)
    assert alone.state.params[WARMUP] == 7  # the device refreshes it again, which a group does from the host
    train(alone, 200)
    assert alone.status == "active"
    again = inx.InfoNoise(warmup=7)
    again.load_state_dict(pickle.loads(data).state_dict())
    assert torch.equal(again.state.ring, schedule.state.ring)


def test_ranks_that_load_one_pickle_draw_apart(form):
    """As where a whole trainer is pickled by rank 0 and loaded by all."""
    form(0)
    data = [
        pickle.dumps(inx.InfoNoise(seed=1, process_group=dist.group.WORLD)),
        pickle.dumps(inx.InfoNoise(seed=1, rank=0)),
    ]
    dist.destroy_process_group()
    form(3)
    assert torch.equal(pickle.loads(data[0]).sample(9), of_rank(3).sample(9))
    assert torch.equal(pickle.loads(data[1]).sample(9), of_rank(0).sample(9))  # a rank that was given is meant
