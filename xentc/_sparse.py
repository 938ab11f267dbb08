"""Python layer: sparse targets, checked before anything reads through their indices."""

from __future__ import annotations

from typing import Any

import numpy as np

from xentc._arrays import as_float64

Entries = tuple[np.ndarray, np.ndarray, np.ndarray]  # indptr, indices, data: int64, int64, float64


def as_entries(target: Any, shape: tuple[int, ...], name: str, axis: int) -> Entries:
    """The entries of a sparse target of the shape of the argument `name`, row after row, the classes of a row ascending."""
    if len(shape) != 2 or axis != 1 or target.shape != shape:
        raise ValueError(
            f"target is sparse, of shape {target.shape}; expected that of {name}, {shape}, of two axes with the classes last"
        )
    # scipy reads through the indices of these when it converts them, and believes them.
    if target.format in ("csr", "csc", "bsr"):
        n_rows, n_columns = _blocks(target)
        _check_compressed(target, *((n_columns, n_rows) if target.format == "csc" else (n_rows, n_columns)))
    if target.format != "csr":
        target = target.tocoo()
        if hasattr(target, "coords") and len(target.coords) != 2:          # scipy 1.13 and later
            raise ValueError(f"target has {len(target.coords)} index arrays; expected two, of rows and of columns")
        rows, classes, values = np.asarray(target.row), np.asarray(target.col), np.asarray(target.data)
        if rows.ndim != 1 or rows.shape != classes.shape or rows.shape != values.shape:
            raise ValueError(
                f"target has row indices of shape {rows.shape}, column indices of shape {classes.shape} and values of shape "
                f"{values.shape}; expected as many of each"
            )
        for axis_name, indices, n in (("row", rows, shape[0]), ("column", classes, shape[1])):
            if indices.size and not (0 <= indices.min() and indices.max() < n):
                bad = int(indices[np.argmax((indices < 0) | (indices >= n))])
                raise ValueError(f"target has an entry in {axis_name} {bad}; expected {axis_name}s from 0 to {n - 1}")
        rows, classes = rows.astype(np.int64), classes.astype(np.int64)
        ascending = False
    else:
        rows, classes = np.repeat(np.arange(shape[0]), np.diff(target.indptr)), target.indices.astype(np.int64, copy=False)
        # A flag of scipy's says so too, but nobody keeps it up to date when the indices change.
        ascending = bool(np.all((np.diff(classes) > 0) | (np.diff(rows) > 0)))
    data = np.ascontiguousarray(as_float64(target.data, "target"))
    if not ascending:
        rows, classes, data = _sorted(rows, classes, data)
    if (data < 0).any():
        entry = int(np.argmax(data < 0))
        raise ValueError(f"target[{rows[entry]}, {classes[entry]}] is {data[entry]}; expected probabilities >= 0")
    indptr = np.zeros(shape[0] + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=shape[0]), out=indptr[1:])
    return indptr, np.ascontiguousarray(classes), data


def entries_of_rows(entries: Entries, rows: np.ndarray) -> Entries:
    """The entries of some rows, in their order."""
    indptr, classes, data = entries
    counts = np.diff(indptr)[rows]
    new = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(counts, out=new[1:])
    taken = np.repeat(indptr[rows] - new[:-1], counts) + np.arange(new[-1])
    return new, classes[taken], data[taken]


def _blocks(target: Any) -> tuple[int, int]:
    """The shape in blocks, which is what the indices of a BSR array count."""
    rows, columns = target.shape
    if target.format != "bsr":
        return rows, columns
    if target.data.ndim != 3 or 0 in target.data.shape[1:]:
        raise ValueError(f"target has data of shape {target.data.shape}; expected blocks, of three axes")
    return rows // target.data.shape[1], columns // target.data.shape[2]


def _check_compressed(target: Any, n_major: int, n_minor: int) -> None:
    indptr, indices, n = target.indptr, target.indices, len(target.data)
    if indptr.dtype.kind not in "iu" or indices.dtype.kind not in "iu":
        raise ValueError(f"target has indptr of {indptr.dtype} and indices of {indices.dtype}; expected integers")
    if indptr.shape != (n_major + 1,):
        raise ValueError(f"target has indptr of shape {indptr.shape}; expected ({n_major + 1},)")
    if indices.shape != (n,):
        raise ValueError(f"target has indices of shape {indices.shape} for {n} values; expected as many")
    if indptr[0] != 0 or indptr[-1] != n:
        raise ValueError(f"target has indptr from {indptr[0]} to {indptr[-1]}; expected from 0 to the {n} entries")
    if (indptr[1:] < indptr[:-1]).any():
        at = int(np.argmax(indptr[1:] < indptr[:-1]))
        raise ValueError(f"target has indptr[{at + 1}] = {indptr[at + 1]} after {indptr[at]}; expected ascending positions")
    if n and not (0 <= indices.min() and indices.max() < n_minor):
        at = int(np.argmax((indices < 0) | (indices >= n_minor)))
        raise ValueError(f"target has indices[{at}] = {indices[at]}; expected indices from 0 to {n_minor - 1}")


def _sorted(rows: np.ndarray, classes: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By row and class, those of one place added up, in float64 whatever they were."""
    order = np.lexsort((classes, rows))
    rows, classes, data = rows[order], classes[order], data[order]
    first = np.ones(len(rows), bool)
    first[1:] = (np.diff(rows) > 0) | (np.diff(classes) > 0)
    if first.all():
        return rows, classes, data
    (starts,) = first.nonzero()
    return rows[first], classes[first], np.add.reduceat(data, starts)
