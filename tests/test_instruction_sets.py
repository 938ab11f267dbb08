"""The whole test run again on every other instruction set of the machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xentc import _core

SETS = _core.build_info()["instruction_sets"]
OTHERS = [name for name in SETS["usable"] if name != SETS["chosen"]]


@pytest.mark.skipif("XENTC_ISA" in os.environ, reason="one instruction set is asked for")
@pytest.mark.parametrize("name", OTHERS)
def test_all_on(name):
    pytest_script = Path(sys.executable).with_name("pytest")
    done = subprocess.run(
        [str(pytest_script), "-q", "-x", "-p", "no:cacheprovider", str(Path(__file__).parent)],
        env={**os.environ, "XENTC_ISA": name}, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
