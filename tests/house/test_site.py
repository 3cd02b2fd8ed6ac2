"""The documentation site: every page has its place, every public name a docstring and a line in the reference."""

import importlib
import importlib.util
import inspect
import operator
import re
from pathlib import Path

import pytest
from support import ROOT

import infonoise_ext as inx
from infonoise_ext.integrations.diffusers import ScriptSchedule
from infonoise_ext.integrations.trainers import FlowSchedule

WINGS = ("channel", "curves", "grids", "interpolant", "oracle", "watch.plot")
MODULE = importlib.util.spec_from_file_location("site_script", ROOT / "scripts" / "site.py")
SITE = importlib.util.module_from_spec(MODULE)
MODULE.loader.exec_module(SITE)


def documented():
    """What the reference asks mkdocstrings for: objects, by where they are defined."""
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    names = re.findall(r"^::: (\S+)$", pages, re.M)
    assert len(names) == len(set(names))
    return names


def resolved(path):
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError:
        return importlib.import_module(path)


def public_names():
    names = [("infonoise_ext", name) for name in inx.__all__ if name != "__version__"]
    for wing in WINGS:
        module = importlib.import_module(f"infonoise_ext.{wing}")
        names += [(module.__name__, name) for name in getattr(module, "__all__", ())]
    return names


def test_every_public_name_is_in_the_reference():
    told = [resolved(name) for name in documented()]
    for module, name in public_names():
        value = getattr(importlib.import_module(module), name)
        assert any(value is other for other in told), f"{module}.{name} is on no page of docs/reference"


def test_every_name_of_the_reference_has_a_docstring():
    for path in documented():
        value = resolved(path)
        if inspect.ismodule(value) or callable(value):
            assert inspect.getdoc(value), path
        for name, method in inspect.getmembers(value, inspect.isfunction) if inspect.isclass(value) else ():
            assert name.startswith("_") or inspect.getdoc(method), f"{path}.{name}"


def test_every_page_is_in_the_navigation_once():
    navigation = re.search(r"^nav:\n(.*?)^\S", (ROOT / "mkdocs.yml").read_text(), re.M | re.S).group(1)
    listed = re.findall(r"(\S+\.md)$", navigation, re.M)
    pages = [str(place) for source, place in SITE.layout().items() if source.suffix == ".md"]
    assert sorted(listed) == sorted(pages)


def test_links_are_moved_with_their_pages():
    places = {Path("top.md"): Path("index.md"), Path("in/a.md"): Path("a.md"), Path("in/b/c.md"): Path("b/c.md")}
    assert SITE.moved("[a](in/a.md#x)", Path("top.md"), places) == "[a](a.md#x)"
    assert SITE.moved("[a](../../top.md)", Path("in/b/c.md"), places) == "[a](../index.md)"
    assert SITE.moved("[a](#here) `[b](c)(d)`", Path("in/a.md"), places) == "[a](#here) `[b](c)(d)`"
    with pytest.raises(ValueError, match=r"in/a\.md links to gone\.md"):
        SITE.moved("[a](gone.md)", Path("in/a.md"), places)


def test_every_link_of_every_page_leads_to_a_file():
    places = SITE.layout()
    for source in places:
        if source.suffix == ".md":
            SITE.moved((ROOT / source).read_text(), source, places)


def test_names_that_pages_show_exist():
    schedule = {*dir(inx.InfoNoise()), *dir(FlowSchedule), *dir(ScriptSchedule), *ScriptSchedule.__annotations__}
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for name in set(re.findall(r"\binx\.([\w.]*\w)", path.read_text())):
            assert operator.attrgetter(name)(inx), (path.name, name)
        for name in set(re.findall(r"\bschedule\.(?!pt\b|safetensors\b)(\w+)", path.read_text())):
            assert name in schedule, (path.name, name)


def test_documents_named_in_the_code_exist():
    """Comments and docstrings point at pages by name."""
    for folder in ("infonoise_ext", "csrc", "tests", "benchmarks", "experiments", "examples", "scripts"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".h", ".cuh", ".cpp", ".cu", ".sh"):
                for page in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text()):
                    assert (ROOT / page).exists(), f"{path.relative_to(ROOT)} names {page}"


@pytest.mark.slow
def test_the_site_builds_without_a_warning():
    """`make docs`, which also finds broken anchors and names that mkdocstrings does not find."""
    pytest.importorskip("zensical")
    assert SITE.main() == 0
