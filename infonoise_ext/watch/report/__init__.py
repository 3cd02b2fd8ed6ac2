"""One HTML page about a recorded run: `python -m infonoise_ext report RUN`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .page import page_of
from .runs import Run, read_run
from .warnings import find_warnings

__all__ = ["Run", "find_warnings", "main", "page_of", "read_run"]


def main(argv: list[str] | None = None) -> int:
    """Write the page and say what is wrong with the run; the exit status."""
    options = parse(argv)
    try:
        run = read_run(options.run)
        target = options.out or default_target(options.run)
        if target.resolve() == options.run.resolve():
            raise ValueError(f"{target} is the run itself: name another file with -o")
        target.write_text(page_of(run), encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:  # of values that no History writes
        print(f"report: {options.run} holds a damaged record: {type(error).__name__}, {error}", file=sys.stderr)
        return 1
    print(f"Wrote {target} ({target.stat().st_size / 1e6:.2f} MB).")
    for note in run.notes:
        print(f"note: {note}")
    findings = find_warnings(run)
    for finding in findings:
        print(f"warning: {finding}")
    if not findings:
        print("No warnings.")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m infonoise_ext report", description=__doc__)
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="a file that History wrote, or a folder with one per rank"
    )
    parser.add_argument("-o", "--out", type=Path, help="default: RUN.html beside the file, report.html in the folder")
    return parser.parse_args(argv)


def default_target(run: Path) -> Path:
    """Where the page goes when nobody says."""
    return run / "report.html" if run.is_dir() else run.with_suffix(".html")
