"""Ablations of InfoNoise's options on the demo's data: figures in docs/defaults.md.

python experiments/defaults.py [--steps 4000] [--seeds 2] [--out FILE]; about 40 s a run on one core.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev

from tqdm import tqdm

import infonoise_ext as inx
from infonoise_ext.demo.arms import ARMS, SIGMA_MAX, SIGMA_MIN, Arm
from infonoise_ext.demo.train import train_arm

BASE = {"pivot": 0, "bound": inx.BinaryBound.one_hot(4)}
VARIANTS = {
    "base: bound, no gate": {},
    "bins=30": {"bins": 30},
    "bins=300": {"bins": 300},
    "capacity=32": {"capacity": 32},
    "warmup=25": {"warmup": 25},
    "warmup=500": {"warmup": 500},
    "warmup=2000": {"warmup": 2000},
    "refresh_every=20": {"refresh_every": 20},
    "refresh_every=1000": {"refresh_every": 1000},
    "ema=0.5": {"ema": 0.5},
    "ema=1.0": {"ema": 1.0},
    "floor=0.0": {"floor": 0.0},
    "floor=0.2": {"floor": 0.2},
    "smooth=1.0": {"smooth": 1.0},
    "stratified": {"sampling": "stratified"},
    "prior=LogUniform()": {"prior": inx.LogUniform()},
    "no bound": {"bound": None},
    "no bound, PowerLaw()": {"bound": None, "pivot": inx.PowerLaw()},
    "library defaults": {"bound": None, "pivot": inx.Onset()},
}


def run(job):
    variant, seed, steps = job
    options = BASE | VARIANTS[variant]
    ARMS["ablation"] = Arm(variant, lambda seed: inx.InfoNoise(SIGMA_MIN, SIGMA_MAX, seed=seed, **options))
    return variant, train_arm("ablation", steps, seed, evaluations=2, generated=10)["gap"][-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("experiments/results/defaults.json"))
    options = parser.parse_args()
    jobs = [(variant, seed, options.steps) for seed in range(options.seeds) for variant in VARIANTS]
    gaps = {variant: [] for variant in VARIANTS}
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        for variant, gap in tqdm(pool.map(run, jobs), total=len(jobs), unit="run"):
            gaps[variant].append(gap)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"steps": options.steps, "gap_nats": gaps}, indent=1) + "\n")
    print("| variant | gap to the exact entropy, nats |\n|---|---|")
    for variant, values in gaps.items():
        spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
        print(f"| {variant} | {fmean(values):.2f}{spread} |")


if __name__ == "__main__":
    main()
