"""Python layer: the checks and the texts of log-loss, in scikit-learn's order and words, and the pass over the data."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from xentc import _config, _core
from xentc._arrays import is_array_like, is_bfloat16, is_float, native, of_lists, of_tensor, raw, shown
from xentc._labels import Labels, check_finite, read_labels
from xentc._validation import as_flag


@dataclass
class Evaluation:
    total: float
    weight: float
    losses: np.ndarray | None
    labels: Labels
    sample_weight: np.ndarray | None


def evaluate(
    y_true: Any, y_proba: Any, sample_weight: Any, labels: Any, from_logits: bool, *, per_sample: bool
) -> Evaluation:
    from_logits = as_flag(from_logits, "from_logits")
    proba = _read_probabilities(y_proba)
    eps = eps_of(proba.dtype)
    n_columns = max(proba.shape[1], 2)
    losses = np.empty(len(proba)) if per_sample else None
    tolerance = 1e-8 + math.sqrt(eps)
    # Labels and weights are read first, so that one pass over the probabilities suffices; what is wrong with them is told
    # after what is wrong with the probabilities. Which labels there are may be a guess: the pass shows if it was wrong.
    for guess in (0 if from_logits else n_columns, 0):
        problem = known = None
        told: list[str] = []
        try:
            check_lengths(proba, y_true, sample_weight)
            if sample_weight is not None:
                sample_weight = _read_sample_weight(sample_weight, len(proba))
            known = read_labels(y_true, labels, told, guess)
        except (TypeError, ValueError) as error:
            problem = error
        fits = known is not None and len(known.classes) == n_columns
        if known is not None and fits and known.entries is not None and proba.shape[1] == 1:
            proba = np.concatenate([np.zeros_like(proba) if from_logits else 1 - proba, proba], axis=1)
        call = _call(proba, None if problem else sample_weight, losses)
        if known is not None and fits and not from_logits:
            known.attach(call)
        total, weight, bad_row, _, low, high, finite, sums_to_one = call.log_loss(eps, tolerance)
        if bad_row < 0 or known is None or not known.guessed:
            break
    if not finite:
        check_finite(proba)
    if not from_logits:
        if high > 1:
            raise ValueError(f"y_prob contains values greater than 1: {proba.dtype.type(high)}")
        if low < 0:
            raise ValueError(f"y_prob contains values lower than 0: {proba.dtype.type(low)}")
    for warning in told:
        warnings.warn(warning, UserWarning, stacklevel=3)
    if problem is not None:
        raise problem
    assert known is not None
    if not from_logits and not sums_to_one:
        warnings.warn("The y_prob values do not sum to one. Make sure to pass probabilities.", UserWarning, stacklevel=3)
    if not fits:
        if labels is None:
            raise ValueError(
                f"y_true and y_prob contain different number of classes: {len(known.classes)} vs {n_columns}. Please "
                "provide the true labels explicitly through the labels argument. Classes found in y_true: "
                f"{known.classes}"
            )
        raise ValueError(
            "The number of classes in labels is different from that in y_prob. Classes found in labels: "
            f"{known.classes}"
        )
    if known.indicator is None:
        check_columns(y_proba, known.classes)
    if from_logits:
        call = _call(proba, sample_weight, losses)
        if known.indicator is not None:
            call.set_target(known.indicator, soft=True)
        else:
            known.attach(call)
        total, weight, bad_row, _ = call.cross_entropy()
    if bad_row >= 0:
        raise ValueError(f"y_true[{bad_row}] was written to while log_loss read it")
    return Evaluation(total, weight, losses, known, sample_weight)


def check_columns(y_proba: Any, classes: np.ndarray) -> None:
    """Warn if the columns of a DataFrame are named after the classes, but in another order. scikit-learn says nothing."""
    if type(y_proba) is np.ndarray or not hasattr(type(y_proba), "columns"):
        return
    of_arrow = hasattr(type(y_proba), "column_names")  # whose columns are the values
    names = list(y_proba.column_names if of_arrow else y_proba.columns)
    order = classes.tolist()
    if set(names) != set(order):
        order = list(map(str, order))
    if set(names) == set(order) and len(names) == len(order) and names != order:
        warnings.warn(
            f"y_proba has the columns {shown(names)}, but they are taken by position: expected the order of the sorted "
            f"classes, {shown(order)}",
            UserWarning,
            stacklevel=4,
        )


def _call(proba: np.ndarray, sample_weight: np.ndarray | None, losses: np.ndarray | None) -> _core.Call:
    """A call with probabilities or logits; a single column stands for two classes."""
    single = proba.shape[1] == 1
    values = raw(proba)[:, 0] if single else raw(proba)
    call = _core.Call(values, sample_weight, _config.threads_for(proba.size, None), with_classes=not single)
    call.set_losses(losses)
    return call


def eps_of(dtype: np.dtype) -> float:
    """The distance from 1 to the next larger value: probabilities are clipped by that of their own dtype."""
    return 2.0**-7 if is_bfloat16(dtype) else {8: 2.0**-52, 4: 2.0**-23, 2: 2.0**-10}[dtype.itemsize]


def _read_probabilities(y_proba: Any) -> np.ndarray:
    """y_proba as floats of two dimensions, in their own dtype where that is float64 or narrower."""
    if isinstance(y_proba, np.matrix):
        raise TypeError(
            "np.matrix is not supported. Please convert to a numpy array with np.asarray. For more information see: "
            "https://numpy.org/doc/stable/reference/generated/numpy.matrix.html"
        )
    if isinstance(y_proba, np.ma.MaskedArray):
        raise ValueError("y_proba is a masked array; expected plain probabilities: drop the masked rows first")
    y_proba = of_lists(y_proba, "y_proba")
    if hasattr(y_proba, "dtypes") and hasattr(y_proba, "isna"):
        a = _from_pandas(y_proba)
    else:
        a = np.asarray(of_tensor(y_proba, "y_proba"))
    if a.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{a}\n")
    if not is_float(a.dtype):
        # Strings and objects are converted from the original: NumPy words its errors after what it was given.
        try:
            with np.errstate(over="ignore"):
                a = a.astype(np.float64) if a.dtype.kind in "biuf" else np.asarray(y_proba, dtype=np.float64)
        except OverflowError:
            raise ValueError("Input contains infinity or a value too large for dtype('float64').") from None
    a = native(a)
    if a.ndim > 2:
        raise ValueError(f"Found array with dim {a.ndim}, while dim <= 2 is required.")
    if a.ndim == 0:
        check_finite(a)
        raise TypeError(
            "Input should have at least 1 dimension i.e. satisfy `len(x.shape) > 0`, got scalar "
            f"`{np.asarray(y_proba)!r}` instead."
        )
    for axis, what in enumerate(("sample", "feature")[: a.ndim]):
        if a.shape[axis] == 0:
            raise ValueError(f"Found array with 0 {what}(s) (shape={a.shape}) while a minimum of 1 is required.")
    return a[:, np.newaxis] if a.ndim == 1 else a


def _from_pandas(frame: Any) -> np.ndarray:
    """The values of a pandas DataFrame or Series; nullable columns give objects, whose missing values become NaN here."""
    a = frame.to_numpy()
    return frame.to_numpy(dtype=np.float64, na_value=np.nan) if a.dtype.kind == "O" else a


def _read_sample_weight(sample_weight: Any, n_samples: int) -> np.ndarray:
    if isinstance(sample_weight, np.ma.MaskedArray):
        raise ValueError("sample_weight is a masked array; expected plain weights")
    a = np.asarray(of_tensor(sample_weight, "sample_weight"))
    if a.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{a}\n")
    if a.ndim > 2:
        raise ValueError(f"Found array with dim {a.ndim}, while dim <= 2 is required.")
    if a.dtype.kind == "O":
        try:
            a = a.astype(np.float64)
        except (TypeError, ValueError):
            raise TypeError("sample_weight holds objects that are not real numbers") from None
        except OverflowError:
            raise ValueError("Input sample_weight contains infinity or a value too large for dtype('float64').") from None
    if a.dtype.kind not in "biuf" and not is_bfloat16(a.dtype):
        raise TypeError(f"sample_weight has dtype {a.dtype}; expected real numbers")
    if a.dtype.kind not in "biu":
        check_finite(a, "sample_weight ")
        with np.errstate(over="ignore"):
            a = a.astype(np.float64)
        check_finite(a, "sample_weight ")
    if a.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {a.ndim}D array. Expected either a scalar value or a 1D array "
            f"of length {n_samples}."
        )
    if not a.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return a.astype(np.float64)


def length(x: Any) -> int:
    shape = getattr(x, "shape", None)
    if shape is not None:
        if len(shape) == 0:
            raise TypeError(
                f"Input should have at least 1 dimension i.e. satisfy `len(x.shape) > 0`, got scalar `{x!r}` instead."
            )
        return int(shape[0])
    return len(x) if hasattr(x, "__len__") else len(np.asarray(x))


def check_lengths(*arrays: Any) -> None:
    lengths = [length(x) for x in arrays if x is not None]
    if len(set(lengths)) > 1:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: {lengths}")


def check_parameters(
    caller: str, y_true: Any, y_proba: Any, sample_weight: Any, labels: Any, y_pred: Any, normalize: Any = True
) -> None:
    def wrong(name: str, expected: str, value: Any) -> ValueError:
        return ValueError(f"The {name!r} parameter of {caller} must be {expected}. Got {shown(value)} instead.")

    if not is_array_like(y_true):
        raise wrong("y_true", "an array-like", y_true)
    if y_proba is not None and not is_array_like(y_proba):
        raise wrong("y_proba", "an array-like", y_proba)
    if not isinstance(normalize, (bool, np.bool_)):
        raise wrong("normalize", "an instance of 'bool' or an instance of 'numpy.bool'", normalize)
    if sample_weight is not None and not is_array_like(sample_weight):
        raise wrong("sample_weight", "an array-like or None", sample_weight)
    if labels is not None and not is_array_like(labels):
        raise wrong("labels", "an array-like or None", labels)
    if not isinstance(y_pred, str) and not is_array_like(y_pred):
        raise wrong("y_pred", "an array-like or an instance of 'str'", y_pred)


def renamed(y_proba: Any, y_pred: Any) -> Any:
    if isinstance(y_pred, str) and y_pred == "deprecated":
        return y_proba
    if y_proba is not None:
        raise ValueError("Cannot use both `y_pred` and `y_proba`. `y_pred` is deprecated, use `y_proba` instead.")
    warnings.warn(
        "`y_pred` was renamed to `y_proba` in version 1.9 and will be removed in 1.11. Use `y_proba` instead.",
        FutureWarning,
        stacklevel=3,
    )
    return y_pred
