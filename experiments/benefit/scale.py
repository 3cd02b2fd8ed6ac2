"""The rule at a size for a GPU: a U-Net on 28x28 images, grey and binary, and text of 128 letters.

python -m experiments.benefit.scale [--rehearse] [--seconds N] [--out FILE]

Compiled steps in bfloat16, each of which draws its noise levels inside; gpu.sh calls this. Seeds of network, data and
noise are paired, arms of a seed come one after another, and no run is begun that would end after N seconds. Each run
that ends adds a line to FILE.jsonl, and is not made again. --rehearse makes tiny runs on any device; they mean nothing.
"""

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

import infonoise_ext as inx
from experiments.script import RESULTS

from . import debian, vectors
from .data import Bits, text
from .networks import TextConvolutions
from .runs import Job, commit, finished, job_of, line, versions
from .scores import EntropyBound, WeightedError
from .statistics import summary
from .tables import section
from .tasks import Task
from .train import moments, moving_averages
from .unet import SIDE, OfBits, OfNumbers, UNet
from .wider import vectors_task

SCHEDULES = {
    "rule": lambda task, seed, device: inx.InfoNoise(weight=task.weight, seed=seed, device=device),
    "EDM": lambda task, seed, device: inx.LogNormal(-1.2, 1.2, inx.EDMWeight(task.std)),
    "entropy": lambda task, seed, device: inx.InfoNoise(
        weight=task.weight, seed=seed, device=device, signal="entropy"
    ),
}  # fmt: skip


class Size(NamedTuple):
    """Of a run; `bins` and `samples` are those of held-out sets."""

    channels: tuple[int, ...] = (64, 128)  # of the U-Net, by resolution
    width: int = 256  # of the text's convolutions
    batch: int = 128
    bins: int = 16
    samples: int = 256
    generates: bool = True  # samples, for Fréchet distances
    steps: int = 3000
    checkpoints: int = 10
    seeds: int = 5
    timed: int = 20  # steps in a row
    rounds: int = 15


TINY = Size((32,), 16, 4, 3, 4, False, 3, 2, 1, 1, 3)


class OnDevice(nn.Module):
    """A denoiser that takes and gives tensors of the CPU, where scores are."""

    def __init__(self, net: nn.Module, device: str) -> None:
        super().__init__()
        self.net, self.device = net, device

    @torch.no_grad()
    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.net(x.to(self.device), sigma.to(self.device)).float().cpu()


def tasks(size: Size) -> dict[str, Callable[[], Task]]:
    """By name; those whose package is missing say so when they are made."""
    held_out = {"bins": size.bins, "samples": size.samples}

    def grey() -> Task:
        data = vectors.fashion(SIDE)
        distances = vectors_task(data).extra if size.generates else None
        network = lambda: OfNumbers(UNet(size.channels), vectors.STD)  # noqa: E731
        judge = partial(WeightedError, data, **held_out)
        return Task(
            data.sample, network, lambda seed: judge(seed=seed), data.std, inx.EDMWeight(data.std), codes=False,
            extra=distances, batch=size.batch,
        )  # fmt: skip

    def binary() -> Task:
        images = vectors.fashion(SIDE)
        data = Bits(*(torch.where(part > 0, 1.0, -1.0) for part in (images.train, images.held_out)))
        judge = partial(EntropyBound, data, 0.15, 8.0, **held_out)
        std = (data.variance / data.length) ** 0.5
        network = lambda: OfBits(UNet(size.channels))  # noqa: E731
        return Task(data.sample, network, lambda seed: judge(seed=seed), std, batch=size.batch)

    def long_text() -> Task:
        data = replace(text(), length=128)
        judge = partial(EntropyBound, data, 0.3, 8.0, **held_out)
        std = (data.variance / (data.length * data.size)) ** 0.5
        network = partial(TextConvolutions, data.size, size.width, (1, 2, 4, 8, 16))
        return Task(data.sample, network, lambda seed: judge(seed=seed), std, batch=size.batch)

    return {"unet grey": grey, "unet binary": binary, "long text": long_text}


def train(job: Job, task: Task, size: Size, device: str) -> dict:
    """As `train.train`, of compiled steps on the device; `share` is the schedule's part of a step's time."""
    score = task.score(job.seed)
    torch.manual_seed(job.seed)
    net = task.network().to(device)
    averaged = AveragedModel(net, multi_avg_fn=moving_averages)
    optimizer = torch.optim.Adam(net.parameters(), lr=task.rate, fused=True)
    schedule = SCHEDULES[job.arm](task, 10_000 + job.seed, device)
    data, noise = torch.Generator().manual_seed(1000 + job.seed), torch.Generator(device).manual_seed(2000 + job.seed)

    def loss_of(x: Tensor, made: Tensor, sigma: Tensor, draws: bool) -> tuple[Tensor, Tensor]:
        with torch.autocast(device, torch.bfloat16):
            denoised = net(x + sigma.unsqueeze(1) * made, sigma)
        error = (denoised.float() - x).square().mean(1)
        loss = (schedule.weight(sigma) * error).mean()
        return loss, schedule.advance(sigma, error.detach()) if draws else sigma

    compiled = torch.compile(loss_of)

    def step(sigma: Tensor, draws: bool = True) -> Tensor:
        x = task.sample(task.batch, data).to(device, non_blocking=True)
        loss, sigma = compiled(x, torch.randn(x.shape, device=device, generator=noise), sigma, draws)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return sigma

    sigma, curve = schedule.sample(task.batch).to(device), {"step": [], "score": []}
    scored = {round(job.steps * (i + 1) / job.checkpoints) for i in range(job.checkpoints)}
    start = time.perf_counter()
    for done in range(1, job.steps + 1):
        sigma = step(sigma)
        averaged.update_parameters(net)
        if done in scored:
            curve["step"].append(done)
            curve["score"].append(score(OnDevice(averaged, device)))
    found = curve | moments(schedule.table()) | {"seconds": round(time.perf_counter() - start, 1)}
    extra = {} if task.extra is None else {"extra": task.extra(job.seed, OnDevice(averaged, device))}
    return found | extra | {"share": share(partial(step, sigma), size, device)}


def share(step: Callable[[bool], Tensor], size: Size, device: str) -> list[float]:
    """The schedule's part of a step's time: quartiles over rounds of steps that draw and steps that do not."""

    def seconds(draws: bool) -> float:
        start = time.perf_counter()
        for _ in range(size.timed):
            step(draws)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    seconds(False)
    return [round(part, 4) for part in quantiles(1 - seconds(False) / seconds(True) for _ in range(size.rounds))]


def main(argv: list[str] | None = None) -> None:
    options = parse(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not options.rehearse:
        raise SystemExit("no CUDA device: only --rehearse runs here")
    size = TINY if options.rehearse else Size()
    made = tasks(size)
    order = [(seed, data, arm) for seed in range(size.seeds) for data in made for arm in SCHEDULES]
    jobs = [Job(data, arm, size.steps, seed, 0, size.checkpoints) for seed, data, arm in order]
    lines, known = options.out.with_suffix(".jsonl"), finished(options.out.with_suffix(".jsonl"))
    machine = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    origin, took = {"commit": commit(), "versions": versions(), "machine": machine}, dict.fromkeys(made, 0.0)
    lines.parent.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    for job in tqdm([job for job in jobs if job not in {job_of(run) for run in known}], unit="run"):
        left = options.seconds - (time.perf_counter() - begin)
        reason = debian.missing("fashion") if job.data.startswith("unet") else ""
        if reason or took[job.data] > left or left <= 0:
            tqdm.write(f"skipped: {job.data} {job.arm}, seed {job.seed}, {'as ' + reason if reason else 'for time'}")
            continue
        start = time.perf_counter()
        found = train(job, made[job.data](), size, device)
        took[job.data] = time.perf_counter() - start
        with lines.open("a") as file:
            file.write(line(job._asdict() | found | origin))
        tqdm.write(f"{job.data} {job.arm}, seed {job.seed}: {found['score'][-1]:.4f}, share {found['share'][1]:.1%}")
    print("\n\n".join(section(group) for group in summary(finished(lines))))


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true", help="tiny runs, into a file of their own")
    parser.add_argument("--seconds", type=float, default=420, help="in all (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="lines go beside it")
    options = parser.parse_args(argv)
    options.out = options.out or (Path("build/scale.json") if options.rehearse else RESULTS / "scale.json")
    return options


if __name__ == "__main__":
    main()
