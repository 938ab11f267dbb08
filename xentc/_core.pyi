"""The extension module: typed loops over rows. Not public; see src/_core.pyx."""

from typing import Any

import numpy as np

STATE_SHAPE: tuple[int, int]

def build_info() -> dict[str, Any]: ...
def openmp_limit() -> int: ...
def merge(state: np.ndarray, other: np.ndarray) -> None: ...
def add_values(state: np.ndarray, values: np.ndarray, weights: np.ndarray, n_threads: int) -> None: ...
def total_weight(
    logits: np.ndarray, target: np.ndarray, class_weight: np.ndarray, sample_weight: np.ndarray, state: np.ndarray
) -> int: ...
def cross_entropy(
    logits: np.ndarray,
    target: np.ndarray | None,
    class_weight: np.ndarray,
    sample_weight: np.ndarray,
    losses: np.ndarray | None,
    grad: np.ndarray | None,
    denominator: float,
    state: np.ndarray,
    n_threads: int,
    *,
    soft: bool = False,
    binary: bool = False,
    narrow: bool = False,
) -> int: ...
def log_loss(
    proba: np.ndarray,
    target: np.ndarray | None,
    entries: np.ndarray | None,
    sample_weight: np.ndarray,
    losses: np.ndarray | None,
    eps: float,
    tolerance: float,
    state: np.ndarray,
    n_threads: int,
) -> tuple[float, float, bool, bool, int]: ...
def elementary(function: int, x: np.ndarray, out: np.ndarray) -> None: ...
