"""Python layer: class labels to codes, with the checks and the texts that scikit-learn users know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xentc import _config, _core
from xentc._arrays import check_no_nulls, native, of_tensor, shown

# Integers in a range of up to so many values, or a quarter of the count of labels, are looked up in a table of the range. It
# has 4 bytes a value: one a label at most.
_TABLE = 1 << 16
_INT64_MAX = (1 << 63) - 1

# Of more than twice as many integers, these first ones may show all classes.
SAMPLE = 1 << 16

# So few labels are sorted before a hash is set up and its few distinct values are.
_FEW = 256

# The dtypes of codes, smallest first, with the number of classes that each is for.
_CODES = ((np.uint8, (1 << 8) - 1), (np.uint16, (1 << 16) - 1), (np.uint32, (1 << 32) - 1))


@dataclass
class Labels:
    """The labels of all rows, as positions among the sorted classes.

    They are looked up as the loss goes through the rows: the class of row i is ``positions[target[i] - lowest]``. Integers
    are never copied or coded; strings and all others are coded once, in the smallest dtype.
    """

    classes: np.ndarray
    target: np.ndarray  # integers, one a row; for an indicator the columns of its ones, row after row
    lowest: int = 0
    positions: np.ndarray | None = None  # int32, -1 for no class; None: the class is target[i] - lowest
    entries: np.ndarray | None = None  # for an indicator: row i has target[entries[i]:entries[i + 1]]
    indicator: np.ndarray | None = None  # 0/1 of shape (rows, classes)
    guessed: bool = False  # there may be others: who looks the labels up will see

    def attach(self, call: _core.Call, to_logits: bool = False) -> None:
        """These labels are the target of the call."""
        if self.indicator is not None and to_logits:
            call.set_target(self.indicator, soft=True)
        elif self.entries is not None:
            call.set_entries(self.entries, self.target, None)
        else:
            call.set_target(self.target)
            if self.lowest or self.positions is not None:
                call.set_labels(self.lowest, self.positions)

    def rows(self, start: int, stop: int) -> Labels:
        """Those of some rows."""
        if self.entries is not None and self.indicator is not None:
            return replace(self, entries=self.entries[start : stop + 1], indicator=self.indicator[start:stop])
        return replace(self, target=self.target[start:stop])

    def codes(self) -> np.ndarray:
        """The class of each row; not of an indicator."""
        codes = np.subtract(self.target, self.lowest, dtype=np.int64)
        return codes if self.positions is None else self.positions[codes]

    def counts(self) -> np.ndarray:
        """Of the rows of each class."""
        return np.bincount(self.codes(), minlength=len(self.classes))

    def among(self, classes: np.ndarray, ranks: np.ndarray) -> Labels:
        """The same labels with other classes, where class i has become class ``ranks[i]``."""
        positions = ranks.astype(np.int32)
        if self.positions is not None:
            positions = np.append(positions, np.int32(-1))[self.positions]
        return Labels(classes, self.target, self.lowest, positions, guessed=self.guessed)


@dataclass
class GivenClasses:
    """All classes, from an argument `labels`."""

    labels: Any  # as they were given
    values: np.ndarray
    classes: np.ndarray  # sorted
    told: str | None  # what to warn of


def read_labels(y_true: Any, labels: Any, told: list[str], guess: int = 0) -> Labels:
    """y_true as codes among the classes of `labels`, or among its own; warnings to give go into `told`.

    guess: integers may be taken for labels that are among the given classes, or, if the first ones have so many distinct
    values, for labels that are among these. The pass over the rows sees if one is not.
    """
    if labels is None and type(y_true) is np.ndarray and y_true.ndim == 1 and y_true.dtype.kind in "iu" and y_true.size:
        found = _factorize(y_true, None, guess)                # the quickest
        check_several(found.classes)
        return found
    y, category = _read(y_true)
    if labels is not None:
        given = read_classes(labels)
        if given.told:
            told.append(given.told)
        return _among(y_true, y, category, given, bool(guess))
    kind = _target_type(y_true, y)
    if kind == "indicator":
        if not np.isin(y, (0, 1)).all():
            raise ValueError(f"y_true is an indicator of the values {np.unique(y).tolist()}; expected 0 and 1")
        rows, columns = np.nonzero(y)
        entries = np.zeros(len(y) + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=len(y)), out=entries[1:])
        indicator = y.astype(np.uint8)
        return Labels(np.arange(y.shape[1]), np.ascontiguousarray(columns, np.int64), entries=entries, indicator=indicator)
    found = _factorize(_one_dimensional(y_true, y, kind), category, guess)
    check_several(found.classes)
    return found


def distinct(y_true: Any) -> np.ndarray:
    """The sorted labels of y_true, of which there may be a single one."""
    y, category = _read(y_true)
    return _factorize(_one_dimensional(y_true, y, _target_type(y_true, y)), category).classes


def read_classes(labels: Any) -> GivenClasses:
    given = _array(labels, "labels")
    kind = _target_type(labels, given)
    if len(given) == 0:
        raise ValueError(f"y has 0 samples: {labels!r}")
    if kind == "indicator":
        classes = np.arange(given.shape[1])
    else:
        classes = _factorize(_one_dimensional(labels, given, kind)).classes
    if given.ndim == 1 and 1 < len(classes) < len(given):      # of one class, log_loss says so
        raise ValueError(f"labels are {shown(given.tolist())}; expected each class once: {shown(classes.tolist())}")
    told = None
    if not np.all(classes == given):
        told = (
            f"Labels passed were {labels}. But this function assumes labels are ordered lexicographically. Pass the "
            f"ordered labels={classes.tolist()} and ensure that the columns of y_prob correspond to this ordering."
        )
    return GivenClasses(labels, given, classes, told)


def read_groups(groups: Any, n_rows: int) -> Labels:
    """One label of any kind for each row."""
    a, category = _read(groups)
    if a.ndim != 1 or (category.target if category else a).shape != (n_rows,):
        shape = category.target.shape if category else a.shape
        raise ValueError(f"groups has shape {shape}; expected one label a row, ({n_rows},)")
    if _mixes(groups, a):
        raise TypeError(f"groups are strings and others: {shown(list(groups))}; expected labels that can be sorted")
    try:
        found = _factorize(a, category)
        missing = bool((found.classes[-1:] != found.classes[-1:]).any())   # NaN sorts last
    except TypeError as error:
        missing = any(value is None or value != value for value in a)
        if not missing:
            raise TypeError(f"groups are {shown(a.tolist())}; expected labels that can be sorted: {error}") from None
    if missing:
        row = next(i for i, value in enumerate(a.tolist()) if value is None or value != value)
        raise ValueError(f"groups[{row}] is missing ({a[row]}); expected a label for every row")
    return found


def check_several(classes: np.ndarray) -> None:
    """Of those that y_true has."""
    if len(classes) == 1:
        raise ValueError(
            f"y_true contains only one label ({classes[0]}). Please provide the list of all expected class labels "
            "explicitly through the labels argument."
        )


def check_two(classes: np.ndarray) -> None:
    if len(classes) == 1:
        raise ValueError(f"The labels array needs to contain at least two labels, got {classes}.")


def among_given(y_true: Any, given: GivenClasses, guess: bool) -> Labels:
    """y_true as codes among given classes."""
    return _among(y_true, *_read(y_true), given, guess)


def _among(y_true: Any, y: np.ndarray, category: Labels | None, given: GivenClasses, guess: bool) -> Labels:
    classes = given.classes
    if guess and category is None and len(classes) > 1 and (y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1)):
        found = _look_up_in(classes, y.reshape(-1))
        if found is not None:
            return found
    found = _factorize(y.reshape(-1), category)
    declared = np.isin(found.classes, given.values)
    if not declared.all():
        try:
            undeclared = set(y_true) - set(given.labels)
        except TypeError:  # rows of a column vector do not hash
            undeclared = set(found.classes[~declared].tolist())
        raise ValueError(f"y_true contains values {undeclared} not belonging to the passed labels {given.labels}.")
    check_two(classes)
    if y.ndim > 2:
        raise ValueError(f"Found array with dim {y.ndim}, while dim <= 2 is required.")
    kind = _target_type(y_true, y)
    if kind == "indicator":
        raise ValueError("The object was not fitted with multilabel input.")
    if kind == "unknown":
        raise ValueError("The type of target data is not known")
    return found.among(classes, np.searchsorted(classes, found.classes))


def _look_up_in(classes: np.ndarray, a: np.ndarray) -> Labels | None:
    """Integers as what a table of the classes says they are, unseen; None if they are none, or the table too large."""
    if not (a.dtype.kind in "biu" and a.size and classes.dtype.kind in "biu"):
        return None
    lowest, size = int(classes[0]), int(classes[-1]) - int(classes[0]) + 1
    if size > _TABLE or int(classes[-1]) >= _INT64_MAX:
        return None
    positions = None
    if size > len(classes):
        positions = np.full(size, -1, np.int32)
        positions[classes.astype(np.int64) - lowest] = np.arange(len(classes))
    return Labels(classes, native(a), lowest, positions, guessed=True)


def _read(y_true: Any) -> tuple[np.ndarray, Labels | None]:
    """y_true as an ndarray; of a pandas categorical its first label and one of each category, with the rows' categories."""
    y_true = of_tensor(y_true, "y_true")
    values = getattr(y_true, "array", y_true)  # of a Series or an Index
    if hasattr(getattr(values, "dtype", None), "categories") and hasattr(type(values), "from_codes") and len(values):
        found = _factorize(np.asarray(values.codes))
        if found.classes[0] >= 0:  # none is missing
            few = np.append(values.codes[:1], found.classes)
            return _array(type(values).from_codes(few, dtype=values.dtype), "y_true"), found
    return _array(y_true, "y_true"), None


def _array(y: Any, name: str) -> np.ndarray:
    """Labels as an ndarray; pandas' nullable integers and booleans as those, or as floats with NaN for the missing."""
    if isinstance(y, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; expected plain labels: drop the masked ones first")
    if not (hasattr(y, "__array__") or isinstance(y, Sequence)) or isinstance(y, str):
        raise ValueError(f"Expected array-like (array or non-string sequence), got {y!r}")
    dtype = getattr(y, "dtype", None)
    plain = getattr(dtype, "numpy_dtype", None)
    if isinstance(plain, np.dtype) and plain.kind in "biuf":
        if y.isna().any():
            return y.to_numpy(dtype=np.float64, na_value=np.nan)
        return y.to_numpy(dtype=plain)
    if type(y).__module__.startswith(("polars", "pyarrow")):
        check_no_nulls(y, name)
    try:
        a = np.asarray(y)
    except ValueError:  # ragged
        a = np.asarray(y, dtype=object)
    if a.dtype.kind == "U" and not isinstance(y, np.ndarray) and _some_end_in_nul(y):
        a = np.asarray(y, dtype=object)
    if a.dtype.kind == "T":
        a = a.astype(object)
    if a.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{a}\n")
    return a


def _some_end_in_nul(strings: Any) -> bool:
    """Whether NumPy's own strings would not do: they lose what they end with if that is NUL."""
    try:
        return "\0" in "".join(strings)
    except TypeError:  # not all are strings
        return any(isinstance(value, str) and value.endswith("\0") for value in strings)


def _target_type(y: Any, a: np.ndarray) -> str:
    """What kind of target the labels are; raises for those that nobody takes. After scikit-learn's `type_of_target`."""
    if a.ndim == 2 and a.shape[1] > 1 and a.dtype.kind in "biuf":
        low, high = (a.min(), a.max()) if a.size else (0, 0)
        if ((a == low) | (a == high)).all() and (a.dtype.kind != "f" or (low == np.trunc(low) and high == np.trunc(high))):
            return "indicator"
    first = a[0] if a.dtype.kind in "OS" and a.ndim and len(a) else None
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
    if a.dtype.kind == "f" and not _integral(a.reshape(-1)):
        check_finite(a, "y ")
        return "continuous"
    return "classes"


def _integral(a: np.ndarray) -> bool:
    """Whether all floats are integers that int64 holds; in blocks that stay in the cache."""
    with np.errstate(invalid="ignore"):
        blocks = (a[start : start + 8192] for start in range(0, len(a), 8192))
        return all((block.astype(np.int64) == block).all() for block in blocks)


def check_finite(a: np.ndarray, name: str = "") -> None:
    """scikit-learn's message for an array with a NaN or an infinity; name ends with a space."""
    if np.isnan(a).any():
        raise ValueError(f"Input {name}contains NaN.")
    if np.isinf(a).any():
        raise ValueError(f"Input {name}contains infinity or a value too large for {a.dtype!r}.")


def _one_dimensional(y: Any, a: np.ndarray, kind: str) -> np.ndarray:
    if kind != "classes":
        raise ValueError(f"Unknown label type: {(y,)!r}")
    if _mixes(y, a):
        raise ValueError(f"Mix of label input types (string and number); Got {np.unique(a)}.")
    return a.reshape(-1)


def _mixes(y: Any, a: np.ndarray) -> bool:
    """Whether a sequence of strings and others has become an array of strings."""
    return a.dtype.kind == "U" and not hasattr(y, "__array__") and len({issubclass(t, str) for t in set(map(type, y))}) > 1


def _factorize(a: np.ndarray, category: Labels | None = None, guess: int = 0) -> Labels:
    """The labels of an array of one dimension, with its distinct values as the classes.

    With `category` the array is what `_read` made of a categorical, and the labels are those of the categorical's rows.
    guess as in `read_labels`.
    """
    if category is not None:
        classes, ranks = _sorted(a)
        return category.among(classes, ranks[1:])
    found = None
    if a.dtype.kind in "biu" and a.size:
        a = native(a)
        sample = _look_up(a[:SAMPLE]) if guess and a.size > 2 * SAMPLE else None
        if sample is not None and len(sample.classes) == guess:
            return replace(sample, target=a, guessed=True)
        found = _look_up(a)
    if found is None and a.size > _FEW:
        found = _hash(a)
    return found or Labels(*_sorted(a))


def _look_up(a: np.ndarray) -> Labels | None:
    """Labels of integers: their range, and what is present of it; None if it is too large for a table."""
    # A million labels take half a millisecond: to wake a second thread for less gains little, and may have to wait for it.
    threads = _config.threads_for(a.size // 64, None)
    found = _core.label_range(a, max(_TABLE, a.size // 4), threads)
    if found is None:
        return None
    lowest, highest, marks = found
    if marks is None:
        classes = np.arange(lowest, highest + 1)
        return Labels(classes if a.dtype.char == "l" else classes.astype(a.dtype), a, lowest)
    (present,) = np.frombuffer(marks, np.uint8).nonzero()
    positions = np.full(len(marks), -1, np.int32)
    positions[present] = np.arange(len(present))
    return Labels((present + lowest).astype(a.dtype), a, lowest, positions)


def _hash(a: np.ndarray) -> Labels | None:
    """Labels of elements of any dtype, told apart by their bytes; of objects only if all are str. Else None."""
    strings = a.dtype.kind == "O"
    threads = 1 if strings else _config.threads_for(a.size, None)
    rows = -(-a.size // threads)  # of a thread, at most
    for dtype, most in _CODES:
        limit = min(rows, most)
        codes, first = np.empty(a.size, dtype), np.empty((threads, limit), np.int64)
        slots = np.zeros((threads, 1 << (4 * limit).bit_length()), np.uint32)
        counts = _core.code_items(a, codes, slots, first, strings=strings)
        if min(counts) >= 0:
            return _merged(a, codes, [first[t, :count] for t, count in enumerate(counts)])
        if min(counts) < -1:
            return None
    return None


def _merged(a: np.ndarray, codes: np.ndarray, first: list[np.ndarray]) -> Labels:
    """Labels of codes that each thread gave in the order of appearance; first[t] are the first rows of thread t's codes."""
    classes, ranks = _sorted(a[np.concatenate(first)])
    ranks = ranks.astype(np.int32)
    if len(first) == 1:
        return Labels(classes, codes, positions=ranks)
    starts = np.cumsum([0] + [len(rows) for rows in first[:-1]])
    smallest = next(dtype for dtype, most in _CODES if len(classes) <= most)
    merged = codes if codes.dtype == smallest else np.empty(codes.shape, smallest)
    _core.recode(codes, ranks, starts, merged)
    return Labels(classes, merged)


def _sorted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sorted distinct values, and each one's position among them."""
    if values.dtype.kind == "O":
        strings = values.tolist()
        distinct = set(strings)
        if all(isinstance(value, str) for value in distinct):
            ordered = sorted(distinct)
            position = {value: i for i, value in enumerate(ordered)}
            classes = np.asarray(ordered, dtype=object if _some_end_in_nul(ordered) else None)
            return classes, np.fromiter(map(position.__getitem__, strings), np.int64, len(strings))
    return np.unique(values, return_inverse=True)  # raises TypeError where they do not compare
