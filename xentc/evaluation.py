"""Python layer: log-loss of data in pieces, how sure it is, which classes and groups cost most.

Every statistic is made of exact sums: it is a function of the rows, not of their order, of pieces or of threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from xentc import _exact
from xentc._arrays import is_array_like, shown
from xentc._exact import Moments, check_state
from xentc._labels import check_two, read_classes, read_groups
from xentc._log_loss import LabelledRows, Predictions, length, warn
from xentc._statistics import interval
from xentc._validation import as_flag
from xentc.metrics import null_total, undefined_metric_warning

__all__ = ["LogLoss", "Table"]

_VERSION = 1
_STATE = ("labels", "from_logits", "keeps_classes", "weighted", "rows", "class_counts", "groups", "by_group")

# The sums of so many classes are kept unasked: 2.3 kB each.
_FEW_CLASSES = 1000


class Table(dict[str, np.ndarray]):
    """Columns by name, all of one length. ``pandas.DataFrame`` and ``polars.DataFrame`` take it as it is.

    Examples
    --------
    >>> from xentc import LogLoss
    >>> table = LogLoss([0, 1]).update([0, 1, 1], [0.1, 0.8, 0.4]).by_class()
    >>> table["log_loss"].round(3)
    array([0.105, 0.57 ])
    """

    def lines(self) -> list[tuple[str, ...]]:
        """The names and the cells of each line, as text; of many lines the first and the last."""
        columns = [[name, *_cells(column)] for name, column in self.items()]
        if len(columns[0]) > 41:
            columns = [[*column[:21], "..." if i == 0 else "", *column[-20:]] for i, column in enumerate(columns)]
        return list(zip(*columns, strict=True))

    def __repr__(self) -> str:
        all_cells = self.lines()
        widths = [max(map(len, column)) for column in zip(*all_cells, strict=True)]
        lines = []
        for cells in all_cells:
            first, *others = zip(cells, widths, strict=True)
            lines.append("  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip())
        return "\n".join(lines)


def _cells(column: np.ndarray) -> list[str]:
    """Floats with four digits of the largest."""
    if column.dtype.kind != "f":
        return [str(value) for value in column.tolist()]
    finite = np.abs(column[np.isfinite(column)])
    if (finite == np.trunc(finite)).all():
        return [f"{value:.15g}" for value in column.tolist()]
    decimals = min(max(3 - math.floor(math.log10(finite.max())), 0), 12)
    return [f"{value:.{decimals}f}" for value in column.tolist()]


class LogLoss:
    """The log-loss of data that comes in pieces, how sure it is, and which classes and groups make it.

    Each piece goes through :func:`log_loss`'s own loops and checks; what is kept are exact sums, which merge.

    Parameters
    ----------
    labels : array_like
        All classes, as in :func:`log_loss`: a piece may lack some.
    from_logits : bool
        The pieces hold decision values, not probabilities.
    by_class : bool, optional
        Keep what :meth:`by_class` needs, 2.3 kB for each class and thread. Where not given, of up to 1,000 classes.

    Attributes
    ----------
    classes_ : ndarray
        The sorted labels.
    count : int
        The rows so far.
    weight_sum : float
        The sum of their weights.

    See Also
    --------
    log_loss : for data that is in one piece.
    compare_log_loss : whether one model is better than another one.
    ExactMean : the same for any values.

    Notes
    -----
    All results depend on the rows alone: any order, any pieces, any merges and any number of threads give the same bits.
    ``a + b``, ``a += b`` and ``sum(many)`` merge; two are equal if all that they hold is.

    References
    ----------
    C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, p. 209.

    Examples
    --------
    >>> from xentc import LogLoss
    >>> metric = LogLoss(labels=["ham", "spam"])
    >>> metric.update(["ham", "spam"], [0.1, 0.8], groups=["en", "en"])
    <LogLoss of 2 classes: 0.16425203348601802 over 2 rows>
    >>> metric.update(["spam", "ham"], [0.4, 0.3], groups=["de", "en"]).result()
    0.40036743569623084
    >>> round(metric.standard_error(), 4)
    0.1795
    >>> metric.by_group()
    label  rows  weight  log_loss  standard_error   share
    de        1       1    0.9163             nan  0.5722
    en        3       3    0.2284         0.07260  0.4278
    """

    __slots__ = ("_by_group", "_class_counts", "_from_logits", "_given", "_groups", "_keeps_classes", "_rows", "_weighted")

    def __init__(self, labels: ArrayLike, *, from_logits: bool = False, by_class: bool | None = None) -> None:
        if not is_array_like(labels):
            raise ValueError(f"labels are {shown(labels)}; expected all classes, as an array or a list")
        self._given = read_classes(labels)
        if self._given.told:
            warn(self._given.told)
        check_two(self._given.classes)
        self._from_logits = as_flag(from_logits, "from_logits")
        few = len(self._given.classes) <= _FEW_CLASSES
        self._keeps_classes = few if by_class is None else as_flag(by_class, "by_class")
        self.reset()

    def reset(self) -> Self:
        """Forget all rows."""
        n_classes = len(self._given.classes)
        self._rows = Moments(n_classes if self._keeps_classes else 1)
        # Where there are no sums by class.
        self._class_counts = np.zeros(0 if self._keeps_classes else n_classes, np.int64)
        self._weighted = False
        self._groups: dict[Any, int] = {}
        self._by_group = Moments(0)
        return self

    def update(
        self, y_true: ArrayLike, y_proba: ArrayLike, *, sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None, n_threads: int | None = None,
    ) -> Self:
        """Add rows.

        Parameters
        ----------
        y_true, y_proba, sample_weight, n_threads
            As in :func:`log_loss`; a piece may be empty, and all of its weights may be 0.
        groups : array_like of shape (n_samples,), optional
            A label of any kind for each row, for :meth:`by_group`: 2.3 kB are kept for each one.

        Returns
        -------
        self : LogLoss

        Raises
        ------
        ValueError, TypeError
            As :func:`log_loss`; the rows are then not added.

        Warns
        -----
        UserWarning
            If some row's probabilities do not sum to one.
        """
        if is_array_like(y_true) and is_array_like(y_proba) and length(y_true) == length(y_proba) == 0:
            return self
        new = self._of_piece(y_true, y_proba, sample_weight, groups, n_threads)
        return self._merge(new)

    def _of_piece(self, y_true: Any, y_proba: Any, sample_weight: Any, groups: Any, n_threads: int | None) -> LogLoss:
        predictions = Predictions(y_proba, self._from_logits, n_threads)
        rows = LabelledRows(y_true, [predictions], sample_weight, self._given, some_weight=False)
        new, n_classes = self._like(), len(self._given.classes)
        by_class = self._keeps_classes or n_classes <= _FEW_CLASSES    # sums by class are quicker than counts
        in_groups = None if groups is None else read_groups(groups, rows.n)
        for guess in (True, False):
            if not guess:
                rows.read(guess=False)
            new.reset()
            new._rows = Moments(n_classes if by_class else 1)
            if in_groups is not None:
                of_times = in_groups.classes.dtype.kind in "mM"        # whose tolist() makes integers of them
                names = list(in_groups.classes) if of_times else in_groups.classes.tolist()
                new._groups, new._by_group, _ = new._with_groups(names)
            written = False
            if in_groups is None:
                rows.run(predictions, sums=new._rows)
            else:
                for start, stop, (losses,) in rows.pieces([new._rows]):
                    of_rows = in_groups.rows(start, stop)
                    written |= not new._by_group.add(losses, rows.weight_of(start, stop), n_threads, of_rows)
            if not rows.guess_failed():
                break
        rows.check()
        if written:
            raise ValueError("groups were written to while they were read")
        if not self._keeps_classes:
            assert rows.known is not None
            new._class_counts = new._rows.counts if by_class else rows.known.counts()
            new._rows = new._rows.together()
        new._weighted = rows.sample_weight is not None
        return new

    def _like(self) -> Self:
        """An empty one of the same labels."""
        new = object.__new__(type(self))
        new._given, new._from_logits, new._keeps_classes = self._given, self._from_logits, self._keeps_classes
        return new.reset()

    def _with_groups(self, labels: Iterable[Any]) -> tuple[dict[Any, int], Moments, np.ndarray]:
        """Groups with those of these labels too, sums with room for them, and their places there."""
        groups = dict(self._groups)
        places = np.array([groups.setdefault(label, len(groups)) for label in labels], np.intp)
        room = len(self._by_group.counts)
        sums = self._by_group if len(groups) <= room else self._by_group.copy(max(len(groups), 2 * room))
        return groups, sums, places

    def merge(self, other: LogLoss) -> Self:
        """Add all rows of another one, which is left as it is.

        Raises
        ------
        ValueError
            If it has other labels, another ``from_logits``, or other sums by class.
        """
        if not isinstance(other, LogLoss):
            raise TypeError(f"other must be a LogLoss, got {type(other).__name__}")
        ours, theirs = self._given.classes, other._given.classes
        if not np.array_equal(ours, theirs):
            raise ValueError(f"other has the labels {shown(theirs.tolist())}; expected {shown(ours.tolist())}")
        if self._from_logits != other._from_logits:
            raise ValueError(f"other has from_logits={other._from_logits}; expected {self._from_logits}")
        if self._keeps_classes != other._keeps_classes:
            raise ValueError(f"other has by_class={other._keeps_classes}; expected {self._keeps_classes}")
        return self._merge(other)

    def _merge(self, other: LogLoss) -> Self:
        # What can fail comes first.
        rows, class_counts = self._rows.plus(other._rows), self._class_counts + other._class_counts
        if other._groups:
            groups, by_group, places = self._with_groups(other._groups)
            of_groups = by_group.plus(other._of_groups(other._groups), places)
            by_group.put(of_groups, places)
            self._groups, self._by_group = groups, by_group
        self._rows, self._class_counts, self._weighted = rows, class_counts, self._weighted or other._weighted
        return self

    def _all(self) -> Moments:
        """The sums of all rows."""
        return self._rows.together()

    @property
    def classes_(self) -> np.ndarray:
        return self._given.classes.copy()

    @property
    def count(self) -> int:
        return int(self._rows.counts.sum())

    @property
    def weight_sum(self) -> float:
        return float(self._all().weights()[0])

    def result(self) -> float:
        """The mean log-loss, with the bits of one call of :func:`log_loss` over all rows.

        Returns
        -------
        loss : float
            In nats; NaN where there are no rows.

        Raises
        ------
        ZeroDivisionError
            If the weights sum to zero.
        """
        rows = self._all()
        if self.count and rows.weights()[0] == 0:
            raise ZeroDivisionError("Weights sum to zero, can't be normalized")
        return float(rows.means()[0])

    def d2(self) -> float:
        """The fraction of log-loss explained, with the bits of one call of :func:`d2_log_loss_score` over all rows.

        Returns
        -------
        score : float
            1 is perfect, 0 as good as always predicting the classes' frequencies; NaN for fewer than two rows.

        Raises
        ------
        ValueError
            If rows had weights, and sums by class are not kept.
        ZeroDivisionError
            If the weights sum to zero.

        Warns
        -----
        UndefinedMetricWarning
            For fewer than two rows.
        """
        if self.count < 2:
            warn("D^2 score is not well-defined with less than two samples.", undefined_metric_warning())
            return math.nan
        if self._keeps_classes:
            weights = self._rows.weight_units()
        elif self._weighted:
            raise ValueError("rows had weights: d2 needs the weights of each class, which LogLoss(..., by_class=True) keeps")
        else:
            weights = [count * _exact.UNITS for count in self._class_counts.tolist()]
        rows = self._all()
        weight = float(rows.weights()[0])
        if weight == 0:
            raise ZeroDivisionError("Weights sum to zero, can't be normalized")
        return 1 - float(rows.totals()[0]) / null_total(weights, weight)

    def standard_error(self) -> float:
        """The standard error of :meth:`result`, as in :meth:`ExactMean.standard_error`; NaN for fewer than two rows.

        It takes the weights for given numbers. Where they go with the losses, as weights of classes may, it is too small.
        """
        return self._all().standard_error()

    def confidence_interval(self, level: float = 0.95) -> tuple[float, float]:
        """An interval that holds the mean of a new sample's expectation in a share `level` of all samples.

        Parameters
        ----------
        level : float
            Between 0 and 1.

        Returns
        -------
        low, high : float

        Notes
        -----
        The mean plus and minus the standard error times the quantile of Student's t distribution with :math:`n - 1` degrees
        of freedom; of weighted rows :math:`n = (\\sum w)^2 / \\sum w^2`. Needs SciPy.
        """
        rows = self._all()
        return interval(float(rows.means()[0]), rows.standard_error(), rows.effective_count(), level)

    def by_class(self) -> Table:
        """For each class its rows, their weight, mean loss and standard error, and its share of the total loss.

        Returns
        -------
        table : Table
            A dict of arrays: "label", "rows", "weight", "log_loss", "standard_error", "share". The mean of a class without
            rows is NaN.

        Raises
        ------
        ValueError
            If the sums are not kept.
        """
        if not self._keeps_classes:
            raise ValueError("the sums of each class are not kept; make it with LogLoss(..., by_class=True)")
        return self._table(*self._sums_by_class())

    def by_group(self) -> Table:
        """The same for each group of the rows that were added with ``groups``, sorted by their labels."""
        return self._table(*self._sums_by_group())

    def _sums_by_class(self) -> tuple[np.ndarray, Moments]:
        return self._given.classes, self._rows

    def _sums_by_group(self) -> tuple[np.ndarray, Moments]:
        try:
            labels = sorted(self._groups)
        except TypeError:                                      # of several kinds
            labels = sorted(self._groups, key=lambda label: (type(label).__name__, label))
        column = np.array(labels) if len({type(label) for label in labels}) < 2 else np.array(labels, object)
        return column, self._of_groups(labels)

    def _table(self, labels: np.ndarray, of_labels: Moments) -> Table:
        total = float(self._all().totals()[0])
        totals = of_labels.totals()
        return Table(
            label=labels,
            rows=of_labels.counts.copy(),
            weight=of_labels.weights(),
            log_loss=of_labels.means(),
            standard_error=of_labels.standard_errors(),
            share=totals / total if total else np.full(len(totals), math.nan),
        )

    def __add__(self, other: LogLoss) -> Self:
        return self.__copy__().merge(other) if isinstance(other, LogLoss) else NotImplemented

    def __radd__(self, other: Any) -> Self:
        return self.__copy__() if type(other) is int and other == 0 else NotImplemented  # where sum() begins

    def __iadd__(self, other: LogLoss) -> Self:
        return self.merge(other) if isinstance(other, LogLoss) else NotImplemented

    def __copy__(self) -> Self:
        return self._like()._merge(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LogLoss):
            return NotImplemented
        return (
            np.array_equal(self._given.classes, other._given.classes)
            and (self._from_logits, self._keeps_classes) == (other._from_logits, other._keeps_classes)
            and self._rows.same(other._rows)
            and np.array_equal(self._class_counts, other._class_counts)
            and self._groups.keys() == other._groups.keys()
            and self._of_groups(self._groups).same(other._of_groups(self._groups))
        )

    def _of_groups(self, labels: Iterable[Any]) -> Moments:
        return self._by_group.taken([self._groups[label] for label in labels])

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "labels": self._given.values,
            "from_logits": self._from_logits,
            "keeps_classes": self._keeps_classes,
            "weighted": self._weighted,
            "rows": self._rows.state(),
            "class_counts": self._class_counts,
            "groups": list(self._groups),
            "by_group": self._of_groups(self._groups).state(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        name = "a LogLoss"
        check_state(name, state, set(_STATE), _VERSION)
        new = type(self)(state["labels"], from_logits=state["from_logits"], by_class=state["keeps_classes"])
        new._weighted = as_flag(state["weighted"], "weighted")
        new._rows = Moments.of_state(name, len(new._rows.counts), 4, state["rows"])
        counts = new._class_counts
        new._class_counts = np.array(state["class_counts"])
        if new._class_counts.shape != counts.shape or new._class_counts.dtype != counts.dtype or (
            len(counts) and ((new._class_counts < 0).any() or new._class_counts.sum() != new.count)
        ):
            raise ValueError(f"the class_counts of {name} are no counts of {new.count} rows: the state is damaged")
        new._groups = {label: i for i, label in enumerate(state["groups"])}
        if len(new._groups) != len(state["groups"]):
            raise ValueError(f"the groups of {name} are not all different: the state is damaged")
        new._by_group = Moments.of_state(name, len(new._groups), 4, state["by_group"])
        for slot in self.__slots__:
            setattr(self, slot, getattr(new, slot))

    def __repr__(self) -> str:
        loss = float(self._all().means()[0])
        return f"<LogLoss of {len(self._given.classes)} classes: {loss!r} over {self.count:,} row{'s' * (self.count != 1)}>"


def sums_of_tables(metric: LogLoss) -> dict[str, tuple[np.ndarray, Moments]]:
    """The labels and the sums of the tables that a metric has lines for: "class", "group"."""
    tables = {"class": metric._sums_by_class()} if metric._keeps_classes else {}
    return tables | ({"group": metric._sums_by_group()} if metric._groups else {})
