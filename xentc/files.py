"""Python layer: log-loss of predictions in files that need not fit into memory: Parquet, CSV, Feather, .npy and .npz.

Tables need pyarrow; .npy and .npz files do not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from xentc import _columns
from xentc._arrays import shown
from xentc._columns import Path, Paths
from xentc._config import get_num_threads
from xentc._labels import read_classes, read_groups
from xentc._log_loss import warn
from xentc._source import Column, ahead, aligned
from xentc._validation import as_index
from xentc.comparison import LogLossComparison, PairedLosses
from xentc.evaluation import LogLoss

__all__ = ["Batch", "Batches", "batches", "compare", "score"]

# Bytes of rows: what is read while others are summed stays in caches and in memory.
_BATCH_SIZE = 1 << 24

# A target with more labels is no target.
_MOST_LABELS = 1_000_000

_Sum = TypeVar("_Sum")


@dataclass
class Batch:
    """Rows that lie side by side in a file: what :func:`batches` gives, with an example.

    Attributes
    ----------
    truth : ndarray of shape (n_rows,)
    probas : list of ndarray, shape (n_rows, n_classes) or (n_rows,)
        The predictions of each model, columns in the order of the sorted labels.
    weight, groups : ndarray of shape (n_rows,), or None
    file : str
        The one of the labels.
    row : int
        The first of the rows in it; 0 is the first of the file.
    places : list of tuple
        The same, file and row, of the predictions of each model, then of the weights.
    """

    truth: np.ndarray
    probas: list[np.ndarray]
    weight: np.ndarray | None
    groups: np.ndarray | None
    file: str
    row: int
    places: list[tuple[str, int]]

    @property
    def proba(self) -> np.ndarray:
        """The predictions of the only model, or of the first."""
        return self.probas[0]

    def __len__(self) -> int:
        return len(self.truth)

    def rows(self, start: int, stop: int) -> Batch:
        """Some of the rows."""
        weight, groups = (None if a is None else a[start:stop] for a in (self.weight, self.groups))
        probas = [proba[start:stop] for proba in self.probas]
        places = [(file, row + start) for file, row in self.places]
        return Batch(self.truth[start:stop], probas, weight, groups, self.file, self.row + start, places)


def score(
    data: Paths, predictions: Paths | None = None, *, target: str | None = None, proba: str | Sequence[str] | None = None,
    weight: Path | None = None, by: Path | None = None, labels: ArrayLike | None = None, from_logits: bool = False,
    by_class: bool | None = None, batch_size: int = _BATCH_SIZE, n_threads: int | None = None,
) -> LogLoss:
    """The log-loss of predictions in files, with its standard error, and its tables by class and group.

    Parameters
    ----------
    data : path, or sequence of paths
        The table that holds labels and probabilities, or the labels alone: Parquet, CSV (also ``.csv.gz``), Feather,
        ``.npy`` or ``.npz``; a folder of tables, also a partitioned one; several tables, in a list or as a pattern
        (``part-*.csv``); or the address of tables in an object store that pyarrow knows (``s3://...``).
    predictions : path, or sequence of paths, optional
        The probabilities, where they are in files of their own, of as many rows.
    target : str, optional
        The column of the labels, or the array of an ``.npz``. Not needed where there is one only.
    proba : str or sequence of str, optional
        The columns of the probabilities: names, or a pattern such as ``p_*``, which does not mean the columns of the other
        arguments. Where not given, all columns of ``predictions``. One column may hold lists.
    weight, by : str or path, optional
        Weights of the rows, and groups for :meth:`LogLoss.by_group`: a column of ``data``, or else a file.
    labels : array_like, optional
        All classes. Where not given, those of the target, which is then read once before.
    from_logits
        As in :func:`log_loss`.
    n_threads : int, optional
        At most so many threads. Default: those of :func:`set_num_threads`, of tables and archives half of them, since the
        others decode.
    by_class
        As in :class:`LogLoss`.
    batch_size : int
        How many bytes of rows are read at a time.

    Returns
    -------
    metric : LogLoss
        Its ``result()`` has the bits of one call of :func:`log_loss` over all rows.

    Raises
    ------
    ValueError, TypeError
        For a file that is truncated, or is not what its name says; for columns that are not there; for rows that are not as
        many in all files; for missing values, and for what :func:`log_loss` raises. The message has the file, the row in it
        (the first is 0) and the value.
    FileNotFoundError
        If a file does not exist.
    ImportError
        For tables, if pyarrow is missing.

    Warns
    -----
    UserWarning
        As :func:`log_loss`.

    See Also
    --------
    batches : the rows, for other metrics.
    compare : two models.

    Notes
    -----
    The mean of :math:`-\\log p_y` over the rows, :math:`y` their labels. Columns are matched to labels by name where
    their names are the labels behind one prefix and before one suffix: ``cat`` and ``dog``, ``p_cat`` and ``p_dog``, or
    ``cat_prob`` and ``dog_prob``. Where none is named after a label, the columns are in the order of the sorted labels;
    where some are, or not letter by letter, it is an error. A single column is the probability of the second label; being
    named after the first is an error. Files of one table may differ in the width of their numbers. The groups of CSV
    files are text. The next batch is decoded in a thread while the last one is summed.

    References
    ----------
    C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, p. 209.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from xentc import files
    >>> file = pathlib.Path(tempfile.mkdtemp(), "predictions.csv")
    >>> _ = file.write_text("y,lang,p_spam,p_ham\\nham,en,0.1,0.9\\nspam,en,0.8,0.2\\nspam,de,0.4,0.6\\n")
    >>> metric = files.score(file, target="y", proba="p_*", by="lang")
    >>> metric.result()
    0.414931599615397
    >>> metric.by_group()
    label  rows  weight  log_loss  standard_error   share
    de        1       1    0.9163             nan  0.7361
    en        2       2    0.1643         0.05889  0.2639
    """
    rows = Batches(data, [(predictions, proba)], target, weight, by, labels, batch_size)
    return score_batches(rows, from_logits, by_class, n_threads)


def compare(
    data: Paths, predictions_a: Paths | None = None, predictions_b: Paths | None = None, *, target: str | None = None,
    proba_a: str | Sequence[str] | None = None, proba_b: str | Sequence[str] | None = None, weight: Path | None = None,
    labels: ArrayLike | None = None, from_logits: bool = False, level: float = 0.95, batch_size: int = _BATCH_SIZE,
    n_threads: int | None = None,
) -> LogLossComparison:
    """Whether the predictions of a model B are better than those of A: :func:`compare_log_loss` of files.

    Parameters
    ----------
    data, target, weight, labels, from_logits, batch_size, n_threads
        As in :func:`score`.
    predictions_a, predictions_b, proba_a, proba_b
        As ``predictions`` and ``proba`` in :func:`score`, for each model.
    level : float
        Of the interval, between 0 and 1.

    Returns
    -------
    comparison : LogLossComparison
        With the bits of one call of :func:`compare_log_loss` over all rows.

    Raises
    ------
    ValueError, TypeError, OSError, ImportError
        As :func:`score`.
    ZeroDivisionError
        If the weights sum to zero.

    See Also
    --------
    score : one model.
    xentc.compare_log_loss : of arrays.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from xentc import files
    >>> file = pathlib.Path(tempfile.mkdtemp(), "predictions.csv")
    >>> _ = file.write_text("y,old,new\\n0,0.6,0.2\\n1,0.6,0.8\\n1,0.7,0.9\\n0,0.3,0.1\\n")
    >>> files.compare(file, target="y", proba_a="old", proba_b="new").difference
    -0.3708...
    """
    both = [(predictions_a, proba_a), (predictions_b, proba_b)]
    rows = Batches(data, both, target, weight, None, labels, batch_size)
    return compare_batches(rows, from_logits, n_threads).comparison(level)


def batches(
    data: Paths, predictions: Paths | None = None, *, target: str | None = None, proba: str | Sequence[str] | None = None,
    weight: Path | None = None, by: Path | None = None, labels: ArrayLike | None = None, batch_size: int = _BATCH_SIZE,
) -> Batches:
    """The rows of predictions in files, batch by batch.

    Parameters
    ----------
    data, predictions, target, proba, weight, by, labels, batch_size
        As in :func:`score`.

    Returns
    -------
    rows : Batches
        Gives a :class:`Batch` after the other, each time from the first row on. It has ``labels``, sorted, and ``n_rows``,
        None where the files do not say.

    Raises
    ------
    ValueError, TypeError, OSError, ImportError
        As :func:`score`; probabilities, weights and labels are not looked at, but for missing ones.

    See Also
    --------
    score : their log-loss.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from xentc import files
    >>> file = pathlib.Path(tempfile.mkdtemp(), "predictions.csv")
    >>> _ = file.write_text("y,p_spam,p_ham\\nham,0.1,0.9\\nspam,0.8,0.2\\n")
    >>> for batch in files.batches(file, target="y", proba="p_*"):
    ...     batch.truth, batch.proba
    (array(['ham', 'spam'], dtype=object), array([[0.9, 0.1],
           [0.2, 0.8]]))
    """
    return Batches(data, [(predictions, proba)], target, weight, by, labels, batch_size)


def score_batches(
    rows: Batches, from_logits: bool = False, by_class: bool | None = None, n_threads: int | None = None,
    seen: Callable[[Batch], object] = len,
) -> LogLoss:
    """The metric of the rows; seen: called for each batch when it has been added."""
    n_threads = rows.threads_for_sums(n_threads)

    def add(metric: LogLoss, batch: Batch) -> None:
        metric.update(batch.truth, batch.proba, sample_weight=batch.weight, groups=batch.groups, n_threads=n_threads)

    return _added(rows, lambda: LogLoss(rows.labels, from_logits=from_logits, by_class=by_class), add, seen)


def compare_batches(
    rows: Batches, from_logits: bool = False, n_threads: int | None = None, seen: Callable[[Batch], object] = len
) -> PairedLosses:
    """The same for two models."""
    n_threads = rows.threads_for_sums(n_threads)

    def add(losses: PairedLosses, batch: Batch) -> None:
        proba_a, proba_b = batch.probas
        losses.update(batch.truth, proba_a, proba_b, batch.weight, n_threads, some_weight=False)

    given = read_classes(rows.labels)
    if given.told:
        warn(given.told)
    return _added(rows, lambda: PairedLosses(given, from_logits), add, seen)


def _added(
    rows: Batches, new: Callable[[], _Sum], add: Callable[[_Sum, Batch], None], seen: Callable[[Batch], object]
) -> _Sum:
    total, count = new(), 0
    with closing(iter(rows)) as stream:
        for batch in stream:
            try:
                add(total, batch)
            except (TypeError, ValueError) as error:
                raise _located(batch, error, lambda part: add(new(), part)) from None
            count += len(batch)
            seen(batch)
    if not count:
        raise ValueError(f"{rows.name} has no rows")
    return total


def _located(batch: Batch, error: Exception, add: Callable[[Batch], None]) -> Exception:
    """The error that a batch has raised, with the first row that raises it alone."""
    def raised(start: int, stop: int) -> Exception | None:
        try:
            add(batch.rows(start, stop))
        except (TypeError, ValueError) as error:
            return error
        return None

    low, high = 0, len(batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if raised(low, middle) else (middle, high)
        of_row = raised(low, high)
    if of_row is None:                                         # of no row alone
        return _of_kind(error, f"{batch.file}, rows {batch.row} to {batch.row + len(batch) - 1}: {error}")
    names = ["label", *(["prediction"] if len(batch.probas) == 1 else ["A", "B"]), "weight"]
    columns = [batch.truth, *batch.probas, *([] if batch.weight is None else [batch.weight])]
    texts = []
    for name, column, (file, row) in zip(names, columns, [(batch.file, batch.row), *batch.places], strict=False):
        value = column[low]
        place = "" if file == batch.file else f" in {file}, row {row + low}"
        texts.append(f"{name} {shown(value.tolist() if hasattr(value, 'tolist') else value)}{place}")
    return _of_kind(of_row, f"{batch.file}, row {batch.row + low}: {of_row} ({', '.join(texts)})")


def _of_kind(error: Exception, text: str) -> Exception:
    return TypeError(text) if isinstance(error, TypeError) else ValueError(text)


class Batches:
    """The rows of files, batch by batch: what :func:`batches` returns, with an example."""

    def __init__(
        self, data: Paths, predictions: list[tuple[Paths | None, Any]], target: str | None, weight: Path | None,
        by: Path | None, labels: Any, batch_size: int = _BATCH_SIZE,
    ) -> None:
        self.batch_size = as_index(batch_size, "batch_size")
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; expected a number of bytes >= 1")
        main = _columns.open_source(data, "data")
        self.name = main.name
        self._target = Column(main, _columns.columns_meant(main, target, "target", [], single=True))
        self._weight, self._groups = _columns.column_or_file(main, weight, "weight"), _columns.column_or_file(main, by, "by")
        others = [role.names[0] for role in (self._target, self._weight, self._groups) if role and role.source is main]
        self._probas = []
        for path, columns in predictions:
            source = main if path is None else _columns.open_source(path, "predictions")
            if path is None and columns is None:
                raise ValueError(f"neither proba nor predictions are given: which of {shown(main.names)} of {main.name}?")
            names = _columns.columns_meant(source, columns, "proba", others if source is main else [])
            self._probas.append(Column(source, names))
        self._roles = [self._target, *self._probas, *(role for role in (self._weight, self._groups) if role)]
        self._set_types(labels)
        for role in (self._target, self._weight, self._groups):
            if role and role.is_nested:
                raise ValueError(f"{role.text} is a matrix; expected one value a row")
        self._check_lengths()
        self.labels = self._found_labels() if labels is None else _columns.as_target(labels, self._target)
        try:
            self._classes = read_classes(self.labels).classes
        except (TypeError, ValueError) as error:
            raise _of_kind(error, f"{self._target.text if labels is None else 'labels'}: {error}") from None
        orders = [_columns.in_order_of_labels(proba, self._classes.tolist()) for proba in self._probas]
        if None not in orders:                                 # their order says nothing
            self.labels = self._classes
        self._orders = [order or proba.names for order, proba in zip(orders, self._probas, strict=True)]

    @property
    def n_rows(self) -> int | None:
        return next((role.source.n_rows for role in self._roles if role.source.n_rows is not None), None)

    def threads_for_sums(self, n_threads: int | None) -> int | None:
        """Where none are given, half of them sum while the others decode the next batch."""
        if n_threads is None and any(role.source.decodes for role in self._roles):
            return max(1, get_num_threads() // 2)
        return n_threads

    def __iter__(self) -> Generator[Batch, None, None]:
        return ahead(self._batches())

    def _set_types(self, labels: Any) -> None:
        """What the text of a CSV file is to be read as."""
        for role in self._roles:
            kind: Literal["string", "float64"] | None = "string" if role is self._groups else "float64"
            if role is self._target:
                of_text = labels is not None and np.asarray(labels).dtype.kind in "UO" and not _columns.are_integers(labels)
                kind = "string" if of_text else None
            role.source.use(role.names, kind)

    def _check_lengths(self) -> None:
        known = {role.source.name: role.source.n_rows for role in self._roles if role.source.n_rows is not None}
        if len(set(known.values())) > 1:
            text = ", ".join(f"{name} has {n:,}" for name, n in known.items())
            raise ValueError(f"the files have different numbers of rows: {text}")

    def _found_labels(self) -> np.ndarray:
        found: set[Any] = set()
        for pieces in ahead(aligned([self._target], self.batch_size)):
            piece, (column,) = pieces[0]
            _columns.check_no_nulls(piece, self._target.names, [column])
            if not isinstance(column, np.ndarray) and str(column.type) not in ("float", "double"):
                column = column.unique()
            values = _columns.target_of(piece, self._target.names[0], column)
            found.update(read_groups(values, len(values)).classes.tolist())
            if len(found) > _MOST_LABELS:
                raise ValueError(f"{self._target.text} has more than {_MOST_LABELS:,} different labels")
        if not found:
            raise ValueError(f"{self.name} has no rows")
        if len(found) == 1:
            raise ValueError(f"{self._target.text} has one label only, {found.pop()!r}{_columns.LACKING}")
        return np.array(sorted(found), object if isinstance(next(iter(found)), str) else None)

    def _batches(self) -> Generator[Batch, None, None]:
        n_classes = len(self.labels)
        for pieces in ahead(aligned(self._roles, self.batch_size)):
            of = dict(zip(self._roles, pieces, strict=True))
            for role, (piece, columns) in of.items():
                _columns.check_no_nulls(piece, role.names, columns)
            place, (column,) = of[self._target]
            truth = _columns.target_of(place, self._target.names[0], column)
            probas, places = [], []
            for role, order in zip(self._probas, self._orders, strict=True):
                piece, columns = of[role]
                places.append((piece.file, piece.row))
                matrix = _columns.matrix_of(piece, order, dict(zip(role.names, columns, strict=True)))
                width = matrix.shape[1] if matrix.ndim == 2 else 1
                if width != n_classes and (width, n_classes) != (1, 2):
                    raise ValueError(
                        f"{role.text} has {width} probabilities a row; expected {n_classes}, one for each of the labels "
                        f"{shown(self.labels.tolist())}{_columns.LACKING}"
                    )
                probas.append(matrix)
            weight = groups = None
            if self._weight:
                piece, (column,) = of[self._weight]
                weight = _columns.numbers_of(piece, self._weight.names[0], column)
                places.append((piece.file, piece.row))
            if self._groups:
                piece, (column,) = of[self._groups]
                groups = _columns.labels_of(piece, self._groups.names[0], column)
            yield Batch(truth, probas, weight, groups, place.file, place.row, places)
