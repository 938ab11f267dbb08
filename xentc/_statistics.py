"""Python layer: intervals and tests of means, by Student's t distribution."""

from __future__ import annotations

import math
from typing import Any

from xentc._validation import as_number


def interval(mean: float, error: float, n: float, level: float) -> tuple[float, float]:
    """The confidence interval of a mean of n values, from its standard error."""
    level = as_number(level, "level", 1)
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a number between 0 and 1")
    half = error * float(_special().stdtrit(n - 1, (1 + level) / 2)) if n > 1 else math.nan
    return mean - half, mean + half


def p_value(mean: float, error: float, n: float) -> float:
    """Of a mean of 0, two-sided."""
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return 2 * float(_special().stdtr(n - 1, -abs(mean / error))) if n > 1 else math.nan


def _special() -> Any:
    try:
        from scipy import special
    except ImportError as error:
        raise ImportError('intervals and p-values need SciPy: pip install "xentc[stats]"') from error
    return special
