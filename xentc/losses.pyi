"""The types of the losses: what comes back depends on reduction, return_grad and return_hess."""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike

Reduction = Literal["none", "sum", "mean"]
Reduced = Literal["sum", "mean"]
ClassWeight = ArrayLike | Mapping[int, float]


class _Options(TypedDict, total=False):
    sample_weight: ArrayLike | None
    out_grad: np.ndarray | None
    n_threads: int | None


class _ClassOptions(_Options, total=False):
    class_weight: ClassWeight | None
    ignore_index: int | None
    axis: int


class _CrossEntropyOptions(_ClassOptions, total=False):
    label_smoothing: float
    z_loss: float
    focal_gamma: float
    out_hess: np.ndarray | None


class _BinaryOptions(_Options, total=False):
    pos_weight: ArrayLike | None
    label_smoothing: float


class _LogitOptions(_BinaryOptions, total=False):
    focal_gamma: float
    out_hess: np.ndarray | None


class _ProbaOptions(_BinaryOptions, total=False):
    eps: float | None


class _CategoricalOptions(_ClassOptions, total=False):
    label_smoothing: float
    eps: float | None
    normalize_rows: bool


class _KlOptions(_Options, total=False):
    axis: int


@overload
def cross_entropy(
    logits: ArrayLike, target: Any, *,
    reduction: Reduced = "mean", return_grad: Literal[False] = False,
    return_hess: Literal[False] = False, **options: Unpack[_CrossEntropyOptions]
) -> float: ...
@overload
def cross_entropy(
    logits: ArrayLike, target: Any, *,
    reduction: Reduced = "mean", return_grad: Literal[True],
    return_hess: Literal[False] = False, **options: Unpack[_CrossEntropyOptions]
) -> tuple[float, np.ndarray]: ...
@overload
def cross_entropy(
    logits: ArrayLike, target: Any, *,
    reduction: Reduced = "mean", return_hess: Literal[True],
    return_grad: bool = False, **options: Unpack[_CrossEntropyOptions]
) -> tuple[float, np.ndarray, np.ndarray]: ...
@overload
def cross_entropy(
    logits: ArrayLike, target: Any, *,
    reduction: Literal["none"], return_grad: Literal[False] = False,
    return_hess: Literal[False] = False, **options: Unpack[_CrossEntropyOptions]
) -> np.ndarray: ...
@overload
def cross_entropy(
    logits: ArrayLike, target: Any, *,
    reduction: Literal["none"], return_grad: Literal[True],
    return_hess: Literal[False] = False, **options: Unpack[_CrossEntropyOptions]
) -> tuple[np.ndarray, np.ndarray]: ...
@overload
def cross_entropy(
    logits: ArrayLike, target: Any, *,
    reduction: Literal["none"], return_hess: Literal[True],
    return_grad: bool = False, **options: Unpack[_CrossEntropyOptions]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
@overload
def cross_entropy(
    logits: ArrayLike, target: Any, *,
    reduction: str = "mean", return_grad: bool = False, return_hess: bool = False, **options: Unpack[_CrossEntropyOptions]
) -> Any: ...
@overload
def binary_cross_entropy_with_logits(
    logits: ArrayLike, target: ArrayLike, *,
    reduction: Reduced = "mean", return_grad: Literal[False] = False,
    return_hess: Literal[False] = False, **options: Unpack[_LogitOptions]
) -> float: ...
@overload
def binary_cross_entropy_with_logits(
    logits: ArrayLike, target: ArrayLike, *,
    reduction: Reduced = "mean", return_grad: Literal[True],
    return_hess: Literal[False] = False, **options: Unpack[_LogitOptions]
) -> tuple[float, np.ndarray]: ...
@overload
def binary_cross_entropy_with_logits(
    logits: ArrayLike, target: ArrayLike, *,
    reduction: Reduced = "mean", return_hess: Literal[True],
    return_grad: bool = False, **options: Unpack[_LogitOptions]
) -> tuple[float, np.ndarray, np.ndarray]: ...
@overload
def binary_cross_entropy_with_logits(
    logits: ArrayLike, target: ArrayLike, *,
    reduction: Literal["none"], return_grad: Literal[False] = False,
    return_hess: Literal[False] = False, **options: Unpack[_LogitOptions]
) -> np.ndarray: ...
@overload
def binary_cross_entropy_with_logits(
    logits: ArrayLike, target: ArrayLike, *,
    reduction: Literal["none"], return_grad: Literal[True],
    return_hess: Literal[False] = False, **options: Unpack[_LogitOptions]
) -> tuple[np.ndarray, np.ndarray]: ...
@overload
def binary_cross_entropy_with_logits(
    logits: ArrayLike, target: ArrayLike, *,
    reduction: Literal["none"], return_hess: Literal[True],
    return_grad: bool = False, **options: Unpack[_LogitOptions]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
@overload
def binary_cross_entropy_with_logits(
    logits: ArrayLike, target: ArrayLike, *,
    reduction: str = "mean", return_grad: bool = False, return_hess: bool = False, **options: Unpack[_LogitOptions]
) -> Any: ...
@overload
def binary_cross_entropy(
    proba: ArrayLike, target: ArrayLike, *,
    reduction: Reduced = "mean", return_grad: Literal[False] = False, **options: Unpack[_ProbaOptions]
) -> float: ...
@overload
def binary_cross_entropy(
    proba: ArrayLike, target: ArrayLike, *,
    reduction: Reduced = "mean", return_grad: Literal[True], **options: Unpack[_ProbaOptions]
) -> tuple[float, np.ndarray]: ...
@overload
def binary_cross_entropy(
    proba: ArrayLike, target: ArrayLike, *,
    reduction: Literal["none"], return_grad: Literal[False] = False, **options: Unpack[_ProbaOptions]
) -> np.ndarray: ...
@overload
def binary_cross_entropy(
    proba: ArrayLike, target: ArrayLike, *,
    reduction: Literal["none"], return_grad: Literal[True], **options: Unpack[_ProbaOptions]
) -> tuple[np.ndarray, np.ndarray]: ...
@overload
def binary_cross_entropy(
    proba: ArrayLike, target: ArrayLike, *,
    reduction: str = "mean", return_grad: bool = False, **options: Unpack[_ProbaOptions]
) -> Any: ...
@overload
def categorical_cross_entropy(
    proba: ArrayLike, target: Any, *,
    reduction: Reduced = "mean", return_grad: Literal[False] = False, **options: Unpack[_CategoricalOptions]
) -> float: ...
@overload
def categorical_cross_entropy(
    proba: ArrayLike, target: Any, *,
    reduction: Reduced = "mean", return_grad: Literal[True], **options: Unpack[_CategoricalOptions]
) -> tuple[float, np.ndarray]: ...
@overload
def categorical_cross_entropy(
    proba: ArrayLike, target: Any, *,
    reduction: Literal["none"], return_grad: Literal[False] = False, **options: Unpack[_CategoricalOptions]
) -> np.ndarray: ...
@overload
def categorical_cross_entropy(
    proba: ArrayLike, target: Any, *,
    reduction: Literal["none"], return_grad: Literal[True], **options: Unpack[_CategoricalOptions]
) -> tuple[np.ndarray, np.ndarray]: ...
@overload
def categorical_cross_entropy(
    proba: ArrayLike, target: Any, *,
    reduction: str = "mean", return_grad: bool = False, **options: Unpack[_CategoricalOptions]
) -> Any: ...
@overload
def nll_loss(
    log_proba: ArrayLike, target: Any, *,
    reduction: Reduced = "mean", return_grad: Literal[False] = False, **options: Unpack[_ClassOptions]
) -> float: ...
@overload
def nll_loss(
    log_proba: ArrayLike, target: Any, *,
    reduction: Reduced = "mean", return_grad: Literal[True], **options: Unpack[_ClassOptions]
) -> tuple[float, np.ndarray]: ...
@overload
def nll_loss(
    log_proba: ArrayLike, target: Any, *,
    reduction: Literal["none"], return_grad: Literal[False] = False, **options: Unpack[_ClassOptions]
) -> np.ndarray: ...
@overload
def nll_loss(
    log_proba: ArrayLike, target: Any, *,
    reduction: Literal["none"], return_grad: Literal[True], **options: Unpack[_ClassOptions]
) -> tuple[np.ndarray, np.ndarray]: ...
@overload
def nll_loss(
    log_proba: ArrayLike, target: Any, *,
    reduction: str = "mean", return_grad: bool = False, **options: Unpack[_ClassOptions]
) -> Any: ...
@overload
def kl_divergence(
    logits: ArrayLike, target: Any, *,
    reduction: Reduced = "mean", return_grad: Literal[False] = False, **options: Unpack[_KlOptions]
) -> float: ...
@overload
def kl_divergence(
    logits: ArrayLike, target: Any, *,
    reduction: Reduced = "mean", return_grad: Literal[True], **options: Unpack[_KlOptions]
) -> tuple[float, np.ndarray]: ...
@overload
def kl_divergence(
    logits: ArrayLike, target: Any, *,
    reduction: Literal["none"], return_grad: Literal[False] = False, **options: Unpack[_KlOptions]
) -> np.ndarray: ...
@overload
def kl_divergence(
    logits: ArrayLike, target: Any, *,
    reduction: Literal["none"], return_grad: Literal[True], **options: Unpack[_KlOptions]
) -> tuple[np.ndarray, np.ndarray]: ...
@overload
def kl_divergence(
    logits: ArrayLike, target: Any, *,
    reduction: str = "mean", return_grad: bool = False, **options: Unpack[_KlOptions]
) -> Any: ...
def perplexity(
    logits: ArrayLike,
    target: Any,
    *,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    axis: int = -1,
    n_threads: int | None = None,
) -> float: ...
