"""Lay out the documentation in build/pages and build the site in build/site, strictly.

README.md becomes the start page, and the figures of experiments/ and the examples come along, so that a link works
on the site as it does in the repository.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "build" / "pages"
LINK = re.compile(r"(\]\()([^)\s:#]+)(#[^)\s]*)?\)")
CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.M | re.S)


def layout() -> dict[Path, Path]:
    """Where each file of the repository stands in build/pages."""
    places = {Path("README.md"): "index.md", Path("CONTRIBUTING.md"): "contributing.md"}
    places[Path("CHANGELOG.md")] = "changelog.md"
    for folder, inside in (("docs", ""), ("examples", "examples"), ("experiments/results", "figures")):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".md", ".png", ".css", ".py"):
                places[path.relative_to(ROOT)] = os.path.join(inside, path.relative_to(ROOT / folder))
    return {source: Path(place) for source, place in places.items()}


def moved(text: str, source: Path, places: dict[Path, Path]) -> str:
    """A page's text with its links as they must be where the page is laid out.

    Raises:
        ValueError: a link to a file that is not laid out.
    """

    def relink(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(source.parent / link[2]))
        if target not in places:
            raise ValueError(f"{source} links to {link[2]}, but must link to a page, a figure or an example")
        return f"{link[1]}{os.path.relpath(places[target], places[source].parent)}{link[3] or ''})"

    parts = CODE.split(text)
    return "".join(part if part.startswith("`") else LINK.sub(relink, part) for part in parts)


def lay_out() -> None:
    """Fill build/pages anew."""
    shutil.rmtree(PAGES, ignore_errors=True)
    places = layout()
    for source, place in places.items():
        (PAGES / place).parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            (PAGES / place).write_text(moved((ROOT / source).read_text(), source, places))
        else:
            shutil.copyfile(ROOT / source, PAGES / place)


def main() -> int:
    """Lay out, then build; any warning is an error."""
    lay_out()
    return subprocess.run([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
