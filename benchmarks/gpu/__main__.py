"""Measure on a CUDA device and keep the JSON, or write the table of the newest result."""

import argparse
import datetime
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

from .cases import SMALL, Sizes, Suite
from .facts import facts, name_of
from .table import fill, newest, table
from .targets import Results, findings, targets, told
from .timing import Clock, profiled

RESULTS = Path("benchmarks/results")


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of gpu-NAME.json (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=240,
                        help="begin no case after this time (default: %(default)s)")  # fmt: skip
    parser.add_argument("-k", default="", help="run only cases whose 'op backend' contains this")
    parser.add_argument("--rehearse", type=Path, metavar="FILE",
                        help="run every case on the CPU, small; the times mean nothing and go to FILE")  # fmt: skip
    parser.add_argument("--table", action="store_true", help="print the table of the newest result in --out")
    parser.add_argument("--fill", type=Path, nargs="+", metavar="FILE", help="write that table into documents")
    options = parser.parse_args()
    if options.table or options.fill:
        report = newest(options.out)
        for path in options.fill or []:
            fill(path, report)
        if options.table:
            print(table(report))
        return 0
    if options.rehearse is None and not torch.cuda.is_available():
        print("no CUDA device: nothing was measured", file=sys.stderr)
        return 3
    if options.rehearse:
        report, path = Run("cpu", SMALL, options), options.rehearse
    else:
        report, path = Run("cuda", Sizes(), options), None
    return report.measure(path)


class Run:
    """One measurement of all cases; the report is written after every case."""

    def __init__(self, device, sizes, options):
        self.clock, self.suite, self.options = Clock(device), Suite(device, sizes), options
        self.began = time.monotonic()
        found = facts()
        self.report = {
            "facts": found,
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "rehearsal": device == "cpu",
            "unit": "microseconds a call",
            "sizes": asdict(sizes),
            "rows": [],
        }

    def measure(self, path):
        """All cases, then the launches of each. Returns the exit status: 1 if one of the package's own failed."""
        gpu = self.report["facts"]["gpu"]
        self.path = path or self.options.out / f"gpu-{name_of(gpu)}.json"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        cases = [c for c in self.suite.cases() if self.options.k in f"{c.op} {c.backend}"]
        for case in cases:
            self.report["rows"].append(self.row(case))
            self.write()
        self.count_launches(cases)
        self.write()
        self.print()
        return int(any("error" in r and r["backend"] in self.suite.ours for r in self.report["rows"]))

    def row(self, case):
        """A case's row, with `error` in place of times if it raised, or `left_out` if time was up."""
        row = case.described()
        if time.monotonic() - self.began > self.options.seconds:
            return row | {"left_out": "time was up"}
        try:
            row |= self.clock.measure(case.build(), case.method)
        except Exception as error:  # a rival that fails must not cost the rows that follow
            print(f"{case.op} {case.backend} {case.batch}: {error!r}", file=sys.stderr, flush=True)
            return row | {"error": repr(error)[:500]}
        finally:
            self.release()
        rates = {"gbps": case.bytes / row["median"] / 1e3, "tflops": case.flops / row["median"] / 1e6}
        return row | {name: round(rate, 3) if rate else None for name, rate in rates.items()}

    def release(self):
        """Give the memory of a case back: the next may need it."""
        if self.clock.device == "cuda":
            torch.cuda.empty_cache()

    def count_launches(self, cases):
        """What one call puts on the device. After all timing: a profiler may slow what follows it."""
        for case, row in zip(cases, self.report["rows"], strict=True):
            if "median" not in row or time.monotonic() - self.began > self.options.seconds:
                continue
            try:
                function = case.build()
                function()
                self.clock.wait()
                with profiled() as (on_device, _):
                    function()
                row["launches"] = len(on_device)
            except Exception as error:
                row["launches"] = None
                print(f"launches of {case.op} {case.backend}: {error!r}", file=sys.stderr, flush=True)
            finally:
                self.release()

    def write(self):
        """The report so far, with targets and findings."""
        results = Results(self.report["rows"], self.report["sizes"])
        for row in self.report["rows"]:
            row["share"] = ("median" in row and results.share(row)) or None
        self.report["targets"] = [t.judged(results) for t in targets(self.report["sizes"])]
        self.report["findings"] = findings(results)
        self.path.write_text(json.dumps(self.report, indent=1) + "\n")

    def print(self):
        """Tables, targets and where the report lies."""
        print(table(self.report), end="\n\n")
        for t in self.report["targets"]:
            print(told(t))
        print(f"\n{json.dumps(self.report['findings'])}\nwritten to {self.path}")


if __name__ == "__main__":
    sys.exit(main())
