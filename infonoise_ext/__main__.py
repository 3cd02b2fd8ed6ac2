"""`python -m infonoise_ext doctor | demo | report`."""

from __future__ import annotations

import sys

USAGE = """usage: python -m infonoise_ext COMMAND

  doctor   versions, which backend serves which tensors, what is missing and how to get it
  demo     train a small denoiser on DNA motifs under five noise schedules (--help for options)
  report   turn what History recorded of a run into one HTML page, and say what is wrong with it
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command; the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command == "doctor":
        from .doctor import report

        print(report())
        return 0
    if command == "demo":
        from . import demo

        return int(demo.main(rest) or 0)
    if command == "report":
        from .watch import report as run_report

        return run_report.main(rest)
    print(USAGE, end="", file=sys.stdout if command in ("-h", "--help") else sys.stderr)
    return 0 if command in ("-h", "--help") else 2


if __name__ == "__main__":
    sys.exit(main())
