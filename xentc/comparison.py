"""Python layer: which of two models is better, by the paired difference of their log-losses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xentc._arrays import is_array_like, shown
from xentc._exact import Moments
from xentc._log_loss import LabelledRows, Predictions
from xentc._statistics import interval, p_value
from xentc._validation import as_flag

__all__ = ["LogLossComparison", "compare_log_loss"]


@dataclass(frozen=True, repr=False)
class LogLossComparison:
    """What :func:`compare_log_loss` found. Its repr says it in a sentence.

    Attributes
    ----------
    log_loss_a, log_loss_b : float
        Of each model.
    difference : float
        ``log_loss_b - log_loss_a``: below 0, B is better.
    standard_error : float
        Of the difference.
    low, high : float
        Its interval.
    level : float
        Of the interval.
    p_value : float
        Two-sided, of the hypothesis that there is no difference.
    count : int
        Of rows.

    Examples
    --------
    >>> from xentc import compare_log_loss
    >>> comparison = compare_log_loss([0, 1, 1, 0], [0.1, 0.8, 0.4, 0.3], [0.2, 0.9, 0.7, 0.2])
    >>> round(comparison.difference, 3), round(comparison.p_value, 3)
    (-0.173, 0.307)
    """

    log_loss_a: float
    log_loss_b: float
    difference: float
    standard_error: float
    low: float
    high: float
    level: float
    p_value: float
    count: int

    def __repr__(self) -> str:
        low, high = sorted((abs(self.low), abs(self.high)))
        if math.isnan(self.p_value):
            return f"B's log-loss is {self.log_loss_b:.6g} and A's {self.log_loss_a:.6g}, over {_rows(self.count)}."
        test = f"p = {self.p_value:.3g} in a paired t-test over {_rows(self.count)}"
        if self.low <= 0 <= self.high:
            return (
                f"B's log-loss of {self.log_loss_b:.6g} is not shown to differ from A's {self.log_loss_a:.6g}: by "
                f"{self.difference:+.3g} ({100 * self.level:.4g} % interval {self.low:+.3g} to {self.high:+.3g}; {test})."
            )
        better, than = ("lower", "better") if self.difference < 0 else ("higher", "worse")
        return (
            f"B is {than} than A: its log-loss of {self.log_loss_b:.6g} is {better} than {self.log_loss_a:.6g} by "
            f"{abs(self.difference):.3g} ({100 * self.level:.4g} % interval {low:.3g} to {high:.3g}; {test})."
        )


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def compare_log_loss(
    y_true: ArrayLike, proba_a: ArrayLike, proba_b: ArrayLike, *, sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None, from_logits: bool = False, level: float = 0.95, n_threads: int | None = None,
) -> LogLossComparison:
    """Whether the predictions of a model B are better than those of A: the paired difference of their log-losses.

    Parameters
    ----------
    y_true, sample_weight, labels, from_logits, n_threads
        As in :func:`log_loss`.
    proba_a, proba_b : array_like
        The predictions of both models for the same rows, each as ``y_proba`` in :func:`log_loss`.
    level : float
        Of the interval, between 0 and 1.

    Returns
    -------
    comparison : LogLossComparison
        A frozen dataclass: ``log_loss_a`` and ``log_loss_b``; ``difference``, B's minus A's, below 0 where B is better; its
        ``standard_error``, its interval from ``low`` to ``high`` at the ``level``; ``p_value``, of no difference; ``count``,
        of rows.

    Raises
    ------
    ValueError, TypeError, ZeroDivisionError
        As :func:`log_loss`.

    Warns
    -----
    UserWarning
        As :func:`log_loss`.

    See Also
    --------
    LogLoss : the loss of one model, and its standard error.
    xentc.files.compare : of predictions in files.
    xentc.plotting.ComparisonDisplay : the difference in each group, as a picture.

    Notes
    -----
    Two-sided paired t-test of the row losses: with :math:`d_i` the difference of row :math:`i`, :math:`\\bar d` its weighted
    mean and :math:`s` its standard error as in :meth:`ExactMean.standard_error`, :math:`\\bar d / s` has Student's t
    distribution with :math:`n - 1` degrees of freedom; of weighted rows :math:`n = (\\sum w)^2 / \\sum w^2`.
    ``scipy.stats.ttest_rel`` of the losses is the same. Rows must not depend on each other. Both arrays
    are read once, and the losses are not stored. Needs SciPy.

    References
    ----------
    Student, "The probable error of a mean", Biometrika 6, 1908.

    Examples
    --------
    >>> from xentc import compare_log_loss
    >>> compare_log_loss([0, 1, 1, 0], [0.4, 0.6, 0.7, 0.3], [0.1, 0.8, 0.8, 0.1])
    B is better than A: its log-loss of 0.164252 is lower than 0.43375 by 0.269 (95 % interval 0.0913 to 0.448; p = 0.0171 \
in a paired t-test over 4 rows).
    """
    logits = as_flag(from_logits, "from_logits")
    for name, value in (("y_true", y_true), ("proba_a", proba_a), ("proba_b", proba_b)):
        if not is_array_like(value):
            raise ValueError(f"{name} is {shown(value)}; expected an array or a list")
    losses = PairedLosses(labels, logits)
    losses.update(y_true, proba_a, proba_b, sample_weight, n_threads=n_threads)
    return losses.comparison(level)


class PairedLosses:
    """The sums of the losses of two models and of their differences, of rows that may come in pieces."""

    def __init__(self, labels: Any, from_logits: bool) -> None:
        """labels: as in `LabelledRows`; of pieces GivenClasses."""
        self.labels, self.from_logits, self.count = labels, from_logits, 0
        self.a, self.b, self.difference = Moments(1), Moments(1), Moments(1)

    def update(
        self, y_true: Any, proba_a: Any, proba_b: Any, sample_weight: Any, n_threads: int | None = None,
        some_weight: bool = True,
    ) -> None:
        """Add rows. some_weight: not all of their weights may be 0."""
        both = [
            Predictions(proba_a, self.from_logits, n_threads, "proba_a"),
            Predictions(proba_b, self.from_logits, n_threads, "proba_b"),
        ]
        rows = LabelledRows(y_true, both, sample_weight, self.labels, some_weight)
        for guess in (True, False):
            if not guess:
                rows.read(guess=False)
            a, b, difference = Moments(1), Moments(1), Moments(1)
            for start, stop, (losses_a, losses_b) in rows.pieces([a, b]):
                with np.errstate(invalid="ignore"):
                    np.subtract(losses_b, losses_a, out=losses_b)
                difference.add(losses_b, rows.weight_of(start, stop), n_threads)
            if not rows.guess_failed():
                break
        rows.check()
        self.a, self.b, self.difference = self.a.plus(a), self.b.plus(b), self.difference.plus(difference)
        self.count += rows.n

    def comparison(self, level: float) -> LogLossComparison:
        difference = self.difference
        if difference.weights()[0] == 0:
            raise ZeroDivisionError("Weights sum to zero, can't be normalized")
        mean, error, n = float(difference.means()[0]), difference.standard_error(), difference.effective_count()
        low, high = interval(mean, error, n, level)
        a, b = float(self.a.means()[0]), float(self.b.means()[0])
        return LogLossComparison(a, b, mean, error, low, high, float(level), p_value(mean, error, n), self.count)
