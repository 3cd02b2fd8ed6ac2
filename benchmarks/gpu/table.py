"""The table of a run in Markdown, and documents that hold it between two comments."""

import json
import re
from pathlib import Path

from .targets import Results

NOTHING = "No GPU has run these kernels yet; `scripts/gpu_check.sh` measures them in one call."
BEGIN, END = "<!-- gpu-table -->", "<!-- /gpu-table -->"
STEP_COLUMNS = {
    "cuda": "CUDA C++, µs (quartiles)",
    "triton": "Triton",
    "compiled": "torch.compile",
    "reduce-overhead": "reduce-overhead",
    "library": "library calls",
    "eager": "eager torch",
    "host": "host: deque + NumPy",
}
"""The first that was measured gives times; the others are told as multiples of it."""


def newest(folder):
    """The report measured last among `gpu-*.json`, or None."""
    reports = [json.loads(path.read_text()) for path in Path(folder).glob("gpu-*.json")]
    return max(reports, key=lambda report: report["date"], default=None)


def table(report):
    """Markdown of a report; the sentence `NOTHING` for None."""
    if report is None:
        return NOTHING
    results = Results(report["rows"], report["sizes"])
    facts = report["facts"]
    head = (
        f"{facts['gpu']}, torch {facts['torch']}, driver {facts['driver']}, commit {facts['commit']}. "
        f"Median of a call under CUDA-graph replay; an empty kernel is {_time(results.find('empty kernel', 'triton'))}."
    )
    return "\n\n".join([head, _steps(results), _parts(results)])


def _time(row):
    return "" if row is None else f"{row['median']:.1f} µs"


def _steps(results):
    columns = [name for name in STEP_COLUMNS if any(r["backend"] == name for r in results.rows)]
    base, *others = columns
    header = ["`advance_`, batch", "refresh", *(STEP_COLUMNS[c] for c in columns)]
    lines = [_row(header), "|---" * len(header) + "|"]
    for batch in results.sizes["batches"]:
        for refresh in (False, True):
            ours = results.step(base, batch, refresh)
            if ours is None:
                continue
            ratios = [results.ratio(results.step(c, batch, refresh), ours) for c in others]
            times = f"{ours['median']:.1f} ({ours['q1']:.1f}-{ours['q3']:.1f})"
            lines.append(_row([f"{batch:,}", "each step" if refresh else "none", times, *map(_multiple, ratios)]))
    return "\n".join(lines)


def _multiple(ratio):
    return "" if ratio is None else f"{ratio:.1f}x"


def _parts(results):
    header = ["op", "backend", "elements", "K", "MB", "µs (quartiles)", "GB/s", "share of the limit"]
    lines = [_row(header), "|---" * len(header) + "|"]
    for r in results.rows:
        if "median" not in r or r["op"] == "advance_":
            continue
        share = results.share(r)
        lines.append(_row([
            f"`{r['op']}`" if r["bins"] else r["op"], r["backend"], f"{r['batch']:,}" if r["batch"] else "",
            str(r["bins"] or ""), f"{r['bytes'] / 1e6:.1f}" if r["bytes"] else "",
            f"{r['median']:.1f} ({r['q1']:.1f}-{r['q3']:.1f})",
            f"{r['gbps']:.0f}" if r["gbps"] else "", f"{share:.2f} of {r['limit']}" if share else "",
        ]))  # fmt: skip
    return "\n".join(lines)


def _row(cells):
    return "| " + " | ".join(cells) + " |"


def fill(path, report):
    """Replace what a document holds between the two comments.

    Raises:
        ValueError: the document has not exactly one such place.
    """
    text = Path(path).read_text()
    between = re.compile(f"({re.escape(BEGIN)}\n).*?({re.escape(END)})", re.S)
    if len(between.findall(text)) != 1:
        raise ValueError(f"{path} must have one {BEGIN} ... {END}, each beginning a line")
    Path(path).write_text(between.sub(lambda m: f"{m[1]}{table(report)}\n{m[2]}", text))
