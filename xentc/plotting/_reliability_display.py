"""Python layer: the picture of whether probabilities are what they say. Needs matplotlib and SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from xentc._arrays import shown
from xentc._log_loss import Predictions, check_parameters, evaluate
from xentc._statistics import proportion_intervals
from xentc._validation import as_count
from xentc.evaluation import Table
from xentc.plotting._drawing import format_shares, percent, shortened, take_axes, text_color
from xentc.special import softmax

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

# The bars of the histogram of predictions.
_BARS = 20


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
        n_bins = as_count(n_bins, "n_bins", 1)
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


def _probabilities(y_proba: Any, from_logits: bool) -> np.ndarray:
    """Those of all classes, in float64."""
    x = Predictions(y_proba, from_logits, None).array.astype(np.float64)
    if x.shape[1] == 1:
        x = np.concatenate([np.zeros_like(x) if from_logits else 1 - x, x], axis=1)
    return softmax(x, axis=1) if from_logits else x
