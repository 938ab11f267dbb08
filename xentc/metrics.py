"""Python layer, the scikit-learn face: log-loss of predicted probabilities, or of decision values."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xentc import _config, _core, _exact
from xentc._labels import Labels
from xentc._log_loss import check_lengths, check_parameters, eps_of, evaluate, length, renamed

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
        the eps of its dtype. With ``from_logits`` the values of ``decision_function``. Also a DataFrame, or a column of
        lists: a pyarrow, polars or pandas one, where each row is a list of all its probabilities.
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
        If some row's probabilities do not sum to one, or ``labels`` is not sorted. Also, where scikit-learn says nothing: if
        the columns of a DataFrame are named after the classes but stand in another order. They are taken by position.
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
    check_parameters("log_loss", y_true, y_proba, sample_weight, labels, y_pred, normalize)
    y_proba = renamed(y_proba, y_pred)
    result = evaluate(y_true, y_proba, sample_weight, labels, from_logits, per_sample=False)
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
    check_parameters("log_loss_per_sample", y_true, y_proba, None, labels, "deprecated", True)
    losses = evaluate(y_true, y_proba, None, labels, from_logits, per_sample=True).losses
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
    UserWarning, FutureWarning
        As :func:`log_loss`.
    UndefinedMetricWarning
        For fewer than two samples. It is scikit-learn's where that is installed.

    Notes
    -----
    :math:`1 - L(y, p) / L(y, f)`, with :math:`L` the log-loss and :math:`f` the weighted frequencies of the classes in
    ``y_true``, clipped by the eps of float64. If only one of the ``labels`` is there, :math:`f` is right in all but its
    clipping: the score is 0 for perfect predictions, and hugely negative for all others.

    References
    ----------
    T. Hastie, R. Tibshirani, M. Wainwright, "Statistical Learning with Sparsity", CRC Press, 2015, section 3.2.

    Examples
    --------
    >>> from xentc import d2_log_loss_score
    >>> d2_log_loss_score([1, 2, 1, 3], [[.7, .2, .1], [.2, .6, .2], [.8, .1, .1], [.1, .2, .7]])
    0.6519933275478191
    """
    check_parameters("d2_log_loss_score", y_true, y_proba, sample_weight, labels, y_pred)
    y_proba = renamed(y_proba, y_pred)
    check_lengths(y_proba, y_true, sample_weight)
    if length(y_proba) < 2:
        warnings.warn(
            "D^2 score is not well-defined with less than two samples.", _undefined_metric_warning(), stacklevel=2
        )
        return math.nan
    result = evaluate(y_true, y_proba, sample_weight, labels, from_logits, per_sample=False)
    known = result.labels
    weight = np.ones(length(y_proba)) if result.sample_weight is None else result.sample_weight
    if result.weight == 0:
        raise ZeroDivisionError("Weights sum to zero, can't be normalized")
    frequencies = _frequencies(known, weight)
    rows = np.broadcast_to(frequencies, (len(weight), len(frequencies)))
    call = _core.Call(rows, weight, _config.threads_for(rows.size, None))
    known.attach(call)
    null, *_ = call.log_loss(eps_of(rows.dtype), 0.0)
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
