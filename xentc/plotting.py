"""Python layer: pictures of log-loss, in scikit-learn's Display form.

:class:`LogLossDisplay` shows which rows, classes and groups make the loss, :class:`ReliabilityDisplay` whether probabilities
are what they say, :class:`ComparisonDisplay` where one model is better than another one. Needs matplotlib and SciPy.
"""

from __future__ import annotations

import math
import textwrap
import warnings
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from xentc._arrays import as_float64, shown
from xentc._drawing import draw_means, fit_limits, format_shares, label_lines, percent, shortened, take_axes, text_color
from xentc._exact import Moments
from xentc._labels import Labels, read_groups
from xentc._log_loss import Predictions, check_parameters, evaluate
from xentc._statistics import interval, proportion_intervals
from xentc._validation import as_index
from xentc.comparison import LogLossComparison, compare_log_loss
from xentc.evaluation import LogLoss, Table, sums_of_tables
from xentc.metrics import log_loss_per_sample, null_total, weights_by_class
from xentc.special import softmax

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

__all__ = ["ComparisonDisplay", "LogLossDisplay", "ReliabilityDisplay"]

# The bars of the histogram of predictions.
_BARS = 20

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
        losses = _losses(y_true, y_proba, labels, from_logits)
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
        by_group = _by_group("log_loss", losses, weight, in_groups, level)
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
        self.worst_rows_ = self.rows[: _count(n_worst, "n_worst", 0)]
        table, hidden = _largest(self.by_group, "log_loss", max_groups)
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


class ReliabilityDisplay:
    """Whether probabilities are what they say: how often a class occurs, against the probability predicted for it.

    Made by :meth:`from_predictions` or :meth:`from_estimator`; the parameters are what these compute.

    Parameters
    ----------
    by_bin : mapping of ndarrays
        Of the bins that have rows: the mean "predicted" probability, the "observed" frequency and its interval from "low" to
        "high", "rows".
    histogram, edges : ndarray
        How many predictions are between each two of the edges, as from :func:`numpy.histogram`.
    pos_label : int, float, bool or str
        The class.
    name : str, optional
        What the legend calls the curve.
    level : float
        That of the intervals.

    Attributes
    ----------
    line_, intervals_ : Line2D, LineCollection
        The observed frequencies and their intervals.
    histogram_ : StepPatch
    axes_ : list of two Axes
    figure_ : Figure

    See Also
    --------
    sklearn.calibration.CalibrationDisplay : the same without intervals and histogram.

    Notes
    -----
    The intervals are Clopper and Pearson's: of :math:`k` occurrences in :math:`n` rows from the :math:`\\alpha / 2` quantile
    of the beta distribution with parameters :math:`k` and :math:`n - k + 1` to the :math:`1 - \\alpha / 2` quantile of that
    with :math:`k + 1` and :math:`n - k`. They hold the frequency in a share of at least :math:`1 - \\alpha` of all samples
    where the probabilities in a bin are all the same.

    References
    ----------
    C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26, 1934.

    Examples
    --------
    >>> from xentc.plotting import ReliabilityDisplay
    >>> display = ReliabilityDisplay.from_predictions([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.8], n_bins=2)
    >>> display.by_bin
    predicted  observed         low      high  rows
    0.2000       0.3333  0.00840  0.9057     3
    0.7000       0.6667  0.09430  0.9916     3
    """

    axes_: list[Axes]
    figure_: Figure | SubFigure
    line_: Line2D
    intervals_: LineCollection

    def __init__(
        self, by_bin: dict[str, np.ndarray], histogram: np.ndarray, edges: np.ndarray, pos_label: Any, *,
        name: str | None = None, level: float = 0.95,
    ) -> None:
        self.by_bin, self.histogram, self.edges = by_bin, histogram, edges
        self.pos_label, self.name, self.level = pos_label, name, level

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: ArrayLike, *, name: str | None = None, **options: Any) -> Self:
        """Draw the reliability of what a classifier predicts.

        Parameters
        ----------
        estimator : fitted classifier
            With ``predict_proba`` and ``classes_``.
        X : array_like of shape (n_samples, n_features)
        y : array_like of shape (n_samples,)
        name : str, optional
            Where not given, the name of the estimator's class.
        **options
            As in :meth:`from_predictions`.

        Returns
        -------
        display : ReliabilityDisplay

        Raises
        ------
        ValueError, TypeError, ImportError
            As :meth:`from_predictions`.
        """
        name = type(estimator).__name__ if name is None else name
        return cls.from_predictions(y, estimator.predict_proba(X), labels=estimator.classes_, name=name, **options)

    @classmethod
    def from_predictions(
        cls, y_true: ArrayLike, y_proba: ArrayLike, *, pos_label: Any = None, labels: ArrayLike | None = None,
        from_logits: bool = False, n_bins: int = 10, strategy: str = "quantile", level: float = 0.95,
        name: str | None = None, ax: Any = None,
    ) -> Self:
        """Draw the reliability of predictions.

        Parameters
        ----------
        y_true, y_proba, labels, from_logits
            As in :func:`log_loss`: a vector is the probability of the second class, whatever ``pos_label`` is.
        pos_label : int, float, bool or str, optional
            The class that is looked at, against all others. Where not given, the second one of two.
        n_bins : int
            The number of bins; those without rows are left out.
        strategy : {"quantile", "uniform"}
            Bins with equal numbers of rows, or of equal width. As in :func:`sklearn.calibration.calibration_curve`.
        level : float
            Of the intervals, between 0 and 1.
        name : str, optional
            What the legend calls the curve.
        ax
            As in :meth:`plot`.

        Returns
        -------
        display : ReliabilityDisplay

        Raises
        ------
        ValueError, TypeError
            As :func:`log_loss`; for a ``pos_label`` that is no class, or none where there are more than two classes.
        ImportError
            If matplotlib or SciPy is missing.

        Warns
        -----
        UserWarning
            As :func:`log_loss`.
        """
        check_parameters(f"{cls.__name__}.from_predictions", y_true, y_proba, None, labels, "deprecated")
        n_bins = _count(n_bins, "n_bins", 1)
        known = evaluate(y_true, y_proba, None, labels, from_logits)[3].known
        assert known is not None
        classes = known.classes.tolist()
        if pos_label is None and len(classes) > 2:
            raise ValueError(f"pos_label is not given; expected one of the {len(classes)} classes {shown(classes)}")
        code = 1 if pos_label is None else next((i for i, one in enumerate(classes) if one == pos_label), -1)
        if code < 0:
            raise ValueError(f"pos_label is {shown(pos_label)}; expected one of the classes {shown(classes)}")
        hit = known.codes() == code if known.indicator is None else known.indicator[:, code] == 1
        p = _probabilities(y_proba, from_logits)[:, code]
        limits = np.linspace(0, 1, n_bins + 1)[1:-1]
        if strategy == "quantile":
            limits = np.quantile(p, limits)
        elif strategy != "uniform":
            raise ValueError(f"strategy is {shown(strategy)}; expected 'quantile' or 'uniform'")
        bins = np.searchsorted(limits, p)
        rows, hits, sums = np.bincount(bins), np.bincount(bins, hit), np.bincount(bins, p)
        rows, hits, sums = rows[rows > 0], hits[rows > 0], sums[rows > 0]
        low, high = proportion_intervals(hits, rows, level)
        by_bin = Table(predicted=sums / rows, observed=hits / rows, low=low, high=high, rows=rows)
        spread = p.max() - p.min() > 1e-3 * p.max()
        histogram, edges = np.histogram(p, _BARS, None if spread else (0, 1))
        return cls(by_bin, histogram, edges, classes[code], name=name, level=level).plot(ax)

    def plot(self, ax: Any = None, *, name: str | None = None) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : sequence of two matplotlib Axes, optional
            Where not given, those of a new figure. A second display in the axes of a first one gets another colour.
        name : str, optional
            Instead of the one that it has.

        Returns
        -------
        self : ReliabilityDisplay

        Raises
        ------
        TypeError
            If ``ax`` is none of these.
        ImportError
            If matplotlib is missing.
        """
        self.axes_ = upper, lower = take_axes(ax, 2, 1, height=1.25, sharex=True, height_ratios=(3, 1))
        self.figure_ = upper.figure
        name = self.name if name is None else name
        predicted, observed, low, high = (self.by_bin[key] for key in ("predicted", "observed", "low", "high"))

        # Both axes are from the least to the largest of all that they show: rare classes have small probabilities.
        start, end = min(low.min(), self.edges[0]), max(high.max(), self.edges[-1])
        upper.update_datalim([(start, start), (end, end)])
        perfect = "perfectly calibrated"
        if perfect not in upper.get_legend_handles_labels()[1]:
            upper.axline((start, start), slope=1, linestyle=":", color=text_color(upper), label=perfect)
        self.line_, _, (self.intervals_,) = upper.errorbar(
            predicted, observed, (observed - low, high - observed), marker="o", markersize=4, capsize=3, linewidth=1,
            label=f"{'observed' if name is None else name}, {percent(self.level)} intervals",
        )
        format_shares(upper.xaxis, upper.yaxis)
        upper.set_ylabel("Observed frequency")
        upper.legend(loc="best")

        color = self.line_.get_color()
        self.histogram_ = lower.stairs(self.histogram, self.edges, fill=True, alpha=0.5, color=color)
        lower.set_xlim(upper.get_xlim())
        format_shares(lower.xaxis)
        lower.set_xlabel(f"Predicted probability of class {shortened(self.pos_label)}", parse_math=False)
        lower.set_ylabel("Rows")
        return self


class ComparisonDisplay:
    """Where one of two models is better: the paired difference of their log-losses, over all rows and in each group.

    Made by :meth:`from_predictions`; the parameters are what that computes.

    Parameters
    ----------
    comparison : LogLossComparison
        Of all rows.
    by_group : mapping of ndarrays
        Of the groups: "label", "rows", "weight", the mean "difference" and its interval from "low" to "high".
    names : tuple of two str
        Those of the models A and B.

    Attributes
    ----------
    dots_, intervals_ : Line2D, LineCollection
        The differences in the groups and their intervals, the largest difference first.
    all_rows_, all_rows_interval_ : Line2D, LineCollection
        The same of all rows.
    zero_line_ : Line2D
    ax_ : Axes
    figure_ : Figure

    See Also
    --------
    compare_log_loss : the numbers, with a test.

    Notes
    -----
    Each group is what :func:`compare_log_loss` says of its rows. Of many groups some are far from zero by chance: of twenty
    intervals at the level 0.95 one, where there is no difference at all.

    References
    ----------
    Student, "The probable error of a mean", Biometrika 6, 1908.

    Examples
    --------
    >>> from xentc.plotting import ComparisonDisplay
    >>> display = ComparisonDisplay.from_predictions(
    ...     [0, 1, 1, 0], [0.4, 0.6, 0.7, 0.3], [0.1, 0.8, 0.8, 0.1], groups=["en", "en", "de", "de"])
    >>> display.by_group
    label  rows  weight  difference        low      high
    de        2       2     -0.1924  -0.941  0.5559
    en        2       2     -0.3466  -1.095  0.4017
    """

    ax_: Axes
    figure_: Figure | SubFigure
    dots_: Line2D
    intervals_: LineCollection
    all_rows_: Line2D
    all_rows_interval_: LineCollection
    zero_line_: Line2D

    def __init__(
        self, comparison: LogLossComparison, by_group: dict[str, np.ndarray], *, names: tuple[str, str] = ("A", "B")
    ) -> None:
        self.comparison, self.by_group, self.names = comparison, by_group, names

    @classmethod
    def from_predictions(
        cls, y_true: ArrayLike, proba_a: ArrayLike, proba_b: ArrayLike, *, groups: ArrayLike | None = None,
        names: tuple[str, str] = ("A", "B"), sample_weight: ArrayLike | None = None, labels: ArrayLike | None = None,
        from_logits: bool = False, level: float = 0.95, max_groups: int = 30, ax: Any = None,
    ) -> Self:
        """Draw the differences of the losses of two models.

        Parameters
        ----------
        y_true, proba_a, proba_b, sample_weight, labels, from_logits, level
            As in :func:`compare_log_loss`.
        groups : array_like of shape (n_samples,), optional
            A label of any kind for each row.
        names : tuple of two str
            What the picture calls the models.
        max_groups, ax
            As in :meth:`plot`.

        Returns
        -------
        display : ComparisonDisplay

        Raises
        ------
        ValueError, TypeError, ZeroDivisionError
            As :func:`compare_log_loss`; for groups that are not one label a row.
        ImportError
            If matplotlib or SciPy is missing.

        Warns
        -----
        UserWarning
            As :func:`log_loss`.
        """
        comparison = compare_log_loss(
            y_true, proba_a, proba_b, sample_weight=sample_weight, labels=labels, from_logits=from_logits, level=level
        )
        losses_a, losses_b = (_losses(y_true, proba, labels, from_logits) for proba in (proba_a, proba_b))
        difference = losses_b - losses_a
        weight = None if sample_weight is None else as_float64(sample_weight, "sample_weight")
        in_groups = None if groups is None else read_groups(groups, len(difference))
        by_group = _by_group("difference", difference, weight, in_groups, level)
        return cls(comparison, by_group, names=names).plot(ax, max_groups=max_groups)

    def plot(self, ax: Any = None, *, max_groups: int = 30) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where not given, those of a new figure.
        max_groups : int
            How many groups to show: if there are more, those that make most of the difference over all rows, for A or for B.

        Returns
        -------
        self : ComparisonDisplay

        Raises
        ------
        ValueError, TypeError
            If an argument is none of these.
        ImportError
            If matplotlib is missing.
        """
        table, hidden = _largest(self.by_group, "difference", max_groups)
        labels = ["all rows", *map(shortened, table["label"])]
        (ax,) = take_axes(ax, 1, 1, height=0.5, lines=labels)
        self.ax_, self.figure_ = ax, ax.figure
        of_all = self.comparison

        self.zero_line_ = ax.axvline(0, linestyle=":", color=text_color(ax))
        one = {"difference": [of_all.difference], "low": [of_all.low], "high": [of_all.high]}
        self.all_rows_, self.all_rows_interval_ = draw_means(ax, one, "difference", "C1")
        self.dots_, self.intervals_ = draw_means(ax, table, "difference", "C0", first=1)
        fit_limits(ax, table, "difference", [0, of_all.difference, of_all.low, of_all.high])
        label_lines(ax, labels)
        a, b = (shortened(name, 30) for name in self.names)
        text = f"Log-loss of {b} minus that of {a}, {percent(of_all.level)} intervals"
        ax.set_xlabel(f"{textwrap.fill(text, 56)}\nleft of 0: {b} is better", parse_math=False)
        if len(labels) > 1:
            ax.set_ylabel(f"Group{hidden}")
        return self


def draw_tables(metric: LogLoss, level: float = 0.95) -> Any:
    """A figure of the means of all classes and groups of a metric, with their intervals."""
    tables = sums_of_tables(metric)
    axes = take_axes(None, 1, max(len(tables), 1), width=max(len(tables), 1))
    for ax, (kind, (labels, sums)) in zip(axes, tables.items(), strict=False):
        table, hidden = _largest(_with_intervals("log_loss", sums, labels, level), "log_loss", 30)
        mean = metric.result()
        ax.axvline(mean, linestyle=":", color=text_color(ax))
        draw_means(ax, table, "log_loss", "C0")
        fit_limits(ax, table, "log_loss", [mean], least=0)
        label_lines(ax, list(map(shortened, table["label"])))
        ax.set_ylabel(f"{kind.title()}{hidden}")
        ax.set_xlabel(f"Log-loss, {percent(level)} intervals; dotted: all rows")
    return axes[0].figure


def _losses(y_true: Any, y_proba: Any, labels: Any, from_logits: bool) -> np.ndarray:
    """Those of rows that have been looked at, without the warnings that have been given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return log_loss_per_sample(y_true, y_proba, labels=labels, from_logits=from_logits)


def _shares(amounts: np.ndarray) -> np.ndarray:
    """Which shares of all the first 0, 1, 2, ... have; where all are 0, each has the same."""
    sums = np.append(0.0, np.cumsum(amounts if amounts.any() else np.ones(len(amounts))))
    return sums / sums[-1]


def _by_group(name: str, values: np.ndarray, weight: np.ndarray | None, groups: Labels | None, level: float) -> Table:
    """The weighted mean of each group, under this name, and its interval. Groups without weight have no line."""
    sums = Moments(0 if groups is None else len(groups.classes))
    if groups is not None:
        sums.add(values, weight, groups=groups)
    return _with_intervals(name, sums, np.empty(0, object) if groups is None else groups.classes, level)


def _with_intervals(name: str, sums: Moments, labels: np.ndarray, level: float) -> Table:
    some = np.flatnonzero(sums.weights())
    sums = sums.taken(some)
    low, high = np.empty(len(some)), np.empty(len(some))
    means = sums.means()
    for i, mean in enumerate(means.tolist()):
        low[i], high[i] = interval(mean, sums.standard_error(i), sums.effective_count(i), level)
    return Table(
        {"label": labels[some], "rows": sums.counts, "weight": sums.weights(), name: means, "low": low, "high": high}
    )


def _largest(table: dict[str, np.ndarray], name: str, max_groups: int) -> tuple[Table, str]:
    """The lines of the groups that have the largest totals, sorted by their means, and what to say of those left out."""
    n = len(table["label"])
    chosen = np.argsort(-np.abs(table["weight"] * table[name]), kind="stable")[: _count(max_groups, "max_groups", 1)]
    chosen = chosen[np.argsort(-table[name][chosen], kind="stable")]
    hidden = f" ({n - len(chosen)} of {n} not shown)" if len(chosen) < n else ""
    return Table({key: np.asarray(column)[chosen] for key, column in table.items()}), hidden


def _count(value: Any, name: str, least: int) -> int:
    n = as_index(value, name)
    if n < least:
        raise ValueError(f"{name} is {n}; expected an integer >= {least}")
    return n


def _probabilities(y_proba: Any, from_logits: bool) -> np.ndarray:
    """Those of all classes, in float64."""
    x = Predictions(y_proba, from_logits, None).array.astype(np.float64)
    if x.shape[1] == 1:
        x = np.concatenate([np.zeros_like(x) if from_logits else 1 - x, x], axis=1)
    return softmax(x, axis=1) if from_logits else x
