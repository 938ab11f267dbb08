"""Python layer: which file is of which format, which of its columns mean what, and their values as arrays."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Iterable, Sequence
from os.path import commonprefix
from typing import Any

import numpy as np

from xentc._arrays import of_lists, shown
from xentc._npy import Npy, Npz
from xentc._source import Column, Piece, Source
from xentc._tables import Tables, is_text

Path = str | os.PathLike[str]
Paths = Path | Sequence[Path]

_FORMATS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".csv.gz": "csv", ".feather": "feather", ".arrow": "feather",
    ".npy": "npy", ".npz": "npz",
}

# Where there may be more labels than the target shows.
LACKING = " (give labels=, where the target lacks some)"


def open_source(paths: Any, argument: str) -> Source:
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
        return (Npy if kind == "npy" else Npz)(found[0])
    return Tables(found, str(kind))


def _format(path: str) -> str | None:
    return next((kind for suffix, kind in _FORMATS.items() if path.lower().endswith(suffix)), None)


def _format_inside(path: str) -> str | None:
    """That of a file, or of the first in a folder that has one."""
    if os.path.isdir(path):
        names = (name for _, folders, files in os.walk(path) if folders.sort() is None for name in sorted(files))
        found = next((kind for name in names if name[0] not in "._" and (kind := _format(name))), None)
        return None if found in ("npy", "npz") else found
    return _format(path) or ("parquet" if "://" in path else None)


def columns_meant(source: Source, wanted: Any, argument: str, others: list[str], single: bool = False) -> list[str]:
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
    several = [name for name in found if of_source.count(name) > 1]
    if several:
        raise ValueError(f"{source.name} has several columns {several[0]!r} ({argument})")
    if len(set(found)) < len(found):
        raise ValueError(f"{argument} names a column twice: {shown(found)}")
    if single and len(found) != 1:
        raise ValueError(f"{argument} is {shown(wanted)}; expected one of the columns of {source.name}: {shown(found)}")
    return found


def column_or_file(main: Source, what: Path | None, argument: str) -> Column | None:
    if what is None:
        return None
    if isinstance(what, str) and what in main.names:
        return Column(main, [what])
    if isinstance(what, str) and not os.path.exists(what) and not _format(what):
        raise ValueError(
            f"{main.name} has no column {what!r} ({argument}), and there is no such file; it has {shown(main.names)}"
        )
    source = open_source(what, argument)
    return Column(source, columns_meant(source, None, argument, [], single=True))


def as_target(labels: Any, target: Column) -> np.ndarray:
    """Labels as they were given; texts of integers as these, where the target holds integers."""
    given = np.asarray(labels)
    if given.dtype.kind in "UO" and are_integers(labels) and not target.source.is_text(target.names[0]):
        return np.array([int(label) for label in labels])
    return given


def are_integers(labels: Any) -> bool:
    return all(isinstance(label, str) and re.fullmatch(r"[+-]?\d{1,18}", label) for label in labels)


# Names of columns and labels

def in_order_of_labels(proba: Column, labels: list[Any]) -> list[str] | None:
    """The columns in the order of the sorted labels; None where they are not named after these.

    They are if their names are the labels behind one prefix and before one suffix: no two such cuts would match them
    differently.
    """
    names = proba.names
    if len(names) == 1:
        if not proba.is_nested:
            _check_single(proba, labels)
        return None
    if len(names) != len(labels):
        raise ValueError(f"{proba.text} are {len(names)} columns for {len(labels)} labels, {shown(labels)}{LACKING}")
    of_text = isinstance(labels[0], str)
    keys = [label if of_text else int(label) for label in labels]
    wanted, parts = set(keys), list[str]()
    for middles in _cut(names, of_text):
        if _key(middles[0], of_text) in wanted:
            columns = {_key(middle, of_text): name for middle, name in zip(middles, names, strict=True)}
            if columns.keys() == wanted:
                return [columns[key] for key in keys]
        parts += middles
    # Names that mean labels, but not all, or not letter by letter, are in an order that nobody knows.
    like = {_alike(label) for label in labels} if of_text else wanted
    parts += [word for name in _without_common_words(names) for word in _words(name)]
    if any((_alike(part) if of_text else _key(part, of_text)) in like for part in parts if part):
        raise ValueError(
            f"{proba.text} are named {shown(names)}; expected one column for each label, {shown(labels)}, named "
            "after it, or none that is"
        )
    return None


def _check_single(proba: Column, labels: list[Any]) -> None:
    """That a column that is to be the probability of the second label is not named after the first."""
    (name,) = proba.names
    if len(labels) != 2 or re.fullmatch("arr_[0-9]+", name):   # what NumPy calls the arrays of an archive
        return
    if isinstance(labels[0], str):
        first, second = (_said(_words(label), _words(name)) for label in labels)
    else:
        number = re.search(r"(-?[0-9]+)(\.0*)?$", re.sub("false$", "0", re.sub("true$", "1", name.lower())))
        value = int(number[1]) if number else None
        if value not in labels and value is not None:
            value = abs(value)                                 # behind a hyphen
        first, second = (int(value == label) for label in labels)
    if first > second:
        raise ValueError(
            f"{proba.text} is named after the first label, {labels[0]!r}; expected the probability of the second, "
            f"{labels[1]!r}, or columns of both"
        )


def _cut(names: list[str], of_text: bool) -> Iterable[list[str]]:
    """What is left of the names without something that they all begin with and something that they all end with."""
    head, tail = _common_ends(names)
    shortest = min(map(len, names))
    for i in range(len(head) + 1):
        for j in range(min(len(tail), shortest - i) + 1):
            # Numbers are not cut.
            if of_text or not (head[i - 1 : i].isdigit() or tail[len(tail) - j : len(tail) - j + 1].isdigit()):
                yield [name[i : len(name) - j] for name in names]


def _common_ends(names: list[str]) -> list[str]:
    """What all begin with, and what all end with."""
    # Of characters it is what is wanted here; ruff warns of it for paths.
    return [commonprefix([name[::step] for name in names])[::step] for step in (1, -1)]  # noqa: RUF071


def _key(text: str, of_text: bool) -> Any:
    """What a name says of a label: of numbers 1, 01, 1.0 and true are the same."""
    if of_text:
        return text
    number = re.fullmatch(r"(-?[0-9]{1,40})(\.0*)?", {"false": "0", "true": "1"}.get(text.lower(), text))
    return int(number[1]) if number else text


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


def _alike(text: str) -> str:
    """The same of texts that only case and signs tell apart."""
    return "".join(_words(text)) or text


def _said(label: list[str], words: list[str]) -> int:
    """How many words say the label; 0 if it is not said."""
    n = len(label)
    return n if any(words[i : i + n] == label for i in range(len(words))) else 0


def _without_common_words(names: list[str]) -> list[str]:
    head, tail = _common_ends(names)
    head, tail = re.sub(r"[^\W_]+$", "", head), re.sub(r"^[^\W_]+", "", tail)
    return [name[len(head) : max(len(name) - len(tail), len(head))] for name in names]


# Values


def check_no_nulls(piece: Piece, names: list[str], columns: list[Any]) -> None:
    for name, column in zip(names, columns, strict=True):
        if getattr(column, "null_count", 0):
            row = piece.row + int(np.argmax(np.asarray(column.is_null())))
            raise ValueError(f"{piece.file}, row {row}: {name} is missing (null); expected a value in every row")


def labels_of(piece: Piece, name: str, column: Any) -> np.ndarray:
    """Labels or groups, none of which is missing."""
    try:
        values = _values(column)
    except UnicodeDecodeError as error:
        raise ValueError(f"{piece.file}, row {piece.row} or one after it: {name} is no text: {error}") from None
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    missing = values != values if values.dtype.kind in "fmM" else None
    if missing is not None and missing.any():
        row = piece.row + int(np.argmax(missing))
        raise ValueError(f"{piece.file}, row {row}: {name} is {values[row - piece.row]}; expected a value in every row")
    return values


def target_of(piece: Piece, name: str, column: Any) -> np.ndarray:
    """The labels of the classes."""
    values = labels_of(piece, name, column)
    if values.dtype.kind in "mM":
        raise ValueError(f"{name} of {piece.file} has the type {values.dtype}; expected strings, integers or booleans")
    return values


def _values(column: Any) -> np.ndarray:
    """A column without nulls as an array. Each string is made once."""
    if isinstance(column, np.ndarray):
        return column
    import pyarrow as pa

    if is_text(column.type) and not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    if not pa.types.is_dictionary(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    strings = column.dictionary.to_pylist()
    values = np.array(strings, object if strings and isinstance(strings[0], str) else None)
    return values[column.indices.to_numpy(zero_copy_only=False)]


def numbers_of(piece: Piece, name: str, column: Any) -> np.ndarray:
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


def matrix_of(piece: Piece, order: list[str], columns: dict[str, Any]) -> np.ndarray:
    """Probabilities, in one array."""
    if len(order) == 1:
        (column,) = columns.values()
        if not hasattr(getattr(column, "type", None), "value_field"):
            return numbers_of(piece, order[0], column)
        try:
            return numbers_of(piece, order[0], of_lists(column, order[0]))
        except ValueError as error:
            text = re.sub(r"\[(\d+)", lambda found: f"[{piece.row + int(found[1])}", str(error))
            raise ValueError(f"{piece.file}: {text}") from None
    arrays = [numbers_of(piece, name, columns[name]) for name in order]
    if any(a.ndim > 1 for a in arrays):
        raise ValueError(f"{shown(order)} of {piece.file} are matrices; expected one, or columns")
    dtype = np.result_type(*arrays)
    matrix = np.empty((len(piece), len(order)), dtype if dtype.kind == "f" else np.float64, order="F")
    for j, a in enumerate(arrays):
        matrix[:, j] = a
    return matrix
