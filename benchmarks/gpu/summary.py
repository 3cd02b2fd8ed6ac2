"""One JSON and one page of what `scripts/gpu_check.sh` found: `python -m benchmarks.gpu.summary OUT WORK`."""

import json
import sys
from pathlib import Path

from .facts import facts
from .table import newest
from .targets import told


def summary(out, work):
    """Phases with their outcome and seconds, the sanitizer's verdicts, targets and findings of the benchmarks."""
    report = newest(out) or {}
    phases = [dict(zip(("phase", "outcome", "seconds"), row, strict=True)) for row in rows_of(work / "phases.tsv")]
    rows = report.get("rows", [])
    return {
        "facts": facts(),
        "phases": phases,
        "sanitizer": dict(rows_of(work / "sanitizer.tsv")),
        "targets": report.get("targets", []),
        "findings": report.get("findings", {}),
        "errors": [row for row in rows if "error" in row],
        "left_out": sum("left_out" in row for row in rows),
    }


def rows_of(path):
    """Lines of a file of columns set apart by tabs; none if it is not there."""
    return [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []


def last_line(path):
    """The last line of a log that says something."""
    lines = path.read_text(errors="replace").split("\n") if path.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "")


def main(out, work):
    found = summary(out, work)
    (out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    for name, verdict in found["sanitizer"].items():
        print(f"{name:<18} {verdict}")
    print(last_line(out / "benchmarks.log"))
    for t in found["targets"]:
        print(told(t))
    print(f"benchmark rows with errors: {len(found['errors'])}, left out for want of time: {found['left_out']}")
    print(f"tests: {last_line(out / 'tests.log')}")
    for p in found["phases"]:
        print(f"{p['outcome']:>12}  {p['phase']} ({p['seconds']} s)")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
