"""Many runs, side by side and resumable: one JSON line for each that is finished."""

import json
import multiprocessing
import platform
import subprocess
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

import infonoise_ext as inx
from experiments.script import rounded

from .train import train


class Job(NamedTuple):
    """What tells one run from another; see `train.train`."""

    data: str
    arm: str
    steps: int
    seed: int
    stream: int
    checkpoints: int


def finished(path: Path) -> list[dict]:
    """Runs in the file; a last line that was cut short is none."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def job_of(run: dict) -> Job:
    return Job(*(run[name] for name in Job._fields))


def run_all(jobs: Iterable[Job], path: Path, processes: int) -> list[dict]:
    """Train what the file lacks, write each run as it ends, and return the file's runs of these jobs."""
    jobs = list(dict.fromkeys(jobs))
    known = finished(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line(run) for run in known))
    missing = [job for job in jobs if job not in {job_of(run) for run in known}]
    origin = {"commit": commit(), "versions": versions()}
    context = multiprocessing.get_context("spawn")
    with (
        tqdm(total=len(missing), unit="run", disable=not missing) as bar,
        ProcessPoolExecutor(processes, context) as pool,
        path.open("a") as file,
    ):
        futures = {pool.submit(train, *job): job for job in missing}
        try:
            for future in as_completed(futures):
                job, found = futures[future], future.result()
                file.write(line(job._asdict() | found | origin))
                file.flush()
                bar.set_postfix_str(f"{job.data} {job.arm}, seed {job.seed}.{job.stream}: {found['score'][-1]:.4f}")
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    wanted = set(jobs)
    return [run for run in finished(path) if job_of(run) in wanted]


def line(run: dict) -> str:
    return json.dumps({name: rounded(value) if _numeric(value) else value for name, value in run.items()}) + "\n"


def _numeric(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, list) and bool(value) and isinstance(value[0], float))


def commit() -> str:
    """Of the working tree that trains, with a plus if it has changes beside results; empty outside a repository."""
    named = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", ".", ":!experiments/results"], check=False)
    return named.stdout.strip() + "+" * (changed.returncode == 1)


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), "torch": torch.__version__, "infonoise_ext": inx.__version__}
