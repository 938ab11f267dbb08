"""Python layer: how well predictions are calibrated, the temperature that mends them, and what the log-loss is made of."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from xentc import _config, _core, _exact
from xentc._exact import Moments
from xentc._labels import Labels
from xentc._log_loss import PIECE, LabelledRows, Predictions, check_parameters, eps_of
from xentc._validation import as_flag

__all__ = ["LogLossDecomposition", "TemperatureFit", "decompose_log_loss", "fit_temperature"]

# Of the logarithm of a temperature: scikit-learn's bounds.
_BOUND = 10.0


@dataclass(frozen=True, repr=False)
class TemperatureFit:
    """What :func:`fit_temperature` found. Its repr says it in a sentence.

    Attributes
    ----------
    temperature : float
        What to divide logits by.
    log_loss_before, log_loss_after : float
        Of the logits as they are, and divided by it.
    count : int
        Of rows.

    Examples
    --------
    >>> from xentc import fit_temperature
    >>> fit_temperature([4.0, 5.0, -3.0, 2.0], [1, 1, 0, 0]).temperature > 1
    True
    """

    temperature: float
    log_loss_before: float
    log_loss_after: float
    count: int

    def __repr__(self) -> str:
        return (
            f"A temperature of {self.temperature:.6g} takes the log-loss from {self.log_loss_before:.6g} to "
            f"{self.log_loss_after:.6g}, over {self.count:,} row{'s' * (self.count != 1)}."
        )


@dataclass(frozen=True, repr=False)
class LogLossDecomposition:
    """What :func:`decompose_log_loss` found. Its repr says it in a line.

    Attributes
    ----------
    miscalibration, discrimination, uncertainty : float
        The parts: ``log_loss`` is the first less the second plus the third.
    log_loss : float
        Of the predictions as they are.
    recalibration : str
        "isotonic" or "temperature".

    Examples
    --------
    >>> from xentc import decompose_log_loss
    >>> parts = decompose_log_loss([0, 1, 1, 0], [0.1, 0.8, 0.4, 0.3])
    >>> round(parts.miscalibration - parts.discrimination + parts.uncertainty - parts.log_loss, 12)
    0.0
    """

    miscalibration: float
    discrimination: float
    uncertainty: float
    log_loss: float
    recalibration: str

    def __repr__(self) -> str:
        return (
            f"Log-loss {self.log_loss:.6g} = miscalibration {self.miscalibration:.6g} - discrimination "
            f"{self.discrimination:.6g} + uncertainty {self.uncertainty:.6g} ({self.recalibration} recalibration)."
        )


def fit_temperature(
    logits: ArrayLike, y_true: ArrayLike, *, sample_weight: ArrayLike | None = None, labels: ArrayLike | None = None,
    n_threads: int | None = None,
) -> TemperatureFit:
    """The temperature that calibrates logits: divided by it they have the least log-loss.

    Parameters
    ----------
    logits : array_like of float, shape (n_samples, n_classes) or (n_samples,)
        As ``y_proba`` in :func:`log_loss` with ``from_logits``: one dimension, or a single column, is the logit of the
        second of two classes. A logit of ``-inf`` is a class of probability 0.
    y_true, labels, n_threads
        As in :func:`log_loss`.
    sample_weight : array_like of shape (n_samples,), optional
        Not negative: else there need not be a least loss.

    Returns
    -------
    fit : TemperatureFit
        A frozen dataclass: ``temperature``; ``log_loss_before``, of the logits as they are; ``log_loss_after``, of
        ``logits / temperature`` in float64; ``count``, of rows.

    Raises
    ------
    ValueError
        As :func:`log_loss`; for weights below 0; for a row whose own class has the logit ``-inf``: its loss is infinite at
        every temperature.
    TypeError
        As :func:`log_loss`.

    Warns
    -----
    UserWarning
        As :func:`log_loss`.

    See Also
    --------
    decompose_log_loss : how much of a loss a temperature can mend.
    xentc.plotting.ReliabilityDisplay : whether probabilities are what they say, as a picture.

    Notes
    -----
    In :math:`\\beta = 1 / T` the log-loss of :math:`\\operatorname{softmax}(\\beta x)` is convex. Its derivative,

    .. math:: \\sum_i w_i \\Bigl(\\sum_c p_{ic} x_{ic} - x_{i y_i}\\Bigr) \\Bigm/ \\sum_i w_i,

    is 0 at the least loss: found by Brent's method, so that all digits of :math:`T` count, where those that compare losses
    know half of them. Needs SciPy.

    :math:`T` is between :math:`e^{-10}` and :math:`e^{10}`. The result is the first if the loss falls all the way there, as
    where each row's own class has the largest logit, and the second if it rises all the way, as where the logits are worse
    than a guess. It is 1 if neither has a lower loss than 1 has.

    The logits are read in pieces: memory does not grow with them. Any number of threads gives the same bits.

    References
    ----------
    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017, arXiv:1706.04599.

    Examples
    --------
    >>> from xentc import fit_temperature
    >>> fit_temperature([[4.0, 0.0], [5.0, 0.0], [0.0, 3.0], [2.0, 0.0]], ["cat", "cat", "dog", "dog"])
    A temperature of 2.04251 takes the log-loss from 0.550095 to 0.430046, over 4 rows.
    """
    check_parameters("fit_temperature", y_true, logits, sample_weight, labels, name="logits")
    predictions = Predictions(logits, True, n_threads, "logits", masked=True)
    rows = LabelledRows(y_true, [predictions], sample_weight, labels)
    total, weight = rows.checked_run(predictions)
    _check_weights(rows.sample_weight)
    if not math.isfinite(total):
        losses = np.empty(rows.n)
        rows.run(predictions, losses)
        row = int(np.argmax(~np.isfinite(losses)))
        raise ValueError(f"the loss of row {row} is {losses[row]} at any temperature; expected a finite logit of its class")
    assert rows.known is not None
    masked = predictions.low == -math.inf
    temperature, after = _least(predictions.array, rows.known, rows.sample_weight, weight, n_threads, masked)
    return TemperatureFit(temperature, _exact.mean(total, weight), after, rows.n)


def decompose_log_loss(
    y_true: ArrayLike, y_proba: ArrayLike, *, sample_weight: ArrayLike | None = None, labels: ArrayLike | None = None,
    from_logits: bool = False, n_threads: int | None = None,
) -> LogLossDecomposition:
    """What a log-loss is made of: wrong probabilities, a good order of the rows, and what is uncertain anyway.

    Parameters
    ----------
    y_true, y_proba, labels, from_logits, n_threads
        As in :func:`log_loss`; each row has one class.
    sample_weight : array_like of shape (n_samples,), optional
        Not negative.

    Returns
    -------
    decomposition : LogLossDecomposition
        A frozen dataclass. ``miscalibration``: by how much recalibrated predictions would be better. ``discrimination``: by
        how much those are better than always predicting the frequencies of the classes. ``uncertainty``: the log-loss of
        these. ``log_loss``: ``miscalibration - discrimination + uncertainty``, with the bits of :func:`log_loss`.
        ``recalibration``: "isotonic" for two classes, "temperature" for more.

    Raises
    ------
    ValueError
        As :func:`log_loss`; for weights below 0, and for rows of an indicator that have not one class.
    TypeError
        As :func:`log_loss`.

    Warns
    -----
    UserWarning
        As :func:`log_loss`.

    See Also
    --------
    fit_temperature : mends miscalibration.
    d2_log_loss_score : the fraction explained.

    Notes
    -----
    With :math:`S` the log-loss, :math:`p` the predictions, :math:`c` the recalibrated ones, and :math:`f` the weighted
    frequencies of the classes in ``y_true``,

    .. math:: S(p) = \\underbrace{S(p) - S(c)}_{\\text{miscalibration}} -
       \\underbrace{(S(f) - S(c))}_{\\text{discrimination}} + \\underbrace{S(f)}_{\\text{uncertainty}}.

    Of two classes :math:`c` is the isotonic regression of the labels on the predictions, of all that do not change the
    order of the rows the one of the least loss: no term is negative. It predicts of each block of neighbouring rows the
    frequencies there; nothing of that is clipped. Needs scikit-learn.

    Of more classes :math:`c` are the predictions, or the logarithms of the clipped probabilities, at the temperature of
    :func:`fit_temperature`. That mends predictions that are too sure or not sure enough, and nothing else: the rest of the
    miscalibration is missing in the discrimination, which can be negative.

    :func:`d2_log_loss_score` is ``(discrimination - miscalibration) / uncertainty``.

    References
    ----------
    T. Dimitriadis, T. Gneiting, A. I. Jordan, "Stable reliability diagrams for probabilistic classifiers", PNAS 118, 2021.
    M.-O. Pohle, "The Murphy decomposition and the calibration-resolution principle", arXiv:2005.01835.

    Examples
    --------
    >>> from xentc import decompose_log_loss
    >>> decompose_log_loss([0, 1, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.6, 0.9])
    Log-loss 0.533081 = miscalibration 0.302032 - discrimination 0.405465 + uncertainty 0.636514 (isotonic recalibration).
    """
    check_parameters("decompose_log_loss", y_true, y_proba, sample_weight, labels)
    predictions = Predictions(y_proba, as_flag(from_logits, "from_logits"), n_threads)
    rows = LabelledRows(y_true, [predictions], sample_weight, labels)
    total, weight = rows.checked_run(predictions)
    weights, known = rows.sample_weight, rows.known
    _check_weights(weights)
    assert known is not None
    if known.entries is not None:
        counts = np.diff(known.entries)
        if (counts != 1).any():
            row = int(np.argmax(counts != 1))
            raise ValueError(f"y_true[{row}] has {counts[row]} classes; expected one class a row")
        known = Labels(known.classes, known.target)
    loss, codes, x = _exact.mean(total, weight), known.codes(), predictions.array
    if predictions.n_columns == 2:
        recalibration = "isotonic"
        score = x[:, -1]
        if predictions.from_logits and x.shape[1] == 2:
            score = np.subtract(score, x[:, 0], dtype=np.float64)
        scores, group = np.unique(score, return_inverse=True)
        sums = np.bincount(group + len(scores) * codes, weights, minlength=2 * len(scores)).reshape(2, -1)
        recalibrated = _entropy_total(_isotonic_blocks(sums)) / weight
    else:
        recalibration = "temperature"
        if not predictions.from_logits:
            eps = eps_of(x.dtype)
            x = np.log(np.clip(x, eps, 1 - eps), dtype=np.float64)
        _, recalibrated = _least(x, known, weights, weight, n_threads)
        sums = np.bincount(codes, weights, minlength=len(known.classes))[:, np.newaxis]
    uncertainty = _entropy_total(sums.sum(axis=1, keepdims=True)) / weight
    return LogLossDecomposition(loss - recalibrated, uncertainty - recalibrated, uncertainty, loss, recalibration)


def _check_weights(sample_weight: np.ndarray | None) -> None:
    if sample_weight is not None and (sample_weight < 0).any():
        row = int(np.argmax(sample_weight < 0))
        raise ValueError(f"sample_weight[{row}] is {sample_weight[row]}; expected weights >= 0")


def _least(
    logits: np.ndarray, known: Labels, sample_weight: np.ndarray | None, weight: float, n_threads: int | None,
    masked: bool = False,
) -> tuple[float, float]:
    """The temperature of the least mean loss, and that loss. masked: some logits are -inf."""
    try:
        from scipy.optimize import brentq
    except ImportError as error:
        raise ImportError('temperatures need SciPy: pip install "xentc[stats]"') from error
    n, n_columns = len(logits), max(logits.shape[1], 2)
    size = min(n, max(1, PIECE // n_columns))
    buffer = np.empty((size, n_columns))

    @functools.cache
    def at(log_temperature: float) -> tuple[float, float]:
        """The mean loss, and its derivative in 1 / temperature: the sum of the gradient times the logits."""
        sums, slopes = Moments(1, 2), []
        for start in range(0, n, size):
            x = logits[start : start + size].astype(np.float64, copy=False)
            grad = buffer[: len(x)]
            grad[:, 0] = 0                                     # the first of two classes, where there is a single column
            of_x = grad[:, n_columns - x.shape[1] :]
            np.divide(x, math.exp(log_temperature), out=of_x)
            of_rows = None if sample_weight is None else sample_weight[start : start + size]
            call = _core.Call(grad, of_rows, _config.threads_for(grad.size, n_threads))
            known.rows(start, start + size).attach(call, to_logits=True)
            call.set_sums(sums.sums, sums.counts)
            call.set_derivatives(grad, None, weight)           # in place of the scaled logits
            call.cross_entropy()
            np.multiply(of_x, x, out=of_x, where=of_x != 0 if masked else True)   # 0 times -inf is 0 here
            slopes.append(float(of_x.sum()))
        return float(sums.means()[0]), math.fsum(slopes)

    # From a temperature of 1 in steps to where the loss falls, until it rises.
    step = 1.0 if at(0.0)[1] > 0 else -1.0
    near, far = 0.0, step
    while at(far)[1] * step >= 0 and abs(far) < _BOUND:
        near, far = far, far + step
    if at(far)[1] * step < 0:
        far = brentq(lambda log_temperature: at(log_temperature)[1], near, far, xtol=2**-52, rtol=2**-50)
    elif at(far)[0] >= at(0.0)[0]:
        far = 0.0
    return math.exp(far), at(far)[0]


def _isotonic_blocks(sums: np.ndarray) -> np.ndarray:
    """Groups of rows of ascending scores, where isotonic regression pools some of them as one.

    sums: of the weights, of shape (2, groups), as the result.
    """
    try:
        from sklearn.isotonic import isotonic_regression
    except ImportError as error:
        raise ImportError('decompose_log_loss needs scikit-learn: pip install "xentc[sklearn]"') from error
    sums = sums[:, sums.any(axis=0)]
    weights = sums.sum(axis=0)
    frequencies = isotonic_regression(sums[1] / weights, sample_weight=weights)
    return np.add.reduceat(sums, np.flatnonzero(np.diff(frequencies, prepend=-1)), axis=1)


def _entropy_total(sums: np.ndarray) -> float:
    """The sum of the losses of predicting of each group of rows the frequencies of the classes there.

    sums: of the weights, of shape (classes, groups).
    """
    frequencies = sums / sums.sum(axis=0)
    return abs(float((sums * np.log(frequencies, out=np.zeros(sums.shape), where=sums > 0)).sum()))
