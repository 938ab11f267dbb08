"""Random calls with odd and hostile inputs, by fixed seeds: `tools/fuzz.py` makes more, and shows one by its seed."""

import sys
from pathlib import Path

import pytest
from depth import slow_but

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import fuzz

CALLS = 300


@pytest.mark.parametrize("first", slow_but(range(600), range(0, 3000, CALLS)))
def test_random_calls(first):
    wrong = {seed: fuzz.one(seed)[1] for seed in range(first, first + CALLS)}
    assert not {seed: what for seed, what in wrong.items() if what}
