"""Python layer: the picture of where one of two models is better. Needs matplotlib and SciPy."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from xentc._arrays import as_float64
from xentc._labels import read_groups
from xentc.comparison import LogLossComparison, compare_log_loss
from xentc.plotting._drawing import draw_means, fit_limits, label_lines, percent, shortened, take_axes, text_color
from xentc.plotting._groups import largest, losses_of_rows, means_of_groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D


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
        losses_a, losses_b = (losses_of_rows(y_true, proba, labels, from_logits) for proba in (proba_a, proba_b))
        difference = losses_b - losses_a
        weight = None if sample_weight is None else as_float64(sample_weight, "sample_weight")
        in_groups = None if groups is None else read_groups(groups, len(difference))
        by_group = means_of_groups("difference", difference, weight, in_groups, level)
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
        table, hidden = largest(self.by_group, "difference", max_groups)
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
