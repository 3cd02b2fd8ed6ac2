"""What the processes of test_distributed.py run: each function is one scenario, on every rank."""

import fcntl
import pickle
import traceback
import warnings
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch._dynamo.testing import CompileCounterWithBackend
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import infonoise_ext as inx
from examples.distributed import DenoisingLoss
from infonoise_ext import distributed
from infonoise_ext.integrations import trainers
from infonoise_ext.ops.schemas import PARAMS
from support import generator, state_of
from support.runs import gaussian_mmse

TIMEOUT = timedelta(seconds=200)
EARLY = []
"""A schedule of each process, made before it knew the others."""
PLACE = [PARAMS.index(name) for name in ("rank", "world")]


def launch(world, folder, names):
    """Run scenarios on `world` processes, once per folder; what each returned, or its traceback, by rank."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            folder.mkdir()
            torch.multiprocessing.spawn(_process, (world, folder, names), nprocs=world)
    return {name: [torch.load(folder / f"{name}-{rank}.pt") for rank in range(world)] for name in names}


def _process(rank, world, folder, names):
    torch.set_num_threads(1)
    EARLY.append(inx.InfoNoise(seed=5))
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world, timeout=TIMEOUT)
    for name in names:
        try:
            result = globals()[name](rank, folder)
        except Exception:
            result = traceback.format_exc()
        torch.save(result, folder / f"{name}-{rank}.pt")
        dist.barrier()
    dist.destroy_process_group()


def shared(**options):
    return inx.InfoNoise(process_group=dist.group.WORLD, **options)


def train(schedule, steps, seed, batch=32, step=None):
    """`steps` of `advance` on noisy losses; returns every sigma drawn."""
    g, sigma, drawn = generator(seed), schedule.sample(batch), []
    for _ in range(steps):
        drawn.append(sigma)
        error = gaussian_mmse(sigma) * torch.rand(batch, generator=g) * 2
        sigma = (step or schedule.advance)(sigma, error)
    return torch.stack(drawn)


def faults(rank, folder):
    """1000 steps in which every rank goes wrong in its own way; counts the collectives."""
    calls, plain = [], distributed.gathered
    distributed.gathered = lambda x, group: calls.append(x.numel() * x.element_size()) or plain(x, group)
    schedule = shared(seed=rank, history=inx.History() if rank == 0 else None)
    g = generator(rank)
    for step in range(1000):
        sigma = schedule.sample((0 if step % 2 else 16) if rank == 0 else 16 + 8 * rank)
        error = gaussian_mmse(sigma) * torch.rand(len(sigma), generator=g)
        if rank == 1 and step % 3 == 0:
            error[:] = torch.nan
        keep = torch.full_like(sigma, step % 5 > 0, dtype=torch.bool) if rank == 2 else None
        schedule.observe(sigma, error, mask=keep)
        if rank == 3 and step < 500:
            schedule.observe(sigma, error)
        schedule.step()
    distributed.gathered = plain
    schedule.check_ranks()
    records = [record["step"] for record in schedule.history.records] if rank == 0 else []
    return state_of(schedule) | {"calls": calls, "summary": schedule.summary(), "records": records}


def batch_of(rank, step):
    """The losses of one rank in `union`, by number, so that a single process can see them all."""
    g = generator(1000 * rank + step)
    sigma = (torch.rand(40 + 10 * rank, generator=g) * 10.5 - 6.2).exp()
    return sigma, gaussian_mmse(sigma) * torch.rand(len(sigma), generator=g)


UNION = {"capacity": 4096, "warmup": 10, "refresh_every": 5, "seed": 1}


def union(rank, folder):
    schedule = shared(**UNION)
    for step in range(60):
        schedule.observe(*batch_of(rank, step))
        schedule.step()
    return state_of(schedule)


def host(rank, folder):
    """What a host's `make_schedule` makes of several ranks, which nobody tells of one another, with equal seeds."""
    schedule, alone = trainers.make_schedule(seed=1), trainers.make_schedule(seed=1, rank=rank, world=2)
    drawn = schedule.sample(400)
    for step in range(60):
        schedule.observe(*batch_of(rank, step))
        schedule.step()
    shares = (schedule.process_group is dist.group.WORLD, alone.process_group is None)
    return state_of(schedule) | {"drawn": drawn, "shares": shares, "refreshes": schedule.summary()["refreshes"]}


def late(rank, folder):
    """What a schedule draws that was made before the group, and one that was pickled by every rank alike."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        copied = pickle.loads(pickle.dumps(shared(seed=6)))
        return {"early": EARLY[0].sample(1000), "pickled": copied.sample(1000), "group": copied.process_group}


def draws(rank, folder):
    """Noise levels of three ways to seed, and the strata of a stratified schedule."""
    out = {}
    for name, seed in {"equal": 7, "ranked": rank, "drawn equally": None}.items():
        torch.manual_seed(5)
        schedule = shared(seed=seed)
        out[name] = torch.stack([schedule.sample(64) for _ in range(50)])
    schedule = shared(seed=rank, sampling="stratified")
    out["strata"] = torch.stack([(schedule.table().below(schedule.sample(25)) * 100).long() for _ in range(8)])
    return out


def one_call_or_three(rank, folder):
    """`advance` and `sample`, `observe`, `step` see the same tables; both backends, told the same losses."""
    options = {"seed": 2, "warmup": 6, "refresh_every": 4, "min_count": 1}
    schedules = [shared(**options), shared(**options), shared(backend="eager", **options)]

    told = []

    def one(sigma, error):
        told.append((sigma, error))
        return schedules[0].advance(sigma, error)

    def three(sigma, error):
        schedules[1].observe(sigma, error)
        following = schedules[1].sample(len(sigma))
        schedules[1].step()
        return following

    drawn = [train(s, 30, rank, step=step) for s, step in zip(schedules, (one, three), strict=False)]
    first = schedules[2].sample(len(told[0][0]))
    drawn.append(torch.stack([first, *(schedules[2].advance(*losses) for losses in told)][:-1]))
    return {"drawn": drawn, "cdf": [s.state.cdf for s in schedules], "refreshes": schedules[0].summary()["refreshes"]}


def disagreement(rank, folder):
    """The message of every rank when the options of one differ, and no hang."""
    odd = rank == 2
    cases = {
        "warmup": {"warmup": 101 if odd else 100},
        "bins": {"bins": 65 if odd else 64},
        "groups": {"groups": 2 if odd else 1},
        "signal": {"signal": "length" if odd else "mmse"},
        "weight": {"weight": inx.EDMWeight(1.0 if odd else 0.5)},
        "bound": {"bound": inx.BinaryBound() if odd else None},
        "mean of cdf": {"prior": inx.LogNormal(0.0 if odd else 0.1, 1.0)},
    }
    out = {}
    for name, options in cases.items():
        out[name] = refusal(shared(seed=rank, **options).step)
    stale = shared(seed=rank)
    saved = inx.InfoNoise(seed=1, rank=rank, world=4)
    for _ in range(3 if odd else 4):
        saved.step()
    stale.load_state_dict(saved.state_dict())
    out["steps"] = refusal(stale.step)
    return out


def refusal(function, *args, **options):
    try:
        function(*args, **options)
    except ValueError as error:
        return str(error)
    return None


def construction(rank, folder):
    """Warnings and refusals of the constructor."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        alone = inx.InfoNoise()
        inx.InfoNoise(rank=rank, world=dist.get_world_size())
        shared()
    half = dist.new_group([0, 1])
    return {
        "warnings": [(str(w.message), w.filename) for w in caught],
        "placement": (alone.rank, alone.world),
        "twice": refusal(shared, rank=0),
        "outside": refusal(inx.InfoNoise, process_group=half),
        "no group": refusal(inx.InfoNoise(rank=0).check_ranks),
    }


def checkpoints(rank, folder):
    """Each rank resumes its own file; then rank 0's serves all, and two ranks take four files."""
    options = {"warmup": 40, "refresh_every": 20}
    schedule = shared(seed=3, **options)
    before = train(schedule, 90, rank)
    schedule.save(folder / f"own-{rank}.pt")
    dist.barrier()
    table = schedule.state.cdf.clone()
    resumed = shared(seed=99, **options)
    resumed.load(folder / f"own-{rank}.pt")
    out = {"unbroken": train(schedule, 60, 10 + rank), "resumed": train(resumed, 60, 10 + rank), "before": before}
    spread = shared(seed=99 + rank, **options)
    spread.load(folder / "own-0.pt")
    out |= {"learned": torch.equal(spread.state.cdf, table), "placement": (spread.rank, spread.world)}
    out |= {"params": spread.state.params[PLACE].tolist(), "spread": train(spread, 60, 20 + rank)}
    out |= {"table": spread.state.cdf.clone(), "summary": spread.summary()}
    pair = dist.new_group([0, 1])
    if rank < 2:
        fewer = inx.InfoNoise(process_group=pair, **options)
        fewer.load(folder / f"own-{2 + rank}.pt")
        out["fewer"] = {"learned": torch.equal(fewer.state.cdf, table), "sigma": train(fewer, 60, 30 + rank)}
        out["fewer"] |= {"table": fewer.state.cdf, "world": fewer.world}
    return out


def save_distributed(rank, folder):
    """Ranks whose rings hold very different numbers of losses, in one distributed checkpoint."""
    schedule = shared(seed=rank, warmup=40, refresh_every=20)
    train(schedule, 90, rank, batch=8 if rank == 0 else 128)
    dcp.save({"schedule": schedule}, checkpoint_id=folder / "checkpoint")
    return state_of(schedule)


def load_distributed(rank, folder):
    schedule = shared(seed=50 + rank, warmup=40, refresh_every=20)
    dcp.load({"schedule": schedule}, checkpoint_id=folder.parent / "two-ranks" / "checkpoint")
    loaded = state_of(schedule)
    drawn = train(schedule, 60, rank)
    return state_of(schedule) | {"loaded": loaded, "drawn": drawn, "params": schedule.state.params[PLACE].tolist()}


def parallel(rank, wrap, fullgraph):
    """A tiny network with gradient accumulation; the compiled forward samples and observes."""
    counts = []
    torch._dynamo.reset()
    torch.manual_seed(rank)
    schedule = shared(warmup=10, refresh_every=5, min_count=1)
    counter = CompileCounterWithBackend("aot_eager")
    model = DenoisingLoss(schedule, width=8)
    model.compile(backend=counter, fullgraph=fullgraph)
    loss, accumulate = wrap(model)
    optimizer = torch.optim.Adam(loss.parameters(), 1e-3)
    for _ in range(30):
        for last in (False, True):
            accumulate(last)
            (loss(torch.randn(16, 2)) / 2).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        counts.append(counter.frame_count)
    weights = [p.full_tensor() if hasattr(p, "full_tensor") else p.data for p in loss.parameters()]
    return state_of(schedule) | {"weights": weights, "compilations": counts}


def ddp(rank, folder):
    def wrap(model):
        loss = DistributedDataParallel(model)
        return loss, lambda last: setattr(loss, "require_backward_grad_sync", last)

    return parallel(rank, wrap, fullgraph=True)


def fsdp2(rank, folder):
    def wrap(model):
        for layer in model.net:
            fully_shard(layer)
        fully_shard(model)
        return model, model.set_requires_gradient_sync

    return parallel(rank, wrap, fullgraph=False)  # its hooks break graphs


def compiled_advance(rank, folder):
    """Under torch.compile: the collective breaks the graph, and fullgraph says what to do instead."""
    torch._dynamo.reset()
    options = {"seed": 4, "warmup": 5, "refresh_every": 3, "min_count": 1}
    plain, fast, whole = (shared(**options) for _ in range(3))
    counter = CompileCounterWithBackend("aot_eager")

    @torch.compile(backend=counter)
    def step(sigma, error):
        return fast.advance(sigma, error) * 1.0

    wanted, got = train(plain, 30, rank), train(fast, 30, rank, step=step)
    try:
        torch.compile(whole.advance, backend="aot_eager", fullgraph=True)(wanted[0], wanted[0])
        message = None
    except torch._dynamo.exc.Unsupported as error:
        message = str(error)
    same = torch.equal(wanted, got) and torch.equal(plain.state.cdf, fast.state.cdf)
    refreshes = fast.summary()["refreshes"]
    return {"same": same, "compilations": counter.frame_count, "message": message, "refreshes": refreshes}
