"""Python layer, the scikit-learn face: log-loss of predicted probabilities, or of decision values."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xentc import _core, _exact
from xentc._exact import Moments
from xentc._labels import Labels
from xentc._log_loss import check_lengths, check_parameters, eps_of, evaluate, length, plain_sums, renamed, warn

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
    n_threads: int | None = None,
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
    n_threads : int, optional
        Where not given, as many as :func:`get_num_threads` says for large inputs, else one.

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
    sums = None
    if (
        sample_weight is labels is None
        and from_logits is False
        and type(y_pred) is str
        and y_pred == "deprecated"
        and type(normalize) is bool
    ):
        sums = plain_sums(y_true, y_proba, n_threads)
    if sums is None:
        check_parameters("log_loss", y_true, y_proba, sample_weight, labels, y_pred, normalize)
        y_proba = renamed(y_proba, y_pred)
        sums = evaluate(y_true, y_proba, sample_weight, labels, from_logits, n_threads=n_threads)[:2]
    total, weight = sums
    if not normalize:
        return total
    if weight == 0:
        raise ZeroDivisionError("Weights sum to zero, can't be normalized")
    return _exact.mean(total, weight)


def log_loss_per_sample(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    from_logits: bool = False,
    n_threads: int | None = None,
) -> np.ndarray:
    """The log-loss of each row: which samples a classifier finds hard, or what :func:`log_loss` is the mean of.

    Parameters
    ----------
    y_true, y_proba, labels, from_logits, n_threads
        As in :func:`log_loss`.

    Returns
    -------
    losses : ndarray of float64, shape (n_samples,)
        In nats, each within 2 ulp of the exact value.

    Raises
    ------
    ValueError, TypeError
        As :func:`log_loss`.

    See Also
    --------
    log_loss : their mean.
    xentc.plotting.LogLossDisplay : which rows make the loss, as a picture.

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
    check_parameters("log_loss_per_sample", y_true, y_proba, None, labels)
    _, _, losses, _ = evaluate(y_true, y_proba, None, labels, from_logits, losses=True, n_threads=n_threads)
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
    n_threads: int | None = None,
) -> float:
    """The fraction of log-loss explained: a drop-in for :func:`sklearn.metrics.d2_log_loss_score`.

    Parameters
    ----------
    y_true, y_proba, sample_weight, labels, y_pred, from_logits, n_threads
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

    See Also
    --------
    log_loss : the loss itself.
    decompose_log_loss : what it is made of.

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
        warn("D^2 score is not well-defined with less than two samples.", undefined_metric_warning())
        return math.nan
    total, weight, _, rows = evaluate(y_true, y_proba, sample_weight, labels, from_logits, n_threads=n_threads)
    if weight == 0:
        raise ZeroDivisionError("Weights sum to zero, can't be normalized")
    assert rows.known is not None
    return 1 - total / null_total(weights_by_class(rows.known, rows.sample_weight, n_threads), weight)


class UndefinedMetricWarning(UserWarning):
    """Stands in for scikit-learn's warning of this name where that is not installed."""


def undefined_metric_warning() -> type[Warning]:
    try:
        from sklearn.exceptions import UndefinedMetricWarning as of_sklearn
    except ImportError:
        return UndefinedMetricWarning
    return of_sklearn


def null_total(class_weights: list[int], weight: float) -> float:
    """The sum of the weighted losses of always predicting the frequencies of the classes among rows of so much weight.

    class_weights: exact sums, in their units.
    """
    frequencies = np.array([_exact.from_units(units) for units in class_weights]) / weight
    losses = np.empty(len(frequencies))
    call = _core.Call(frequencies, None, 1, with_classes=False)
    call.set_target(np.ones(len(losses), np.int8))
    call.set_losses(losses)
    call.log_loss(eps_of(losses.dtype), 0.0)
    terms = (units * Fraction(loss) for units, loss in zip(class_weights, losses.tolist(), strict=True))
    return _exact.from_units(sum(terms, Fraction(0)))


def weights_by_class(known: Labels, sample_weight: np.ndarray | None, n_threads: int | None) -> list[int]:
    """The exact sums of the weights of each class, in their units."""
    weight, groups = sample_weight, known
    if known.entries is not None:
        groups = Labels(known.classes, known.target)
        weight = None if sample_weight is None else np.repeat(sample_weight, np.diff(known.entries))
    moments = Moments(len(known.classes))
    moments.add(np.broadcast_to(0.0, groups.target.shape), weight, n_threads, groups)
    return moments.weight_units()
