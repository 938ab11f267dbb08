"""Python layer: intervals and tests of means, by Student's t distribution, and intervals of proportions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xentc._validation import as_number


def interval(mean: float, error: float, n: float, level: float) -> tuple[float, float]:
    """The confidence interval of a mean of n values, from its standard error."""
    level = _level(level)
    half = error * float(_special().stdtrit(n - 1, (1 + level) / 2)) if n > 1 else math.nan
    return mean - half, mean + half


def proportion_intervals(hits: np.ndarray, counts: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The exact confidence intervals of hits / counts, after Clopper and Pearson."""
    tail, misses = (1 - _level(level)) / 2, counts - hits
    quantile = _special().betaincinv
    low = np.where(hits == 0, 0.0, quantile(np.maximum(hits, 1), misses + 1, tail))
    high = np.where(misses == 0, 1.0, quantile(hits + 1, np.maximum(misses, 1), 1 - tail))
    return low, high


def p_value(mean: float, error: float, n: float) -> float:
    """Of a mean of 0, two-sided."""
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return 2 * float(_special().stdtr(n - 1, -abs(mean / error))) if n > 1 else math.nan


def _level(level: float) -> float:
    level = as_number(level, "level", 1)
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a number between 0 and 1")
    return level


def _special() -> Any:
    try:
        from scipy import special
    except ImportError as error:
        raise ImportError('intervals and p-values need SciPy: pip install "xentc[stats]"') from error
    return special
