"""The tests' own rules: a room for each wing, helpers in `support`, and no path in a text to a test that has moved."""

import ast
import re

import pytest
from support import ROOT

TESTS = ROOT / "tests"
MODULES = sorted(TESTS.rglob("*.py"))
NO_ROOM = {"data", "integrations", "__pycache__"}
"""The tests of integrations are in `hosts`, with those of pages and examples."""


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_module_imports_a_test_module(path):
    tests = {module.stem for module in MODULES if module.stem.startswith("test_")}
    assert not [name for name in imported(path) if tests & set(name.split("."))]


def test_every_wing_of_the_package_has_a_room():
    wings = {folder.name for folder in (ROOT / "infonoise_ext").iterdir() if folder.is_dir()} - NO_ROOM
    assert wings >= {"ops", "curves", "state", "watch"}
    assert not [wing for wing in wings if not list((TESTS / wing).glob("test_*.py"))]


def test_files_of_the_tests_that_texts_name_exist():
    texts = [ROOT / name for name in ("Makefile", "CMakeLists.txt", "pyproject.toml", "README.md", "CONTRIBUTING.md")]
    for folder in ("docs", "scripts", "csrc", "benchmarks", "tests"):
        texts += [path for path in (ROOT / folder).rglob("*.*") if path.suffix in {".md", ".py", ".sh", ".h", ".cuh"}]
    named = {name for text in texts for name in re.findall(r"\btests/[\w/]+\.\w+", text.read_text())}
    assert "tests/native/emulator.h" in named  # of CONTRIBUTING.md
    assert not [name for name in named if not (ROOT / name).exists()]
