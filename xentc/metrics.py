"""Python layer, the scikit-learn face: log-loss of predicted probabilities, or of decision values."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xentc import _config, _core, _exact
from xentc._arrays import is_array_like, is_bfloat16, is_float, native, raw, shown
from xentc._labels import Labels, check_finite, read_labels
from xentc._validation import as_flag

__all__ = ["d2_log_loss_score", "log_loss", "log_loss_per_sample"]


def log_loss(
    y_true: ArrayLike,
    y_proba: ArrayLike | None = None,
    *,
    normalize: bool = True,
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    y_pred: Any = "deprecated",
    from_logits: bool = False,
) -> float:
    """Log-loss, also called logistic loss or cross-entropy: a drop-in for :func:`sklearn.metrics.log_loss`.

    Parameters
    ----------
    y_true : array_like of shape (n_samples,), or indicator of shape (n_samples, n_classes)
        The labels: integers, booleans, integral floats or strings; or a 0/1 matrix with a one for every class of a row.
    y_proba : array_like of float, shape (n_samples, n_classes) or (n_samples,)
        Predicted probabilities as returned by ``predict_proba``; columns in the sorted order of the classes. One
        dimension, or a single column, is the probability of the second of two classes. Clipped to ``[eps, 1 - eps]`` with
        the eps of its dtype. With ``from_logits`` the values of ``decision_function``.
    normalize : bool
        Return the mean over samples; False: the sum.
    sample_weight : array_like of shape (n_samples,), optional
    labels : array_like, optional
        All classes, where ``y_true`` may lack some. They are sorted.
    y_pred : array_like
        The old name of ``y_proba``. Deprecated.
    from_logits : bool
        ``y_proba`` holds logits: neither range nor row sums are checked and nothing is clipped. One dimension is the logit
        of the second class. Rows of float32 logits have float32's accuracy.

    Returns
    -------
    loss : float
        In nats: the exact (weighted) sum of the row losses, rounded once, over the rounded sum of the weights.

    Raises
    ------
    ValueError
        With scikit-learn's texts: probabilities outside [0, 1], NaN or infinite; lengths, labels or numbers of classes
        that do not fit.
    TypeError
        For labels that cannot be compared, or given as bytes.
    ZeroDivisionError
        If the weights sum to zero.

    Warns
    -----
    UserWarning
        If some row's probabilities do not sum to one, or ``labels`` is not sorted.
    FutureWarning
        If ``y_pred`` is used.

    See Also
    --------
    log_loss_per_sample : the loss of each row.
    cross_entropy : from logits, with class weights and gradients.

    Notes
    -----
    A row of class :math:`y` costs :math:`-\\log p_y`; a row of an indicator :math:`-\\sum_c y_c \\log p_c`.

    References
    ----------
    C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, p. 209.

    Examples
    --------
    >>> from xentc import log_loss
    >>> log_loss(["spam", "ham", "ham", "spam"], [[.1, .9], [.9, .1], [.8, .2], [.35, .65]])
    0.21616187468057912
    >>> log_loss([0, 1], [-3.0, 3.0], from_logits=True)
    0.04858735157374206
    """
    _check_parameters("log_loss", y_true, y_proba, sample_weight, labels, y_pred, normalize)
    y_proba = _renamed(y_proba, y_pred)
    result = _evaluate(y_true, y_proba, sample_weight, labels, from_logits, per_sample=False)
    if not normalize:
        return result.total
    if result.weight == 0:
        raise ZeroDivisionError("Weights sum to zero, can't be normalized")
    return _exact.mean(result.total, result.weight)


def log_loss_per_sample(
    y_true: ArrayLike, y_proba: ArrayLike, *, labels: ArrayLike | None = None, from_logits: bool = False
) -> np.ndarray:
    """The log-loss of each row: which samples a classifier finds hard, or what :func:`log_loss` is the mean of.

    Parameters
    ----------
    y_true, y_proba, labels, from_logits
        As in :func:`log_loss`.

    Returns
    -------
    losses : ndarray of float64, shape (n_samples,)
        In nats, each within 2 ulp of the exact value.

    Raises
    ------
    ValueError, TypeError
        As :func:`log_loss`.

    Notes
    -----
    :math:`-\\log p_y` of the clipped probability of the row's class :math:`y`.

    References
    ----------
    C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, p. 209.

    Examples
    --------
    >>> from xentc import log_loss_per_sample
    >>> log_loss_per_sample([0, 1, 1], [0.25, 0.5, 0.75])
    array([0.28768207, 0.69314718, 0.28768207])
    """
    _check_parameters("log_loss_per_sample", y_true, y_proba, None, labels, "deprecated", True)
    losses = _evaluate(y_true, y_proba, None, labels, from_logits, per_sample=True).losses
    assert losses is not None
    return losses


def d2_log_loss_score(
    y_true: ArrayLike,
    y_proba: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    y_pred: Any = "deprecated",
    from_logits: bool = False,
) -> float:
    """The fraction of log-loss explained: a drop-in for :func:`sklearn.metrics.d2_log_loss_score`.

    Parameters
    ----------
    y_true, y_proba, sample_weight, labels, y_pred, from_logits
        As in :func:`log_loss`.

    Returns
    -------
    score : float
        1 is perfect, 0 as good as always predicting the classes' frequencies, below 0 worse; NaN for fewer than two
        samples.

    Raises
    ------
    ValueError, TypeError, ZeroDivisionError
        As :func:`log_loss`.

    Warns
    -----
    UndefinedMetricWarning
        For fewer than two samples. It is scikit-learn's where that is installed.

    Notes
    -----
    :math:`1 - L(y, p) / L(y, f)`, with :math:`L` the log-loss and :math:`f` the weighted frequencies of the classes in
    ``y_true``, clipped by the eps of float64.

    References
    ----------
    T. Hastie, R. Tibshirani, M. Wainwright, "Statistical Learning with Sparsity", CRC Press, 2015, section 3.2.

    Examples
    --------
    >>> from xentc import d2_log_loss_score
    >>> d2_log_loss_score([1, 2, 1, 3], [[.7, .2, .1], [.2, .6, .2], [.8, .1, .1], [.1, .2, .7]])
    0.6519933275478191
    """
    _check_parameters("d2_log_loss_score", y_true, y_proba, sample_weight, labels, y_pred)
    y_proba = _renamed(y_proba, y_pred)
    _check_lengths(y_proba, y_true, sample_weight)
    if _length(y_proba) < 2:
        warnings.warn(
            "D^2 score is not well-defined with less than two samples.", _undefined_metric_warning(), stacklevel=2
        )
        return math.nan
    result = _evaluate(y_true, y_proba, sample_weight, labels, from_logits, per_sample=False)
    known = result.labels
    weight = np.ones(_length(y_proba)) if result.sample_weight is None else result.sample_weight
    if result.weight == 0:
        raise ZeroDivisionError("Weights sum to zero, can't be normalized")
    frequencies = _frequencies(known, weight)
    rows = np.broadcast_to(frequencies, (len(weight), len(frequencies)))
    null, *_ = _core.log_loss(
        rows, known.target, known.entries, weight, None, _eps(rows.dtype), 0.0, _config.threads_for(rows.size, None),
        lowest_label=known.lowest, positions=known.positions,
    )
    return 1 - result.total / null


class UndefinedMetricWarning(UserWarning):
    """Stands in for scikit-learn's warning of this name where that is not installed."""


def _undefined_metric_warning() -> type[Warning]:
    try:
        from sklearn.exceptions import UndefinedMetricWarning as of_sklearn
    except ImportError:
        return UndefinedMetricWarning
    return of_sklearn


def _frequencies(known: Labels, weight: np.ndarray) -> np.ndarray:
    """The weighted frequency of each class, exactly summed."""
    sums = np.zeros((len(known.classes), _core.STATE_SHAPE[1]), np.int64)
    row_weight = weight if known.entries is None else np.repeat(weight, np.diff(known.entries))
    _core.class_weights(known.target, row_weight, sums, lowest_label=known.lowest, positions=known.positions)
    return np.array([_core.rounded(total) for total in sums]) / _exact.rounded_sum(weight, 1)


# ---- The checks, in scikit-learn's order and words.


@dataclass
class _Evaluation:
    total: float
    weight: float
    losses: np.ndarray | None
    labels: Labels
    sample_weight: np.ndarray | None


def _evaluate(
    y_true: Any, y_proba: Any, sample_weight: Any, labels: Any, from_logits: bool, *, per_sample: bool
) -> _Evaluation:
    from_logits = as_flag(from_logits, "from_logits")
    proba = _read_probabilities(y_proba)
    eps = _eps(proba.dtype)
    n_columns = max(proba.shape[1], 2)
    losses = np.empty(len(proba)) if per_sample else None
    threads = _config.threads_for(proba.size, None)
    tolerance = 1e-8 + math.sqrt(eps)
    # Labels and weights are read first, so that one pass over the probabilities suffices; what is wrong with them is told
    # after what is wrong with the probabilities. Which labels there are may be a guess: the pass shows if it was wrong.
    for guess in (0 if from_logits else n_columns, 0):
        problem = known = None
        told: list[str] = []
        try:
            _check_lengths(proba, y_true, sample_weight)
            if sample_weight is not None:
                sample_weight = _read_sample_weight(sample_weight, len(proba))
            known = read_labels(y_true, labels, told, guess)
        except (TypeError, ValueError) as error:
            problem = error
        fits = known is not None and len(known.classes) == n_columns
        target, entries, lowest_label, positions = None, None, 0, None
        if known is not None and fits:
            target, entries, lowest_label, positions = known.target, known.entries, known.lowest, known.positions
        if proba.shape[1] == 1 and entries is not None:
            proba = np.concatenate([np.zeros_like(proba) if from_logits else 1 - proba, proba], axis=1)
        values = raw(proba)
        summed = None if from_logits else target
        total, weight, bad_row, low, high, finite, sums_to_one = _core.log_loss(
            values, summed, entries, None if problem else sample_weight, losses, eps, tolerance, threads,
            lowest_label=lowest_label, positions=positions,
        )
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
    if from_logits:
        soft = known.indicator is not None
        total, weight, bad_row, _ = _core.softmax_loss(
            values, known.indicator if soft else target, soft, None, None, sample_weight, None, 0.0, losses, None, None,
            False, 1.0, threads, binary=proba.shape[1] == 1, lowest_label=lowest_label, positions=positions,
        )
    if bad_row >= 0:
        raise ValueError(f"y_true[{bad_row}] was written to while log_loss read it")
    return _Evaluation(total, weight, losses, known, sample_weight)


def _eps(dtype: np.dtype) -> float:
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
    if hasattr(y_proba, "dtypes") and hasattr(y_proba, "isna"):
        a = _from_pandas(y_proba)
    else:
        a = np.asarray(y_proba)
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
    a = np.asarray(sample_weight)
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


def _length(x: Any) -> int:
    shape = getattr(x, "shape", None)
    if shape is not None:
        if len(shape) == 0:
            raise TypeError(
                f"Input should have at least 1 dimension i.e. satisfy `len(x.shape) > 0`, got scalar `{x!r}` instead."
            )
        return int(shape[0])
    return len(x) if hasattr(x, "__len__") else len(np.asarray(x))


def _check_lengths(*arrays: Any) -> None:
    lengths = [_length(x) for x in arrays if x is not None]
    if len(set(lengths)) > 1:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: {lengths}")


def _check_parameters(
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


def _renamed(y_proba: Any, y_pred: Any) -> Any:
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
