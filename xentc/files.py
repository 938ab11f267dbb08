"""Python layer: log-loss of predictions in files that need not fit into memory: Parquet, CSV, Feather, .npy and .npz.

Tables need pyarrow; .npy and .npz files do not.
"""

from __future__ import annotations

import fnmatch
import glob
import io
import math
import mmap
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from xentc._arrays import of_lists, shown
from xentc._labels import read_classes, read_groups
from xentc._validation import as_index
from xentc.evaluation import LogLoss, LogLossComparison, PairedLosses

__all__ = ["Batch", "Batches", "batches", "compare", "score"]

Path = str | os.PathLike[str]
Paths = Path | Sequence[Path]

_FORMATS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".csv.gz": "csv", ".feather": "feather", ".arrow": "feather",
    ".npy": "npy", ".npz": "npz",
}

# A file starts with its header, which NumPy keeps below 10,000 bytes.
_HEADER = 16384

# Where there may be more labels than the target shows.
_LACKING = " (give labels=, where the target lacks some)"

# A target with more labels is no target.
_MOST_LABELS = 1_000_000

_Sum = TypeVar("_Sum")


@dataclass
class Batch:
    """Rows that lie side by side in a file.

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
    """

    truth: np.ndarray
    probas: list[np.ndarray]
    weight: np.ndarray | None
    groups: np.ndarray | None
    file: str
    row: int

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
        return Batch(self.truth[start:stop], probas, weight, groups, self.file, self.row + start)


def score(
    data: Paths, predictions: Paths | None = None, *, target: str | None = None, proba: str | Sequence[str] | None = None,
    weight: Path | None = None, by: Path | None = None, labels: ArrayLike | None = None, from_logits: bool = False,
    by_class: bool | None = None, batch_size: int = 1 << 24, n_threads: int | None = None,
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
    from_logits, n_threads
        As in :func:`log_loss`.
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
    The mean of :math:`-\\log p_y` over the rows, :math:`y` their labels. Columns are matched to labels by name where their
    names are the labels behind one prefix, which may be empty: ``cat`` and ``dog``, or ``p_cat`` and ``p_dog``. Where none
    is the name of a label, the columns are in the order of the sorted labels; where only some are, it is an error. A single
    column is the probability of the second label. The groups of CSV files are text. The next batch is decoded in a thread
    while the last one is summed.

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
    labels: ArrayLike | None = None, from_logits: bool = False, level: float = 0.95, batch_size: int = 1 << 24,
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
    weight: Path | None = None, by: Path | None = None, labels: ArrayLike | None = None, batch_size: int = 1 << 24,
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
    def add(metric: LogLoss, batch: Batch) -> None:
        metric.update(batch.truth, batch.proba, sample_weight=batch.weight, groups=batch.groups, n_threads=n_threads)

    return _added(rows, lambda: LogLoss(rows.labels, from_logits=from_logits, by_class=by_class), add, seen)


def compare_batches(
    rows: Batches, from_logits: bool = False, n_threads: int | None = None, seen: Callable[[Batch], object] = len
) -> PairedLosses:
    """The same for two models."""
    def add(losses: PairedLosses, batch: Batch) -> None:
        proba_a, proba_b = batch.probas
        losses.update(batch.truth, proba_a, proba_b, batch.weight, n_threads, some_weight=False)

    return _added(rows, lambda: PairedLosses(read_classes(rows.labels), from_logits), add, seen)


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
    values = {"label": batch.truth[low]}
    for name, proba in zip(["prediction"] if len(batch.probas) == 1 else ["A", "B"], batch.probas, strict=True):
        values[name] = proba[low]
    if batch.weight is not None:
        values["weight"] = batch.weight[low]
    plain = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in values.items()}
    text = ", ".join(f"{name} {shown(value)}" for name, value in plain.items())
    return _of_kind(of_row, f"{batch.file}, row {batch.row + low}: {of_row} ({text})")


def _of_kind(error: Exception, text: str) -> Exception:
    return TypeError(text) if isinstance(error, TypeError) else ValueError(text)


class Batches:
    """The rows of files, batch by batch: what :func:`batches` returns."""

    def __init__(
        self, data: Paths, predictions: list[tuple[Paths | None, Any]], target: str | None, weight: Path | None,
        by: Path | None, labels: Any, batch_size: int,
    ) -> None:
        self.batch_size = as_index(batch_size, "batch_size")
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; expected a number of bytes >= 1")
        main = _open(data, "data")
        self.name = main.name
        self._target = _Column(main, _names(main, target, "target", [], single=True))
        self._weight, self._groups = _column_or_file(main, weight, "weight"), _column_or_file(main, by, "by")
        others = [role.names[0] for role in (self._target, self._weight, self._groups) if role and role.source is main]
        self._probas = []
        for path, columns in predictions:
            source = main if path is None else _open(path, "predictions")
            if path is None and columns is None:
                raise ValueError(f"neither proba nor predictions are given: which of {shown(main.names)} of {main.name}?")
            self._probas.append(_Column(source, _names(source, columns, "proba", others if source is main else [])))
        self._roles = [self._target, *self._probas, *(role for role in (self._weight, self._groups) if role)]
        self._set_types(labels)
        self._check_lengths()
        self.labels = self._found_labels() if labels is None else _as_target(labels, self._target)
        try:
            self._classes = read_classes(self.labels).classes
        except (TypeError, ValueError) as error:
            raise _of_kind(error, f"{self._target.text if labels is None else 'labels'}: {error}") from None
        orders = [self._order(proba) for proba in self._probas]
        if None not in orders:                                 # their order says nothing
            self.labels = self._classes
        self._orders = [order or proba.names for order, proba in zip(orders, self._probas, strict=True)]

    @property
    def n_rows(self) -> int | None:
        return next((role.source.n_rows for role in self._roles if role.source.n_rows is not None), None)

    def __iter__(self) -> Generator[Batch, None, None]:
        return _ahead(self._batches())

    def _set_types(self, labels: Any) -> None:
        """What the text of a CSV file is to be read as."""
        for role in self._roles:
            kind: str | None = "string" if role is self._groups else "float64"
            if role is self._target:
                of_text = labels is not None and np.asarray(labels).dtype.kind in "UO" and not _are_integers(labels)
                kind = "string" if of_text else None
            role.source.use(role.names, kind)

    def _check_lengths(self) -> None:
        known = {role.source.name: role.source.n_rows for role in self._roles if role.source.n_rows is not None}
        if len(set(known.values())) > 1:
            text = ", ".join(f"{name} has {n:,}" for name, n in known.items())
            raise ValueError(f"the files have different numbers of rows: {text}")

    def _found_labels(self) -> np.ndarray:
        found: set[Any] = set()
        for pieces in _ahead(_aligned([self._target], self.batch_size)):
            piece, (column,) = pieces[0]
            _check_no_nulls(piece, self._target.names, [column])
            if not isinstance(column, np.ndarray) and str(column.type) not in ("float", "double"):
                column = column.unique()
            values = _labels_of(piece, self._target.names[0], column)
            found.update(read_groups(values, len(values)).classes.tolist())
            if len(found) > _MOST_LABELS:
                raise ValueError(f"{self._target.text} has more than {_MOST_LABELS:,} different labels")
        if not found:
            raise ValueError(f"{self.name} has no rows")
        if len(found) == 1:
            raise ValueError(f"{self._target.text} has one label only, {found.pop()!r}{_LACKING}")
        return np.array(sorted(found), object if isinstance(next(iter(found)), str) else None)

    def _order(self, proba: _Column) -> list[str] | None:
        """The columns in the order of the sorted labels; None where they are not named after these."""
        labels, names = self._classes.tolist(), proba.names
        if len(names) == 1:
            tail = re.split(r"[^0-9A-Za-z]", names[0])[-1]
            if len(labels) == 2 and not proba.is_nested and _key(tail, labels[0]) == _key(str(labels[0]), labels[0]):
                raise ValueError(
                    f"{proba.text} is named after the first label, {labels[0]!r}; expected the probability of the second, "
                    f"{labels[1]!r}, or columns of both"
                )
            return None
        if len(names) != len(labels):
            raise ValueError(f"{proba.text} are {len(names)} columns for {len(labels)} labels, {shown(labels)}{_LACKING}")
        keys = [_key(str(label), label) for label in labels]
        # What may be the prefix: up to the last sign, also without the digits behind it, or what the labels leave.
        common = commonprefix(names)  # noqa: RUF071 -- by characters
        cuts = [0, len(re.sub("[0-9A-Za-z]*$", "", common)), len(re.sub("[0-9]*$", "", common))]
        cuts.append(max(sum(map(len, names)) - sum(len(str(label)) for label in labels), 0) // len(names))
        found = [{_key(name[cut:], labels[0]): name for name in names} for cut in cuts]
        for columns in found:
            if columns.keys() == set(keys):
                return [columns[key] for key in keys]
        if any(columns.keys() & set(keys) for columns in found[:2]):
            raise ValueError(f"{proba.text} are named {shown(names)}; expected one column for each label, {shown(labels)}")
        return None

    def _batches(self) -> Generator[Batch, None, None]:
        n_classes = len(self.labels)
        for pieces in _aligned(self._roles, self.batch_size):
            of = dict(zip(self._roles, pieces, strict=True))
            for role, (piece, columns) in of.items():
                _check_no_nulls(piece, role.names, columns)
            place, (column,) = of[self._target]
            truth = _labels_of(place, self._target.names[0], column)
            probas = []
            for role, order in zip(self._probas, self._orders, strict=True):
                piece, columns = of[role]
                matrix = _matrix(piece, order, dict(zip(role.names, columns, strict=True)))
                width = matrix.shape[1] if matrix.ndim == 2 else 1
                if width != n_classes and (width, n_classes) != (1, 2):
                    raise ValueError(
                        f"{role.text} has {width} probabilities a row; expected {n_classes}, one for each of the labels "
                        f"{shown(self.labels.tolist())}{_LACKING}"
                    )
                probas.append(matrix)
            weight = groups = None
            if self._weight:
                piece, (column,) = of[self._weight]
                weight = _numbers(piece, self._weight.names[0], column)
            if self._groups:
                piece, (column,) = of[self._groups]
                groups = _labels_of(piece, self._groups.names[0], column)
            yield Batch(truth, probas, weight, groups, place.file, place.row)


class _Column:
    """One or more columns of a source that are one thing."""

    def __init__(self, source: Any, names: list[str]) -> None:
        self.source, self.names = source, names

    @property
    def text(self) -> str:
        return f"{' and '.join(map(repr, self.names)) if len(self.names) < 3 else shown(self.names)} of {self.source.name}"

    @property
    def is_nested(self) -> bool:
        """Whether it is a matrix by itself."""
        return len(self.names) == 1 and bool(self.source.is_nested(self.names[0]))


@dataclass
class _Piece:
    """Columns of some rows of a file, from this row on."""

    file: str
    row: int
    columns: list[Any]

    def __len__(self) -> int:
        return len(self.columns[0])

    def rows(self, start: int, stop: int) -> _Piece:
        return _Piece(self.file, self.row + start, [column[start:stop] for column in self.columns])


def _key(text: str, label: Any) -> Any:
    """What a name says of a label of this kind: of numbers 1, 01, 1.0 and true are the same."""
    if isinstance(label, str):
        return text
    text = {"false": "0", "true": "1"}.get(text.lower(), text)
    return float(text) if re.fullmatch(r"-?[0-9]+(\.0*)?", text) else text


def _ahead(pieces: Generator[Any, None, None]) -> Generator[Any, None, None]:
    """The same, where the next one is made in a thread."""
    with ThreadPoolExecutor(1) as pool, closing(pieces):
        coming = pool.submit(next, pieces, None)
        try:
            while (piece := coming.result()) is not None:
                coming = pool.submit(next, pieces, None)
                yield piece
        finally:
            with suppress(Exception):
                coming.result()


def _aligned(roles: list[_Column], batch_size: int) -> Generator[list[tuple[_Piece, list[Any]]], None, None]:
    """For each of the roles its columns of the same rows."""
    names: dict[Any, list[str]] = {}
    for role in roles:
        known = names.setdefault(role.source, [])
        known += [name for name in role.names if name not in known]
    n_rows = max(1, int(batch_size / max(sum(source.row_bytes(columns) for source, columns in names.items()), 1)))
    streams = {source: source.read(columns, n_rows) for source, columns in names.items()}
    left: dict[Any, _Piece | None] = {}
    while True:
        for source, stream in streams.items():
            piece = left.get(source)
            while piece is None or len(piece) == 0:
                piece = next(stream, None)
                if piece is None:
                    break
            left[source] = piece
        pieces = {source: piece for source, piece in left.items() if piece is not None}
        if not pieces:
            return
        if len(pieces) < len(left):
            short, long = (next(s.name for s, p in left.items() if (p is None) == ended) for ended in (True, False))
            raise ValueError(f"{short} has fewer rows than {long}; expected as many")
        n = min(n_rows, *map(len, pieces.values()))
        now = {source: piece.rows(0, n) for source, piece in pieces.items()}
        yield [(now[role.source], [now[role.source].columns[names[role.source].index(name)] for name in role.names])
               for role in roles]
        left = {source: piece.rows(n, len(piece)) for source, piece in pieces.items()}


def _names(source: Any, wanted: Any, argument: str, others: list[str], single: bool = False) -> list[str]:
    """The columns that an argument means; a pattern does not mean the others."""
    of_source = source.names
    if wanted is None:
        found = list(of_source)
    elif isinstance(wanted, str):
        matching = fnmatch.filter(of_source, wanted)
        found = [wanted] if wanted in of_source else [name for name in matching if name not in others]
    elif isinstance(wanted, Sequence) and wanted and all(isinstance(name, str) for name in wanted):
        found = list(wanted)
    else:
        raise TypeError(f"{argument} is {shown(wanted)}; expected the name of a column{'' if single else ', or names'}")
    missing = [name for name in found if name not in of_source] or ([] if found else [wanted])
    if missing:
        raise ValueError(f"{source.name} has no column {missing[0]!r} ({argument}); it has {shown(of_source)}")
    if len(set(found)) < len(found):
        raise ValueError(f"{argument} names a column twice: {shown(found)}")
    if single and len(found) != 1:
        raise ValueError(f"{argument} is {shown(wanted)}; expected one of the columns of {source.name}: {shown(found)}")
    return found


def _column_or_file(main: Any, what: Path | None, argument: str) -> _Column | None:
    if what is None:
        return None
    if isinstance(what, str) and what in main.names:
        return _Column(main, [what])
    if isinstance(what, str) and not os.path.exists(what) and not _format(what):
        raise ValueError(
            f"{main.name} has no column {what!r} ({argument}), and there is no such file; it has {shown(main.names)}"
        )
    source = _open(what, argument)
    return _Column(source, _names(source, None, argument, [], single=True))


def _as_target(labels: Any, target: _Column) -> np.ndarray:
    """Labels as they were given; texts of integers as these, where the target holds integers."""
    given = np.asarray(labels)
    if given.dtype.kind in "UO" and _are_integers(labels) and not target.source.is_text(target.names[0]):
        return np.array([int(label) for label in labels])
    return given


def _are_integers(labels: Any) -> bool:
    return all(isinstance(label, str) and re.fullmatch(r"[+-]?\d{1,18}", label) for label in labels)


# Values

def _check_no_nulls(piece: _Piece, names: list[str], columns: list[Any]) -> None:
    for name, column in zip(names, columns, strict=True):
        if getattr(column, "null_count", 0):
            row = piece.row + int(np.argmax(np.asarray(column.is_null())))
            raise ValueError(f"{piece.file}, row {row}: {name} is missing (null); expected a value in every row")


def _labels_of(piece: _Piece, name: str, column: Any) -> np.ndarray:
    """Labels or groups, none of which is missing."""
    try:
        values = _values(column)
    except UnicodeDecodeError as error:
        raise ValueError(f"{piece.file}, row {piece.row} or one after it: {name} is no text: {error}") from None
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim > 1:
        raise ValueError(f"{name} of {piece.file} has {values.shape[1]} columns; expected one label a row")
    missing = values != values if values.dtype.kind in "fmM" else None
    if missing is not None and missing.any():
        row = piece.row + int(np.argmax(missing))
        raise ValueError(f"{piece.file}, row {row}: {name} is {values[row - piece.row]}; expected a value in every row")
    return values


def _values(column: Any) -> np.ndarray:
    """A column without nulls as an array. Each string is made once."""
    if isinstance(column, np.ndarray):
        return column
    import pyarrow as pa

    if "string" in str(column.type) and not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    if not pa.types.is_dictionary(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    strings = column.dictionary.to_pylist()
    values = np.array(strings, object if strings and isinstance(strings[0], str) else None)
    return values[column.indices.to_numpy(zero_copy_only=False)]


def _numbers(piece: _Piece, name: str, column: Any) -> np.ndarray:
    if isinstance(column, np.ndarray):
        kind, values = column.dtype, column
    else:
        import pyarrow as pa

        kind, values = column.type, np.empty(0, "O")
        if pa.types.is_floating(kind) or pa.types.is_integer(kind):
            values = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{name} of {piece.file} has the type {kind}; expected numbers")
    return values


def _matrix(piece: _Piece, order: list[str], columns: dict[str, Any]) -> np.ndarray:
    """Probabilities, in one array."""
    if len(order) == 1:
        (column,) = columns.values()
        if not hasattr(getattr(column, "type", None), "value_field"):
            return _numbers(piece, order[0], column)
        try:
            return _numbers(piece, order[0], of_lists(column, order[0]))
        except ValueError as error:
            text = re.sub(r"\[(\d+)", lambda found: f"[{piece.row + int(found[1])}", str(error))
            raise ValueError(f"{piece.file}: {text}") from None
    arrays = [_numbers(piece, name, columns[name]) for name in order]
    if any(a.ndim > 1 for a in arrays):
        raise ValueError(f"{shown(order)} of {piece.file} are matrices; expected one, or columns")
    dtype = np.result_type(*arrays)
    matrix = np.empty((len(piece), len(order)), dtype if dtype.kind == "f" else np.float64, order="F")
    for j, a in enumerate(arrays):
        matrix[:, j] = a
    return matrix


# Files

def _format(path: str) -> str | None:
    return next((kind for suffix, kind in _FORMATS.items() if path.lower().endswith(suffix)), None)


def _open(paths: Any, argument: str) -> Any:
    if isinstance(paths, (str, os.PathLike)):
        path = os.fspath(paths)
        found = [path]
        if glob.has_magic(path) and not os.path.exists(path) and "://" not in path:
            found = sorted(glob.glob(path))
            if not found:
                raise FileNotFoundError(f"no file is named like {path}")
        elif "://" not in path and not os.path.exists(path):
            raise FileNotFoundError(f"{path} does not exist")
    elif isinstance(paths, Sequence) and paths and all(isinstance(path, (str, os.PathLike)) for path in paths):
        found = [os.fspath(path) for path in paths]
    else:
        raise TypeError(f"{argument} is {shown(paths)}; expected the path of a file, or a list of some")
    kinds = {_format_inside(path) for path in found}
    if len(kinds) > 1 or None in kinds:
        text = shown(found[0] if len(found) == 1 else found)
        raise ValueError(f"{text}: expected a file of a known format, or files of one: {', '.join(_FORMATS)}")
    (kind,) = kinds
    if kind in ("npy", "npz"):
        if len(found) > 1:
            raise ValueError(f"{shown(found)}: expected one file; tables may be many, .npy and .npz not")
        return (_Npy if kind == "npy" else _Npz)(found[0])
    return _Tables(found, str(kind))


def _format_inside(path: str) -> str | None:
    """That of a file, or of the first in a folder that has one."""
    if os.path.isdir(path):
        names = (name for _, folders, files in os.walk(path) if folders.sort() is None for name in sorted(files))
        found = next((kind for name in names if name[0] not in "._" and (kind := _format(name))), None)
        return None if found in ("npy", "npz") else found
    return _format(path) or ("parquet" if "://" in path else None)


class _Tables:
    """Parquet, CSV or Feather files, read by pyarrow."""

    def __init__(self, paths: list[str], kind: str) -> None:
        try:
            import pyarrow.dataset
        except ImportError as error:
            raise ImportError('xentc.files needs pyarrow for tables: pip install "xentc[files]"') from error
        self.name = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        self._paths, self._kind, self._types, self._api = paths, kind, dict[str, Any](), pyarrow.dataset
        self._open()
        self.n_rows: int | None = None
        if kind == "parquet":                                  # CSV files do not say; of damaged Feather files it crashes
            self.n_rows = sum(map(self._count, self._fragments()))

    def _open(self) -> None:
        source = self._paths[0] if len(self._paths) == 1 else self._paths
        with _naming(self.name, self._kind):
            self._dataset = self._api.dataset(source, format=self._csv() or self._kind, partitioning="hive")
            self.names = self._dataset.schema.names

    def _csv(self) -> Any:
        if self._kind != "csv":
            return None
        from pyarrow import csv

        # An empty cell is missing, also of labels; NaN and NA are what they are elsewhere.
        return self._api.CsvFileFormat(convert_options=csv.ConvertOptions(
            column_types=self._types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ))

    def _fragments(self) -> list[Any]:
        found = list(self._dataset.get_fragments())
        return sorted(found, key=lambda fragment: fragment.path) if len(self._paths) == 1 else found

    def _count(self, fragment: Any) -> int:
        with _naming(fragment.path, self._kind):
            return int(fragment.count_rows())

    def use(self, names: list[str], kind: str | None) -> None:
        if self._kind == "csv" and kind:
            import pyarrow

            self._types |= {name: getattr(pyarrow, kind)() for name in names}
            self._open()

    def is_text(self, name: str) -> bool:
        return "string" in str(self._dataset.schema.field(name).type)

    def is_nested(self, name: str) -> bool:
        return hasattr(self._dataset.schema.field(name).type, "value_field")

    def _batches(self, fragment: Any, columns: list[str], n_rows: int) -> Generator[list[Any], None, None]:
        schema = self._dataset.schema
        if self._kind == "csv":
            scanner = fragment.scanner(schema=schema, columns=columns, batch_size=n_rows, batch_readahead=2)
            for batch in scanner.to_batches():
                yield batch.columns
            return
        import pyarrow

        # The scanner holds several times as much memory, and crashes on damaged Feather files.
        of_folder = self._api.get_partition_keys(fragment.partition_expression)
        opened = fragment.filesystem.open_input_file(fragment.path)
        read = _parquet if self._kind == "parquet" else _feather
        for batch in read(opened, [name for name in columns if name not in of_folder], n_rows):
            yield [
                pyarrow.repeat(pyarrow.scalar(of_folder[name], schema.field(name).type), batch.num_rows)
                if name in of_folder else batch.column(name).cast(schema.field(name).type) for name in columns
            ]

    def _next(self, fragment: Any, batches: Any) -> Any:
        with _naming(fragment.path, self._kind):
            return next(batches, None)

    def row_bytes(self, columns: list[str]) -> float:
        """Of the first rows."""
        for fragment in self._fragments()[:1]:
            first = self._next(fragment, self._batches(fragment, columns, 1000))
            if first is not None and len(first[0]):
                return float(sum(column.nbytes for column in first) / len(first[0]))
        return 8.0 * len(columns)

    def read(self, columns: list[str], n_rows: int) -> Generator[_Piece, None, None]:
        for fragment in self._fragments():
            row, pieces = 0, self._batches(fragment, columns, n_rows)
            while (arrays := self._next(fragment, pieces)) is not None:
                yield _Piece(fragment.path, row, arrays)
                row += len(arrays[0])


def _parquet(opened: Any, columns: list[str], n_rows: int) -> Generator[Any, None, None]:
    from pyarrow import parquet

    with parquet.ParquetFile(opened, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True) as file:
        yield from file.iter_batches(n_rows, columns=_present(columns, file.schema_arrow.names))


def _feather(opened: Any, columns: list[str], n_rows: int) -> Generator[Any, None, None]:
    from pyarrow import ipc

    names = ipc.open_file(opened).schema.names
    places = [names.index(name) for name in _present(columns, names)]
    file = ipc.open_file(opened, options=ipc.IpcReadOptions(included_fields=places))
    for i in range(file.num_record_batches):
        batch = file.get_batch(i)
        batch.validate(full=True)                              # pyarrow does not look where strings lie
        yield from (batch.slice(start, n_rows) for start in range(0, batch.num_rows, n_rows))


def _present(columns: list[str], names: list[str]) -> list[str]:
    """The columns, of which a file has to have all; where none is wanted, one that says how many rows there are."""
    missing = [name for name in columns if name not in names]
    if missing:
        raise KeyError(f"it has no column {missing[0]}")
    return columns or names[:1]


@contextmanager
def _naming(file: str, kind: str) -> Generator[None, None, None]:
    """pyarrow's errors, with the file."""
    import pyarrow

    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except (pyarrow.ArrowException, OSError, KeyError, TypeError, UnicodeDecodeError) as error:
        # Its first row is the header.
        text = str(error.args[0] if isinstance(error, KeyError) else error).splitlines()[0]
        text = re.sub(r"Row #(\d+)", lambda found: f"row {int(found[1]) - 2}", text)
        text = text.partition("file?: ")[2] or text
        raise ValueError(f"{file} cannot be read as {kind}: {text}") from None


class _Npy:
    """An array, mapped into memory."""

    def __init__(self, path: str) -> None:
        self.name = path
        self.names = [os.path.basename(path).removesuffix(".npy")]
        with open(path, "rb") as file:
            self._shape, fortran, self._dtype, self._offset = _header(file.read(_HEADER), path)
            size = os.fstat(file.fileno()).st_size
        self._order: Any = "F" if fortran else "C"
        self.n_rows = self._shape[0]
        _check_size(path, self._shape, self._dtype, size - self._offset)

    def use(self, names: list[str], kind: str | None) -> None:
        pass

    def is_text(self, name: str) -> bool:
        return self._dtype.kind == "U"

    def is_nested(self, name: str) -> bool:
        return len(self._shape) > 1 and self._shape[1] > 1

    def row_bytes(self, columns: list[str]) -> int:
        return _row_bytes(self._shape, self._dtype)

    def read(self, columns: list[str], n_rows: int) -> Generator[_Piece, None, None]:
        with open(self.name, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        array: np.ndarray = np.ndarray(self._shape, self._dtype, mapped, self._offset, order=self._order)
        for row in range(0, self.n_rows, n_rows):
            # Pages that have been read stay in the system's cache, but do not count as this process's.
            mapped.madvise(mmap.MADV_DONTNEED)
            yield _Piece(self.name, row, [array[row : row + n_rows]])


class _Npz:
    """Arrays in a zip archive, which are unpacked as they are read: never more than a batch, whatever the archive says."""

    def __init__(self, path: str) -> None:
        self.name, self._arrays = path, dict[str, Any]()
        with self._telling(), zipfile.ZipFile(path) as archive:
            self.names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        if not self.names:
            raise ValueError(f"{path} holds no arrays")
        self.n_rows: int | None = None

    @contextmanager
    def _telling(self) -> Generator[None, None, None]:
        try:
            yield
        except (FileNotFoundError, PermissionError):
            raise
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, OverflowError, UnicodeDecodeError) as error:
            raise ValueError(f"{self.name} is damaged, or no .npz file: {error}") from None

    def _array(self, name: str) -> Any:
        """Shape, dtype and where the values start."""
        if name not in self._arrays:
            text = f"{name} in {self.name}"
            with self._telling(), zipfile.ZipFile(self.name) as archive, archive.open(f"{name}.npy") as file:
                shape, fortran, dtype, offset = _header(file.read(_HEADER), text)
                size = archive.getinfo(f"{name}.npy").file_size
            _check_size(text, shape, dtype, size - offset)
            if fortran and len(shape) == 2 and min(shape) > 1:
                raise ValueError(f"{text} is in Fortran order, whose rows an archive cannot give one by one; use C order")
            self._arrays[name] = shape, dtype, offset
        return self._arrays[name]

    def use(self, names: list[str], kind: str | None) -> None:
        lengths = {name: self._array(name)[0][0] for name in {*names, *self._arrays}}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the arrays in {self.name} have different numbers of rows: {lengths}")
        (self.n_rows,) = set(lengths.values())

    def is_text(self, name: str) -> bool:
        return bool(self._array(name)[1].kind == "U")

    def is_nested(self, name: str) -> bool:
        shape = self._array(name)[0]
        return len(shape) > 1 and shape[1] > 1

    def row_bytes(self, columns: list[str]) -> int:
        return sum(_row_bytes(*self._array(name)[:2]) for name in columns)

    def read(self, columns: list[str], n_rows: int) -> Generator[_Piece, None, None]:
        with self._telling(), zipfile.ZipFile(self.name) as archive:
            files = [archive.open(f"{name}.npy") for name in columns]
            for file, name in zip(files, columns, strict=True):
                file.read(self._array(name)[2])
            total = self._array(columns[0])[0][0]
            for row in range(0, total, n_rows):
                n, pieces = min(n_rows, total - row), []
                for file, name in zip(files, columns, strict=True):
                    shape, dtype, _ = self._array(name)
                    width = _row_bytes(shape, dtype)
                    data = file.read(n * width)
                    if len(data) < n * width:
                        raise ValueError(f"{name} in {self.name} is truncated: it ends in row {row + len(data) // width}")
                    pieces.append(np.frombuffer(data, dtype).reshape(n, *shape[1:]))
                if row + n == total and any(file.read(1) for file in files):   # which also looks at the checksums
                    raise ValueError(f"{self.name} holds more than its headers say")
                yield _Piece(self.name, row, pieces)


def _header(start: bytes, name: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Of an .npy file its shape, whether it is in Fortran order, its dtype, and where the values start."""
    file = io.BytesIO(start)
    versions = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        if version not in versions:
            raise ValueError(f"version {version} of the format")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape, fortran, dtype = versions[version](file)
    except Exception as error:
        raise ValueError(f"{name} cannot be read as .npy: {str(error).splitlines()[0]}") from None
    if dtype.kind not in "biufUSmM" or dtype.itemsize == 0:
        raise ValueError(f"{name} has the dtype {dtype}; expected numbers or strings")
    if len(shape) not in (1, 2) or min(shape) < 0 or 0 in shape[1:]:
        raise ValueError(f"{name} has the shape {shown(shape)}; expected rows, or rows and columns")
    return shape, fortran, dtype, file.tell()


def _row_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return math.prod(shape[1:]) * dtype.itemsize


def _check_size(name: str, shape: tuple[int, ...], dtype: np.dtype, size: int) -> None:
    expected = shape[0] * _row_bytes(shape, dtype)
    if size != expected:
        what = "truncated, or has a wrong header" if size < expected else "longer than its header says"
        raise ValueError(f"{name} is {what}: shape {shown(shape)} of {dtype} is {expected:,} bytes, but {size:,} follow")
