"""The types of linear_cross_entropy: what comes back depends on reduction, return_grad and bias."""

from typing import Any, Literal, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike

from xentc.losses import ClassWeight, Reduced

__all__ = ["linear_cross_entropy"]


class _Options(TypedDict, total=False):
    class_weight: ClassWeight | None
    sample_weight: ArrayLike | None
    label_smoothing: float
    ignore_index: int | None
    z_loss: float
    focal_gamma: float
    out_grad: Any
    block_rows: int | None
    n_threads: int | None


@overload
def linear_cross_entropy(
    hidden: ArrayLike, weight: ArrayLike, target: Any, *, bias: ArrayLike | None = None,
    reduction: Reduced = "mean", return_grad: Literal[False] = False, **options: Unpack[_Options]
) -> float: ...
@overload
def linear_cross_entropy(
    hidden: ArrayLike, weight: ArrayLike, target: Any, *, bias: ArrayLike | None = None,
    reduction: Literal["none"], return_grad: Literal[False] = False, **options: Unpack[_Options]
) -> np.ndarray: ...
@overload
def linear_cross_entropy(
    hidden: ArrayLike, weight: ArrayLike, target: Any, *, bias: None = None,
    reduction: Reduced = "mean", return_grad: Literal[True], **options: Unpack[_Options]
) -> tuple[float, tuple[np.ndarray, np.ndarray]]: ...
@overload
def linear_cross_entropy(
    hidden: ArrayLike, weight: ArrayLike, target: Any, *, bias: ArrayLike,
    reduction: Reduced = "mean", return_grad: Literal[True], **options: Unpack[_Options]
) -> tuple[float, tuple[np.ndarray, np.ndarray, np.ndarray]]: ...
@overload
def linear_cross_entropy(
    hidden: ArrayLike, weight: ArrayLike, target: Any, *, bias: None = None,
    reduction: Literal["none"], return_grad: Literal[True], **options: Unpack[_Options]
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]: ...
@overload
def linear_cross_entropy(
    hidden: ArrayLike, weight: ArrayLike, target: Any, *, bias: ArrayLike,
    reduction: Literal["none"], return_grad: Literal[True], **options: Unpack[_Options]
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]: ...
@overload
def linear_cross_entropy(
    hidden: ArrayLike, weight: ArrayLike, target: Any, *, bias: ArrayLike | None = None,
    reduction: str = "mean", return_grad: bool = False, **options: Unpack[_Options]
) -> Any: ...
