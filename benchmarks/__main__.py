"""Run the suite, print the table of medians and ratios, keep the JSON."""

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from .cases import BATCHED, IMPLEMENTATIONS, LOSS

RESULTS = Path("benchmarks/results/cpu.json")
RIVALS = {
    "eager": "eager torch",
    "compiled": "torch.compile",
    "host": "deque + NumPy",
    "host_vectorised": "the same, vectorised",
}


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("-k", default="", help="run only cases that match, as pytest's -k")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of the results (default: %(default)s)")
    parser.add_argument("--show", action="store_true", help="measure nothing, print the table of the file")
    options = parser.parse_args()
    if options.show:
        print(table(json.loads(options.out.read_text())))
        return 0
    raw = options.out.with_suffix(".raw.json")
    raw.parent.mkdir(parents=True, exist_ok=True)
    arguments = ["benchmarks", f"--benchmark-json={raw}", "--benchmark-disable-gc", "--benchmark-quiet", "-q",
                 "-p", "no:xdist", "--timeout=0"]  # fmt: skip
    status = pytest.main([*arguments, *(["-k", options.k] if options.k else [])])
    if status:
        return int(status)
    report = condensed(json.loads(raw.read_text()))
    raw.unlink()
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))
    print(f"\nwritten to {options.out}")
    return 0


def condensed(raw):
    """Machine, versions and commit, and for each case the median and quartiles in microseconds."""
    rows = []
    for case in raw["benchmarks"]:
        stats = case["stats"]
        times = {name: stats[name] * 1e6 for name in ("median", "q1", "q3", "min")}
        rows.append(case["extra_info"] | {k: round(v, 3) for k, v in times.items()} | {"rounds": stats["rounds"]})
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "machine": raw["machine_info"]["cpu"].get("brand_raw", platform.processor()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": 1,
        "commit": commit.stdout.strip(),
        "unit": "microseconds a call",
        "rows": rows,
    }


def table(report):
    """Markdown: the C++ median with quartiles, and each rival's median over it."""
    cases = {}
    for row in report["rows"]:
        cases.setdefault((row["op"], row["bins"], row["batch"]), {})[row["implementation"]] = row
    header = ["op", "K", "batch", "C++, µs (quartiles)", *(f"{name}, times as long" for name in RIVALS.values())]
    lines = [f"{report['machine']}, torch {report['torch']}, one thread, commit {report['commit']}", ""]
    lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for (op, bins, batch), rows in cases.items():
        if "cpp" not in rows:
            continue
        ours = rows["cpp"]
        time = f"{ours['median']:.1f} ({ours['q1']:.1f}-{ours['q3']:.1f})"
        cells = [op, str(bins), str(batch) if op in BATCHED + LOSS else "", time]
        cells += [f"{rows[i]['median'] / ours['median']:.1f}" if i in rows else "" for i in IMPLEMENTATIONS[1:]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
