"""What is left out where `-m "not slow"` asks for less."""

import pytest


def slow_but(quick, values):
    """Parameters, all marked as slow but the quick ones."""
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]
