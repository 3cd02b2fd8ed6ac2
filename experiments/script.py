"""What experiments share: their command line, the files they write, rounding."""

import argparse
import json
import platform
import re
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy
import torch
from matplotlib.figure import Figure

RESULTS = Path("experiments/results")


def run(
    name: str,
    doc: str,
    measure: Callable[[bool], dict],
    draw: Callable[[dict], Figure],
    table: Callable[[dict], str],
) -> None:
    """Measure, write the JSON, draw it beside, print its table.

    Args:
        name: stem of the files.
        doc: what --help says.
        measure: whether in short -> results that JSON can hold.
        draw: results as JSON gives them back -> figure.
        table: the same -> Markdown.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer draws and levels, into a file of their own")
    parser.add_argument("--out", type=Path, help="the JSON file; the figure goes beside it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = options.out or RESULTS / f"{name}{'_short' if options.short else ''}.json"
    text = written({"short": options.short, "versions": versions()} | measure(options.short))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    results = json.loads(text)
    draw(results).savefig(out.with_suffix(".png"), dpi=100, pil_kwargs={"optimize": True})
    print(table(results))


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__}


def written(results: dict) -> str:
    """JSON with a list of numbers on one line."""
    text = json.dumps(results, indent=1, allow_nan=False)
    return re.sub(r"\[[^][{}]*\]", lambda match: " ".join(match[0].split()), text) + "\n"


def rounded(values, digits: int = 5):
    """A number, or the numbers of a tensor or list of any shape, to `digits` significant ones; None for NaN."""
    if isinstance(values, torch.Tensor):
        values = values.tolist()
    if isinstance(values, list):
        return [rounded(value, digits) for value in values]
    return float(f"{values:.{digits}g}") if values == values else None


def plus_minus(found: dict, name: str) -> str:
    """A result and its standard error, NAME_error, as tables show them."""
    return f"{found[name]:.2f} ± {found[f'{name}_error']:.2f}"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    return "\n".join([lines[0], "|---" * len(header) + "|", *lines[1:]])
