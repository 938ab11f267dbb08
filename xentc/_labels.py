"""Python layer: class labels to codes, with the checks and the texts that scikit-learn users know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# A table is used for integers in a range of up to so many values, or twice the count of labels: no sort then.
_TABLE = 1 << 16


@dataclass
class Labels:
    """The labels of all rows, coded as positions among the sorted classes."""

    classes: np.ndarray
    codes: np.ndarray  # int64, one a row; for an indicator the columns of its ones, row after row
    entries: np.ndarray | None = None  # for an indicator: row i has codes[entries[i]:entries[i + 1]]
    indicator: np.ndarray | None = None  # 0/1 of shape (rows, classes)


def read_labels(y_true: Any, labels: Any, told: list[str]) -> Labels:
    """y_true as codes among the classes of `labels`, or among its own; warnings to give go into `told`."""
    y = _array(y_true, "y_true")
    if labels is not None:
        return _among_given(y_true, y, labels, told)
    kind = _target_type(y_true, y)
    if kind == "indicator":
        if not np.isin(y, (0, 1)).all():
            raise ValueError(f"y_true is an indicator of the values {np.unique(y).tolist()}; expected 0 and 1")
        rows, columns = np.nonzero(y)
        entries = np.zeros(len(y) + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=len(y)), out=entries[1:])
        indicator = y.astype(np.uint8)
        return Labels(np.arange(y.shape[1]), np.ascontiguousarray(columns, np.int64), entries, indicator)
    classes, codes = _factorize(_one_dimensional(y_true, y, kind))
    if len(classes) == 1:
        raise ValueError(
            f"y_true contains only one label ({classes[0]}). Please provide the list of all expected class labels "
            "explicitly through the labels argument."
        )
    return Labels(classes, codes)


def _among_given(y_true: Any, y: np.ndarray, labels: Any, told: list[str]) -> Labels:
    given = _array(labels, "labels")
    kind = _target_type(labels, given)
    if len(given) == 0:
        raise ValueError(f"y has 0 samples: {labels!r}")
    if kind == "indicator":
        classes = np.arange(given.shape[1])
    else:
        classes, _ = _factorize(_one_dimensional(labels, given, kind))
    if not np.all(classes == labels):
        told.append(
            f"Labels passed were {labels}. But this function assumes labels are ordered lexicographically. Pass the "
            f"ordered labels={classes.tolist()} and ensure that the columns of y_prob correspond to this ordering."
        )
    found, codes = _factorize(y.ravel())
    declared = np.isin(found, given)
    if not declared.all():
        try:
            undeclared = set(y_true) - set(labels)
        except TypeError:  # rows of a column vector do not hash
            undeclared = set(found[~declared].tolist())
        raise ValueError(f"y_true contains values {undeclared} not belonging to the passed labels {labels}.")
    if len(classes) == 1:
        raise ValueError(f"The labels array needs to contain at least two labels, got {classes}.")
    kind = _target_type(y_true, y)
    if kind == "indicator":
        raise ValueError("The object was not fitted with multilabel input.")
    if kind == "unknown":
        raise ValueError("The type of target data is not known")
    return Labels(classes, np.searchsorted(classes, found).astype(np.int64)[codes])


def _array(y: Any, name: str) -> np.ndarray:
    """Labels as an ndarray; pandas' nullable integers and booleans as those, or as floats with NaN for the missing."""
    if isinstance(y, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; expected plain labels: drop the masked ones first")
    if not (isinstance(y, Sequence) or hasattr(y, "__array__")) or isinstance(y, str):
        raise ValueError(f"Expected array-like (array or non-string sequence), got {y!r}")
    dtype = getattr(y, "dtype", None)
    plain = getattr(dtype, "numpy_dtype", None)
    if isinstance(plain, np.dtype) and plain.kind in "biuf":
        if y.isna().any():
            return y.to_numpy(dtype=np.float64, na_value=np.nan)
        return y.to_numpy(dtype=plain)
    try:
        a = np.asarray(y)
    except ValueError:  # ragged
        a = np.asarray(y, dtype=object)
    if a.dtype.kind == "T":
        a = a.astype(object)
    if a.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{a}\n")
    return a


def _target_type(y: Any, a: np.ndarray) -> str:
    """What kind of target the labels are; raises for those that nobody takes. After scikit-learn's `type_of_target`."""
    if a.ndim == 2 and a.shape[1] > 1 and a.dtype.kind in "biuf":
        low, high = (a.min(), a.max()) if a.size else (0, 0)
        if ((a == low) | (a == high)).all() and (a.dtype.kind != "f" or (low == np.trunc(low) and high == np.trunc(high))):
            return "indicator"
    first = a[0] if a.ndim and len(a) else None
    if isinstance(first, bytes):
        raise TypeError(
            "Support for labels represented as bytes is not supported. Convert the labels to a string or integer format."
        )
    if isinstance(first, Sequence) and not isinstance(first, str):
        raise ValueError(
            "You appear to be using a legacy multi-label data representation. Sequence of sequences are no longer "
            "supported; use a binary array or sparse matrix instead - the MultiLabelBinarizer transformer can convert to "
            "this format."
        )
    if a.ndim not in (1, 2):
        return "unknown"
    if a.size == 0:
        return "classes" if a.ndim == 1 else "unknown"
    if a.dtype.kind == "O" and not isinstance(a.flat[0], str):
        return "unknown"
    if a.ndim == 2 and a.shape[1] > 1:
        raise ValueError("Multioutput target data is not supported with label binarization")
    if a.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            integral = (a.astype(np.int64) == a).all()
        if not integral:
            check_finite(a, "y ")
            return "continuous"
    return "classes"


def check_finite(a: np.ndarray, name: str = "") -> None:
    """scikit-learn's message for an array with a NaN or an infinity; name ends with a space."""
    if np.isnan(a).any():
        raise ValueError(f"Input {name}contains NaN.")
    if np.isinf(a).any():
        raise ValueError(f"Input {name}contains infinity or a value too large for {a.dtype!r}.")


def _one_dimensional(y: Any, a: np.ndarray, kind: str) -> np.ndarray:
    if kind != "classes":
        raise ValueError(f"Unknown label type: {(y,)!r}")
    if a.dtype.kind == "U" and not hasattr(y, "__array__") and len({isinstance(value, str) for value in y}) > 1:
        raise ValueError(f"Mix of label input types (string and number); Got {np.unique(a)}.")
    return a.ravel()


def _factorize(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sorted distinct values, and each element's position among them."""
    if a.dtype.kind == "O":
        values = a.tolist()
        distinct = set(values)
        if not all(isinstance(value, str) for value in distinct):
            return np.unique(a, return_inverse=True)  # raises TypeError where they do not compare
        ordered = sorted(distinct)
        position = {value: i for i, value in enumerate(ordered)}
        return np.asarray(ordered), np.fromiter(map(position.__getitem__, values), np.int64, len(values))
    if a.dtype.kind in "biu" and a.size:
        low, high = int(a.min()), int(a.max())
        if high - low <= max(_TABLE, 2 * a.size) and high < 1 << 63:
            offset = a.astype(np.int64)
            offset -= low
            present = np.zeros(high - low + 1, bool)
            present[offset] = True
            return (np.flatnonzero(present) + low).astype(a.dtype), (np.cumsum(present) - 1)[offset]
    return np.unique(a, return_inverse=True)
