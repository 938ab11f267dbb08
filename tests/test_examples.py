"""The examples in the docstrings and in README.md."""

import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import xentc

MODULES = [
    "xentc", "xentc._config", "xentc._exact", "xentc.calibration", "xentc.command_line", "xentc.dask", "xentc.evaluation",
    "xentc.files", "xentc.losses", "xentc.metrics", "xentc.plotting", "xentc.scorers", "xentc.special",
]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    assert doctest.testmod(importlib.import_module(name), optionflags=OPTIONS).failed == 0


def test_readme():
    result = doctest.testfile(str(Path(__file__).parents[1] / "README.md"), module_relative=False, optionflags=OPTIONS)
    assert result.attempted > 5
    assert result.failed == 0


def test_the_table_in_the_readme_is_the_recorded_one():
    draw = Path(__file__).parents[1] / "benchmarks" / "draw.py"
    subprocess.run([sys.executable, draw, "--check"], check=True)


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
