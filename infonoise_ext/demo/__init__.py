"""A denoiser trained on DNA motifs under five noise schedules: `python -m infonoise_ext demo`."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch

from .arms import ARMS
from .bound import HeldOut
from .dna import DNAGrammar
from .report import format_table, save_figure, summarize
from .train import train_arm

__all__ = ["main"]

_counter: Any = None
QUICK: dict[str, int] = {"evaluations": 3, "held_out": 8, "generated": 50}


def main(argv: list[str] | None = None) -> int:
    """Run the demo with command-line arguments; the exit status."""
    options = parse(argv)
    _need_extras()
    start = time.perf_counter()
    torch.set_num_threads(1)
    grammar = DNAGrammar()
    entropy, error = grammar.entropy(20_000 if options.quick else 400_000)
    print(
        "Data: DNA of 32 letters with one of 8 JASPAR motifs, one-hot coded; unlimited, with exact likelihoods.\n"
        f"Entropy: {entropy:.3f} ± {error:.3f} nats per sequence (Monte Carlo over the exact likelihood).\n"
        f"Training: {len(ARMS)} noise schedules x {options.seeds} seed(s), {options.steps} steps each, "
        f"{options.workers} process(es) of one thread.",
        flush=True,
    )
    runs = run_all(options)
    summary = summarize(runs, entropy)
    print("\n" + format_table(summary) + "\n")
    options.out.mkdir(parents=True, exist_ok=True)
    figure, numbers = options.out / "demo.png", options.out / "demo.json"
    test = HeldOut(grammar, samples=QUICK["held_out"] if options.quick else 1000, bins=60, sigma_min=0.01)
    save_figure(figure, runs, summary, (test.sigma.tolist(), test.exact_rate().tolist()))
    seconds = time.perf_counter() - start
    record = {"torch": torch.__version__, "seconds": seconds, "entropy_error": error, "summary": summary, "runs": runs}
    numbers.write_text(json.dumps(record))
    print(f"Figure: {figure}\nNumbers: {numbers}\nWall time: {seconds:.0f} s")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m infonoise_ext demo", description=__doc__)
    parser.add_argument("--steps", type=int, help="optimizer steps of each run (default 4000)")
    parser.add_argument("--seeds", type=int, help="runs of each schedule (default 1)")
    parser.add_argument("--full", action="store_true", help="3 seeds")
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder for demo.png and demo.json")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see that everything runs")
    options = parser.parse_args(argv)
    options.steps = (12 if options.quick else 4000) if options.steps is None else options.steps
    options.seeds = (3 if options.full else 1) if options.seeds is None else options.seeds
    for name in ("steps", "seeds", "workers"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is {getattr(options, name)}, but must be at least 1")
    options.workers = min(options.workers, options.seeds * len(ARMS))
    return options


def run_all(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train every schedule with every seed, side by side, and report progress."""
    from tqdm import tqdm

    jobs = [(name, seed) for seed in range(options.seeds) for name in ARMS]
    settings = QUICK if options.quick else {}
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    runs = []
    with (
        tqdm(total=len(jobs) * options.steps, unit="step", smoothing=0.05, disable=None) as bar,
        ProcessPoolExecutor(options.workers, context, _share, (counter,)) as pool,
    ):
        pending = {pool.submit(_run, name, options.steps, seed, settings) for name, seed in jobs}
        try:
            while pending:
                done, pending = wait(pending, timeout=0.3, return_when=FIRST_COMPLETED)
                bar.update(counter.value - bar.n)
                for future in done:
                    run = future.result()
                    runs.append(run)
                    bar.write(
                        f"  {run['label']}, seed {run['seed']}: gap {run['gap'][-1]:.2f} nats, {run['seconds']:.0f} s"
                    )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return runs


def _share(counter: Any) -> None:
    global _counter  # one per worker process
    _counter = counter


def _run(name: str, steps: int, seed: int, settings: dict[str, int]) -> dict[str, Any]:
    def progress() -> None:
        with _counter.get_lock():
            _counter.value += 1

    return train_arm(name, steps, seed, progress=progress, **settings)


def _need_extras() -> None:
    try:
        import matplotlib
        import tqdm
    except ImportError as error:
        raise SystemExit(f'{error}. The demo draws and counts: pip install "infonoise_ext[demo]"') from error
    del matplotlib, tqdm
