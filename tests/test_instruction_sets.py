"""The test run again on every other instruction set of the machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xentc import _core

SETS = _core.build_info()["instruction_sets"]
OTHERS = [name for name in SETS["usable"] if name != SETS["chosen"]]

# What is not repeated, by the beginnings of test names: it runs no kernel, or only such as others compare with exact values.
ONCE = [
    "test_coming_from.py",
    "test_command_line.py",
    "test_command_line_processes.py",
    "test_comparison_display.py",
    "test_dask.py",
    "test_decompose_log_loss.py",
    "test_examples.py",
    "test_files.py",
    "test_files_columns.py",
    "test_files_damage.py",
    "test_fit_temperature.py",
    "test_labels.py",
    "test_log_loss.py::test_random_valid_calls",
    "test_log_loss_display.py",
    "test_minimal_install.py",
    "test_other_systems.py",
    "test_peers.py",
    "test_plotting.py",
    "test_reliability_display.py",
    "test_scorers.py",
    "test_structure.py",
]


@pytest.mark.slow
@pytest.mark.skipif("XENTC_ISA" in os.environ, reason="one instruction set is asked for")
@pytest.mark.parametrize("name", OTHERS)
def test_all_on(name):
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(folder),
         *(f"--deselect={folder.name}/{start}" for start in ONCE)],
        env={**os.environ, "XENTC_ISA": name}, cwd=folder.parent, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]


def test_what_is_not_repeated_is_there():
    for start in ONCE:
        file, _, name = start.partition("::")
        assert f"def {name}" in Path(__file__).with_name(file).read_text()
