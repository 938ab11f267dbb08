"""The examples in the docstrings, in README.md and in the pages of docs."""

import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import xentc

PACKAGE = Path(xentc.__file__).parent
FILES = [path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text()]
MODULES = sorted(".".join(path.with_suffix("").parts) for path in FILES)
ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(path for path in sorted(ROOT.glob("docs/**/*.md")) if ">>> " in path.read_text())]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    assert doctest.testmod(importlib.import_module(name), optionflags=OPTIONS).failed == 0


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pages(path):
    result = doctest.testfile(str(path), module_relative=False, optionflags=OPTIONS)
    assert result.attempted > 1
    assert result.failed == 0


@pytest.mark.parametrize("script", ["benchmarks/draw.py", "tools/history.py"])
def test_the_tables_of_times_are_the_recorded_ones(script):
    subprocess.run([sys.executable, ROOT / script, "--check"], check=True)


def test_every_public_function_has_a_whole_docstring():
    functions = {name: getattr(module, name) for module in (xentc, xentc.special) for name in module.__all__}
    for name, function in functions.items():
        if name == "special":
            continue
        doc = inspect.getdoc(function)
        sections = ["Examples"]
        if not inspect.isclass(function) and name not in ("get_num_threads", "set_num_threads", "show_config"):
            sections += ["Parameters", "Returns", "Raises", "Notes", "References"]
        for section in sections:
            assert f"{section}\n---" in doc, (name, section)


@pytest.mark.parametrize("name", ["evaluation", "comparison", "calibration", "files", "dask", "plotting"])
def test_every_other_public_name_has_an_example(name):
    module = importlib.import_module(f"xentc.{name}")
    for public in module.__all__:
        doc = inspect.getdoc(getattr(module, public))
        assert "Examples\n---" in doc or "with an example" in doc, public
