"""One table on all ranks: gloo processes on this CPU run the scenarios of ranks.py."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from support import ROOT
from support.ranks import UNION, batch_of, launch, train

import infonoise_ext as inx

TWO = ("ddp", "fsdp2", "compiled_advance", "host", "save_distributed")
FOUR = (
    "faults", "union", "draws", "one_call_or_three", "disagreement", "construction", "checkpoints",
    "load_distributed", "late",
)  # fmt: skip
LEARNED = ("mmse", "cdf", "stats")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not dist.is_gloo_available(), reason="torch has no gloo")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One for all workers of pytest-xdist, so that only one of them launches processes."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="module")
def two(folder):
    return launch(2, folder / "two-ranks", TWO)


@pytest.fixture(scope="module")
def four(folder, two):
    """After `two`, whose checkpoint it loads."""
    return launch(4, folder / "four-ranks", FOUR)


def of(results, name):
    """The results of a scenario by rank, none of them a traceback."""
    for rank, result in enumerate(results[name]):
        assert not isinstance(result, str), f"rank {rank}: {result}"
    return results[name]


def assert_one_table(ranks, names=LEARNED):
    for other in ranks[1:]:
        for name in names:
            assert torch.equal(other[name], ranks[0][name]), name


def blocks(sigma):
    """Each draw's Philox blocks as rows of four; 92 random bits each, so none repeats by chance."""
    return sigma.reshape(-1, 4)


def assert_no_repeats(*draws):
    rows = torch.cat([blocks(sigma) for sigma in draws])
    assert len(rows.unique(dim=0)) == len(rows)


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_parallel_training_with_accumulation_and_compile(two, kind):
    ranks = of(two, kind)
    assert_one_table(ranks)
    for mine, other in zip(*(rank["weights"] for rank in ranks), strict=True):
        assert torch.equal(mine, other)
    assert not torch.equal(ranks[0]["ring"], ranks[1]["ring"])
    for rank in ranks:
        assert rank["counters"][0, :3].tolist() == [30, 2, 5]
        assert rank["compilations"][0] == rank["compilations"][-1] > 0


def test_a_hosts_ranks_share_one_table_and_draw_apart(two):
    ranks = of(two, "host")
    assert [rank["shares"] for rank in ranks] == [(True, True)] * 2
    assert ranks[0]["refreshes"] >= 1
    assert_one_table(ranks)
    assert not torch.equal(ranks[0]["ring"], ranks[1]["ring"])
    assert_no_repeats(*(rank["drawn"] for rank in ranks))


def test_compiled_advance_breaks_the_graph_and_fullgraph_says_what_to_do(two):
    for rank in of(two, "compiled_advance"):
        assert rank["same"]
        assert rank["refreshes"] > 3
        assert rank["compilations"] <= 3
        assert "outside the compiled function" in rank["message"]


def test_a_thousand_steps_of_faults_leave_one_table_bit_for_bit(four):
    ranks = of(four, "faults")
    assert_one_table(ranks)
    assert [r["summary"]["refreshes"] for r in ranks] == [ranks[0]["summary"]["refreshes"]] * 4
    assert ranks[0]["summary"]["refreshes"] >= 9
    assert not torch.equal(ranks[0]["ring"], ranks[1]["ring"])  # statistics were summed, not copied
    assert [r["summary"]["recorded"] for r in ranks] == [500 * 16, 666 * 24, 800 * 32, 1500 * 40]
    assert ranks[1]["summary"]["skipped_nonfinite_error"] == 334 * 24
    assert ranks[2]["summary"]["skipped_masked"] == 200 * 32


def test_collectives_are_one_check_and_the_moments_of_each_refresh(four):
    for rank in of(four, "faults"):
        check, *refreshes = rank["calls"]
        assert refreshes == [64 * 3 * 8] * 20
        assert check < 1000
    assert of(four, "faults")[0]["records"] == list(range(50, 1001, 50))


def test_table_is_that_of_one_process_with_all_the_data(four):
    ranks = of(four, "union")
    alone = inx.InfoNoise(**UNION)
    for step in range(60):
        parts = [batch_of(rank, step) for rank in range(4)]
        alone.observe(*(torch.cat(column) for column in zip(*parts, strict=True)))
        alone.step()
    assert alone.summary()["refreshes"] == 11
    assert_one_table(ranks)
    assert int(sum(r["count"].sum() for r in ranks)) == int(alone.state.count.sum())
    torch.testing.assert_close(ranks[0]["cdf"], alone.state.cdf, rtol=0, atol=1e-12)
    torch.testing.assert_close(ranks[0]["mmse"], alone.state.mmse, rtol=1e-12, atol=0)


@pytest.mark.parametrize("seeds", ["equal", "ranked", "drawn equally"])
def test_no_draw_repeats_on_another_rank(four, seeds):
    assert_no_repeats(*(rank[seeds] for rank in of(four, "draws")))


@pytest.mark.parametrize("kind", ["early", "pickled"])
def test_schedules_made_before_the_ranks_or_pickled_alike_draw_apart(four, kind):
    """Of equal seeds each."""
    ranks = of(four, "late")
    assert_no_repeats(*(rank[kind] for rank in ranks))
    assert all(rank["group"] is None for rank in ranks)


def test_ranks_share_the_strata_out(four):
    strata = torch.cat([rank["strata"] for rank in of(four, "draws")], 1)  # [draw, 100]
    assert torch.equal(strata.sort().values, torch.arange(100).expand(8, 100))


def test_advance_and_the_three_calls_see_the_same_tables(four):
    ranks = of(four, "one_call_or_three")
    for rank in ranks:
        one, three, eager = rank["drawn"]
        assert rank["refreshes"] == 7
        assert torch.equal(one, three)
        assert torch.equal(rank["cdf"][0], rank["cdf"][1])
        torch.testing.assert_close(rank["cdf"][2], rank["cdf"][0], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(eager, one, rtol=1e-6, atol=0)
        assert torch.equal(rank["cdf"][0], ranks[0]["cdf"][0])


@pytest.mark.parametrize("what", ["warmup", "bins", "groups", "signal", "weight", "bound", "mean of cdf", "steps"])
def test_ranks_that_differ_are_told_so_on_every_rank(four, what):
    messages = [rank[what] for rank in of(four, "disagreement")]
    assert len(set(messages)) == 1
    assert "rank 2 has" in messages[0]
    assert f"{what} = " in messages[0]


def test_constructor_says_when_ranks_would_learn_apart(four):
    first, *others = of(four, "construction")
    ((message, file),) = first["warnings"]
    assert "process_group=torch.distributed.group.WORLD" in message
    assert Path(file).name == "ranks.py"
    assert all(rank["warnings"] == [] for rank in others)
    assert [rank["placement"] for rank in (first, *others)] == [(r, 4) for r in range(4)]
    assert "(rank, world) is (0, None), but must be left out" in first["twice"]
    assert "process_group is" in others[-1]["outside"]
    assert first["outside"] is None
    assert "process_group is None" in first["no group"]


def test_warning_when_torchrun_runs_but_torch_distributed_does_not(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.warns(UserWarning, match="after init_process_group"):
        inx.InfoNoise()
    inx.InfoNoise(rank=0, world=8)


def test_each_rank_resumes_its_own_file_bit_for_bit(four):
    ranks = of(four, "checkpoints")
    for rank in ranks:
        assert torch.equal(rank["unbroken"], rank["resumed"])
    assert_no_repeats(*(rank["before"] for rank in ranks), *(rank["unbroken"][1:] for rank in ranks))


def test_one_file_serves_all_ranks(four):
    """Rank 0's on four ranks: the table is there, ranks keep their own places and draw apart."""
    ranks = of(four, "checkpoints")
    assert all(rank["learned"] for rank in ranks)
    assert [rank["placement"] for rank in ranks] == [(r, 4) for r in range(4)]
    assert [rank["params"] for rank in ranks] == [[r, 4] for r in range(4)]
    assert_no_repeats(*(rank["before"] for rank in ranks), *(rank["spread"][1:] for rank in ranks))
    assert_one_table(ranks, ["table"])
    assert ranks[0]["summary"]["refreshes"] + ranks[0]["summary"]["waits"] == 6


def test_four_files_on_two_ranks_and_on_one(four, folder):
    pair = [rank["fewer"] for rank in of(four, "checkpoints")[:2]]
    assert all(rank["learned"] and rank["world"] == 2 for rank in pair)
    assert_one_table(pair, ["table"])
    assert_no_repeats(*(rank["sigma"] for rank in pair))
    alone = inx.InfoNoise(warmup=40, refresh_every=20)
    alone.load(folder / "four-ranks" / "own-2.pt")
    before = alone.state.cdf.clone()
    train(alone, 60, 0)
    summary = alone.summary()
    assert summary["refreshes"] + summary["waits"] == 6  # three on four ranks, then three by the device alone
    assert not torch.equal(alone.state.cdf, before)


def test_distributed_checkpoint_of_two_ranks_loads_on_four(two, four):
    """It takes each tensor from some rank: a count from one and a ring from another must still agree."""
    saved, ranks = of(two, "save_distributed"), of(four, "load_distributed")
    assert not torch.equal(saved[0]["count"], saved[1]["count"])
    for rank in ranks:
        loaded = rank["loaded"]
        for name in LEARNED:
            assert torch.equal(loaded[name], saved[0][name]), name
        assert any(torch.equal(loaded["ring"], s["ring"]) for s in saved)
        held = loaded["ring"] >= 0
        slots = torch.arange(held.shape[-1])
        assert held[slots < loaded["count"].unsqueeze(-1)].all()
        assert loaded["counters"][0, 0] == 90
    assert_one_table(ranks)
    assert ranks[0]["counters"][0, 2:4].sum() == 6
    assert [rank["params"] for rank in ranks] == [[r, 4] for r in range(4)]
    assert_no_repeats(*(rank["drawn"] for rank in ranks))


def test_count_never_exceeds_what_the_ring_holds():
    """The mixture that a distributed checkpoint can make, made by hand: no empty slot becomes a loss of 0."""
    some, many = inx.InfoNoise(seed=1), inx.InfoNoise(seed=2)
    level = float(some.state.row("sigma")[20])
    some.observe(torch.full((5,), level), torch.full((5,), 3.0))
    many.observe(torch.full((100,), level), torch.full((100,), 3.0))
    mixed = inx.InfoNoise()
    mixed.load_state_dict(some.state_dict() | {"count": many.state.count})
    assert int(mixed.state.count[0, 20]) == 5
    assert float(mixed.profile().mmse[20]) == 3


def test_copies_share_the_group_and_pickles_go_on_alone(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        schedule = inx.InfoNoise(seed=1, process_group=dist.group.WORLD)
        train(schedule, 150, 0)
        twin = copy.deepcopy(schedule)
        assert twin.process_group is schedule.process_group
        alone = pickle.loads(pickle.dumps(schedule))
        assert alone.process_group is None
        drawn = train(schedule, 60, 1)
        assert torch.equal(train(twin, 60, 1), drawn)
        torch.testing.assert_close(train(alone, 60, 1), drawn, rtol=1e-6, atol=0)
        assert alone.summary() == pytest.approx(schedule.summary(), nan_ok=True)
        assert alone.summary()["refreshes"] + alone.summary()["waits"] == 4
        assert twin.state.cdf.data_ptr() != schedule.state.cdf.data_ptr()
    finally:
        dist.destroy_process_group()


def test_example_runs_under_torchrun():
    """As it stands, but uncompiled, which the test of DDP is."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run(
        [*command, "examples/distributed.py"], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TORCHDYNAMO_DISABLE": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("2 ranks: active, median sigma")
