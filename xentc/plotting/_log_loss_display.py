"""Python layer: the picture of which rows, classes and groups make the loss. Needs matplotlib and SciPy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from xentc._labels import read_groups
from xentc._log_loss import check_parameters, evaluate
from xentc._validation import as_count
from xentc.metrics import null_total, weights_by_class
from xentc.plotting._drawing import (
    draw_means,
    fit_limits,
    format_shares,
    label_lines,
    percent,
    shortened,
    take_axes,
    text_color,
)
from xentc.plotting._groups import largest, losses_of_rows, means_of_groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D


class LogLossDisplay:
    """Where the log-loss is: the share of it that the worst rows make, and its mean in each class or group.

    Made by :meth:`from_predictions` or :meth:`from_estimator`; the parameters are what these compute.

    Parameters
    ----------
    rows : ndarray of int, shape (n_rows,)
        The rows that have a weight, the one of the largest loss first.
    share_of_rows, share_of_loss : ndarray of float, shape (n_rows + 1,)
        Which shares of the weight and of the loss the first 0, 1, 2, ... of them have.
    by_group : mapping of ndarrays
        Of the classes or groups that have rows: "label", "rows", "weight", the mean "log_loss" and its interval, "low" to
        "high".
    log_loss : float
        The mean of all rows.
    base_rate_loss : float
        The same of always predicting the frequencies of the classes; NaN where there is one only.
    by : {"class", "group"}
        Which of these ``by_group`` has.
    level : float
        That of the intervals.

    Attributes
    ----------
    worst_rows_ : ndarray of int
        The rows that are marked.
    line_, worst_ : Line2D
        The curve, and its points of these rows.
    dots_, intervals_ : Line2D, LineCollection
        The means and their intervals, the largest mean first.
    mean_line_, base_rate_line_ : Line2D
    axes_ : list of two Axes
    figure_ : Figure

    See Also
    --------
    LogLoss : the numbers, also of data in pieces.

    Notes
    -----
    The curve is a Lorenz curve from its other end: with the losses sorted so that :math:`l_1 \\ge l_2 \\ge \\ldots`, its
    points are :math:`(\\sum_{i \\le k} w_i,\\ \\sum_{i \\le k} w_i l_i)`, each over the sum of all. Intervals are those of
    :meth:`LogLoss.confidence_interval` for the rows of a group; a single row has none. One that is more than four times as
    wide as the median may end at the frame.

    References
    ----------
    M. O. Lorenz, "Methods of measuring the concentration of wealth", Publications of the American Statistical Association 9,
    1905.

    Examples
    --------
    >>> from xentc.plotting import LogLossDisplay
    >>> display = LogLossDisplay.from_predictions(["ham", "spam", "spam", "ham"], [0.1, 0.8, 0.4, 0.3], n_worst=2)
    >>> display.worst_rows_
    array([2, 3])
    >>> display.share_of_loss.round(3)
    array([0.   , 0.572, 0.795, 0.934, 1.   ])
    >>> display.by_group
    label  rows  weight  log_loss       low     high
    ham       2       2    0.2310  -1.366  1.828
    spam      2       2    0.5697  -3.834  4.973
    """

    axes_: list[Axes]
    figure_: Figure | SubFigure
    worst_rows_: np.ndarray
    line_: Line2D
    worst_: Line2D
    dots_: Line2D
    intervals_: LineCollection
    mean_line_: Line2D
    base_rate_line_: Line2D

    def __init__(
        self, rows: np.ndarray, share_of_rows: np.ndarray, share_of_loss: np.ndarray, by_group: dict[str, np.ndarray],
        log_loss: float, base_rate_loss: float, *, by: str = "class", level: float = 0.95,
    ) -> None:
        self.rows, self.share_of_rows, self.share_of_loss, self.by_group = rows, share_of_rows, share_of_loss, by_group
        self.log_loss, self.base_rate_loss, self.by, self.level = log_loss, base_rate_loss, by, level

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: ArrayLike, **options: Any) -> Self:
        """Draw the losses of what a classifier predicts.

        Parameters
        ----------
        estimator : fitted classifier
            With ``predict_proba`` and ``classes_``.
        X : array_like of shape (n_samples, n_features)
        y : array_like of shape (n_samples,)
        **options
            As in :meth:`from_predictions`.

        Returns
        -------
        display : LogLossDisplay

        Raises
        ------
        ValueError, TypeError, ImportError
            As :meth:`from_predictions`.
        """
        return cls.from_predictions(y, estimator.predict_proba(X), labels=estimator.classes_, **options)

    @classmethod
    def from_predictions(
        cls, y_true: ArrayLike, y_proba: ArrayLike, *, sample_weight: ArrayLike | None = None,
        labels: ArrayLike | None = None, groups: ArrayLike | None = None, from_logits: bool = False, level: float = 0.95,
        n_worst: int = 10, max_groups: int = 30, ax: Any = None,
    ) -> Self:
        """Draw the losses of predictions.

        Parameters
        ----------
        y_true, y_proba, labels, from_logits
            As in :func:`log_loss`. An indicator needs ``groups``.
        sample_weight : array_like of shape (n_samples,), optional
            Weights >= 0.
        groups : array_like of shape (n_samples,), optional
            A label of any kind for each row. Where not given, the means are those of the classes.
        level : float
            Of the intervals, between 0 and 1.
        n_worst, max_groups, ax
            As in :meth:`plot`.

        Returns
        -------
        display : LogLossDisplay

        Raises
        ------
        ValueError, TypeError
            As :func:`log_loss`; for a negative weight; for groups that are not one label a row.
        ImportError
            If matplotlib or SciPy is missing.

        Warns
        -----
        UserWarning
            As :func:`log_loss`.
        """
        check_parameters(f"{cls.__name__}.from_predictions", y_true, y_proba, sample_weight, labels, "deprecated")
        total, total_weight, _, all_rows = evaluate(y_true, y_proba, sample_weight, labels, from_logits)
        known = all_rows.known
        assert known is not None
        losses = losses_of_rows(y_true, y_proba, labels, from_logits)
        weight = np.ones(len(losses)) if all_rows.sample_weight is None else all_rows.sample_weight
        if groups is None and known.entries is not None:
            raise ValueError("y_true is an indicator, and no groups are given; expected one label a row, or groups")
        if weight.min() < 0:
            row = int(weight.argmin())
            raise ValueError(f"sample_weight[{row}] is {weight[row]}; expected weights >= 0: they are shares of the rows")
        rows = np.argsort(-losses, kind="stable")
        rows = rows[weight[rows] > 0]
        share_of_rows, share_of_loss = _shares(weight[rows]), _shares((weight * losses)[rows])
        in_groups = known if groups is None else read_groups(groups, len(losses))
        by_group = means_of_groups("log_loss", losses, weight, in_groups, level)
        by_class = weights_by_class(known, weight, None)
        base_rate_loss = null_total(by_class, total_weight) / total_weight if np.count_nonzero(by_class) > 1 else math.nan
        display = cls(
            rows, share_of_rows, share_of_loss, by_group, total / total_weight, base_rate_loss,
            by="class" if groups is None else "group", level=level,
        )
        return display.plot(ax, n_worst=n_worst, max_groups=max_groups)

    def plot(self, ax: Any = None, *, n_worst: int = 10, max_groups: int = 30) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : sequence of two matplotlib Axes, optional
            Where not given, those of a new figure.
        n_worst : int
            How many of the worst rows to mark.
        max_groups : int
            How many classes or groups to show: if there are more, those with the largest shares of the loss.

        Returns
        -------
        self : LogLossDisplay

        Raises
        ------
        ValueError, TypeError
            If an argument is none of these.
        ImportError
            If matplotlib is missing.
        """
        self.worst_rows_ = self.rows[: as_count(n_worst, "n_worst", 0)]
        table, hidden = largest(self.by_group, "log_loss", max_groups)
        labels = [shortened(label) for label in table["label"]]
        self.axes_ = left, right = take_axes(ax, 1, 2, width=1.6, lines=labels)
        self.figure_ = left.figure

        n = len(self.worst_rows_)
        left.plot([0, 1], [0, 1], ":", color=text_color(left), label="equal losses")
        (self.line_,) = left.plot(self.share_of_rows, self.share_of_loss, color="C0")
        (self.worst_,) = left.plot(
            self.share_of_rows[1 : n + 1], self.share_of_loss[1 : n + 1], "o", color="C3", markersize=4,
            label=f"{n} worst row{'s' * (n != 1)}: {percent(self.share_of_loss[n], 3)} of the loss" if n else None,
        )
        format_shares(left.xaxis, left.yaxis)
        left.set(xlabel="Share of the rows, worst first", ylabel="Share of the loss")
        left.legend(loc="lower right")

        self.dots_, self.intervals_ = draw_means(right, table, "log_loss", "C0")
        self.mean_line_ = right.axvline(self.log_loss, color="C1", label=f"all rows: {self.log_loss:.3g}")
        base = self.base_rate_loss
        self.base_rate_line_ = right.axvline(
            base, color="C2", linestyle="--", label=None if math.isnan(base) else f"base rate: {base:.3g}"
        )
        fit_limits(right, table, "log_loss", [self.log_loss, base], least=0)
        label_lines(right, labels, below=0.6)
        right.set(xlabel=f"Mean log-loss, {percent(self.level)} intervals", ylabel=self.by.capitalize() + hidden)
        right.legend(loc="lower right")
        return self


def _shares(amounts: np.ndarray) -> np.ndarray:
    """Which shares of all the first 0, 1, 2, ... have; where all are 0, each has the same."""
    sums = np.append(0.0, np.cumsum(amounts if amounts.any() else np.ones(len(amounts))))
    return sums / sums[-1]
