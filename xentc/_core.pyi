"""The extension module: typed loops over rows. Not public; see src/_core.pyx."""

from typing import Any

import numpy as np

STATE_SHAPE: tuple[int, int]

def build_info() -> dict[str, Any]: ...
def kernel_shapes(itemsize: int) -> dict[str, Any]: ...
def openmp_limit() -> int: ...
def merge(state: np.ndarray, other: np.ndarray) -> None: ...
def is_sum_of(state: np.ndarray, count: int) -> bool: ...
def rounded(state: np.ndarray) -> float: ...
def add_values(state: np.ndarray, values: np.ndarray, weights: np.ndarray | None, n_threads: int) -> None: ...
def total_weight(
    x: np.ndarray,
    target: np.ndarray | None,
    class_weight: np.ndarray | None,
    sample_weight: np.ndarray | None,
    *,
    ignore_index: int | None = None,
) -> tuple[float, float, int, int]: ...
def softmax_loss(
    x: np.ndarray,
    target: np.ndarray | None,
    soft: bool,
    sparse: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    class_weight: np.ndarray | None,
    sample_weight: np.ndarray | None,
    ignore_index: int | None,
    label_smoothing: float,
    losses: np.ndarray | None,
    grad: np.ndarray | None,
    hess: np.ndarray | None,
    narrow: bool,
    denominator: float,
    n_threads: int,
    z_loss: float = 0.0,
    focal_gamma: float = 0.0,
    entropy: bool = False,
    *,
    stream: bool = False,
    binary: bool = False,
    lowest_label: int = 0,
    positions: np.ndarray | None = None,
) -> tuple[float, float, int, int]: ...
def proba_loss(
    x: np.ndarray,
    target: np.ndarray | None,
    soft: bool,
    sparse: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    class_weight: np.ndarray | None,
    sample_weight: np.ndarray | None,
    ignore_index: int | None,
    label_smoothing: float,
    losses: np.ndarray | None,
    grad: np.ndarray | None,
    hess: np.ndarray | None,
    narrow: bool,
    denominator: float,
    n_threads: int,
    eps: float = 0.0,
    normalized: bool = False,
    logs: bool = False,
    *,
    stream: bool = False,
) -> tuple[float, float, int, int]: ...
def binary_loss(
    x: np.ndarray,
    target: np.ndarray,
    pos_weight: np.ndarray | None,
    sample_weight: np.ndarray | None,
    losses: np.ndarray | None,
    grad: np.ndarray | None,
    hess: np.ndarray | None,
    denominator: float,
    n_threads: int,
    *,
    eps: float | None = None,
    narrow: bool = False,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> tuple[float, float, int, int]: ...
def logsumexp(x: np.ndarray, out: np.ndarray, n_threads: int) -> None: ...
def softmax(x: np.ndarray, out: np.ndarray, logs: bool, n_threads: int, *, stream: bool = False) -> None: ...
def log_loss(
    proba: np.ndarray,
    target: np.ndarray | None,
    entries: np.ndarray | None,
    sample_weight: np.ndarray | None,
    losses: np.ndarray | None,
    eps: float,
    tolerance: float,
    n_threads: int,
    *,
    lowest_label: int = 0,
    positions: np.ndarray | None = None,
) -> tuple[float, float, int, float, float, bool, bool]: ...
def elementary(function: int, x: np.ndarray, out: np.ndarray) -> None: ...
def label_extremes(labels: np.ndarray, n_threads: int) -> tuple[int, int]: ...
def mark_labels(labels: np.ndarray, lowest: int, present: np.ndarray) -> None: ...
def code_items(
    items: np.ndarray, codes: np.ndarray, slots: np.ndarray, first: np.ndarray, *, strings: bool = False
) -> list[int]: ...
def recode(codes: np.ndarray, ranks: np.ndarray, starts: np.ndarray, out: np.ndarray) -> None: ...
def class_weights(
    target: np.ndarray,
    sample_weight: np.ndarray,
    sums: np.ndarray,
    *,
    lowest_label: int = 0,
    positions: np.ndarray | None = None,
) -> None: ...
