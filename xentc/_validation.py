"""Python layer: what the losses check of their arguments, and the messages where one does not fit."""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from xentc import _core
from xentc._arrays import (
    as_array,
    as_float64,
    classes_last,
    is_bfloat16,
    is_plain_int64,
    is_sparse,
    native,
    place,
    shown,
    to_float,
    to_float64,
)
from xentc._sparse import Entries, as_entries


def as_flag(value: Any, name: str) -> bool:
    if value is True or value is False:
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    raise TypeError(f"{name} must be True or False, got {shown(value)}")


def as_index(value: Any, name: str) -> int:
    """An integer that int64 holds."""
    if type(value) is not int:
        try:
            value = operator.index(value)
        except TypeError:
            raise TypeError(f"{name} must be an integer, got {shown(value)}") from None
    if not -(2**63) <= value < 2**63 - 1:
        raise ValueError(f"{name} is {shown(value)}; expected an integer that int64 holds")
    return value


def as_count(value: Any, name: str, least: int) -> int:
    """An integer that is `least` or more."""
    n = as_index(value, name)
    if n < least:
        raise ValueError(f"{name} is {n}; expected an integer >= {least}")
    return n


def class_axis(shape: tuple[int, ...], name: str, axis: int) -> int:
    """The class axis, counted from the front."""
    ndim = len(shape)
    if ndim == 0:
        raise ValueError(f"{name} is a scalar; expected at least one axis, that of the classes")
    position = axis if type(axis) is int and -ndim <= axis < ndim else as_index(axis, "axis")
    if not -ndim <= position < ndim:
        raise ValueError(f"axis is {position}, but {name} have {ndim} axes")
    if shape[position] == 0:
        raise ValueError(f"{name} of shape {shape} have no classes")
    return position % ndim


def as_target(
    target: Any, shape: tuple[int, ...], rows: tuple[int, ...], name: str, axis: int
) -> tuple[np.ndarray | None, Entries | None]:
    """Codes of the rows' shape or weights of the classes, classes last; or the entries of sparse ones.

    shape: that of the argument `name`, whose rows are those of all axes but `axis`.
    """
    if is_plain_int64(target) and target.shape == rows:
        return target, None                       # the quickest
    if is_sparse(target):
        return None, as_entries(target, shape, name, axis)
    a = as_array(target, "target")
    if a.shape == shape:
        if a.dtype.kind not in "biu":
            if is_bfloat16(a.dtype):
                a = a.astype(np.float32)
            elif a.dtype.kind != "f" or a.dtype.itemsize > 8:
                a = to_float64(a, "target")
        return classes_last(native(a), axis), None
    if a.shape != rows:
        swapped = f"; are {name} and target swapped?" if a.shape[:-1] == shape else ""
        raise ValueError(
            f"target has shape {a.shape}; expected {rows} (integer codes) or {shape} (probabilities) for {name} of shape "
            f"{shape}{swapped}"
        )
    if a.dtype.kind not in "iu":
        if a.size:
            _check_no_nan(a)
            raise TypeError(
                f"target has dtype {a.dtype}; expected integer codes from 0 to {shape[axis] - 1}: use target.astype(int), "
                "or np.unique(target, return_inverse=True)[1] for labels"
            )
        a = a.astype(np.int64)
    return native(a), None


def as_class_weight(x: Any, n_classes: int) -> np.ndarray:
    if isinstance(x, str):
        raise ValueError(
            f"class_weight is {x!r}; expected {n_classes} numbers. Balanced weights are "
            "len(target) / (n_classes * np.bincount(target, minlength=n_classes))"
        )
    if isinstance(x, Mapping):
        w = np.ones(n_classes)
        for key, weight in x.items():
            if not isinstance(key, (int, np.integer)) or isinstance(key, bool) or not 0 <= key < n_classes:
                raise ValueError(f"class_weight has the key {shown(key)}; expected classes from 0 to {n_classes - 1}")
            w[key] = as_number(weight, f"class_weight[{key}]", least=-sys.float_info.max)
    else:
        w = as_float64(x, "class_weight")
    if w.shape != (n_classes,):
        raise ValueError(f"class_weight has shape {w.shape}; expected ({n_classes},), one a class")
    return np.ascontiguousarray(_finite(w, "class_weight"))


def as_number(x: Any, name: str, most: float = sys.float_info.max, least: float = 0.0) -> float:
    """A finite number from `least` to `most`."""
    if type(x) is not float:
        try:
            given = x[()] if isinstance(x, np.ndarray) and x.ndim == 0 else x
            if isinstance(given, (bool, np.bool_)):
                raise TypeError
            value = to_float(given)
        except TypeError:
            raise TypeError(f"{name} must be a number, got {shown(x)}") from None
        except (ValueError, OverflowError):
            value = float("inf")
    else:
        value = x
    if not least <= value <= most:
        limits = f" from 0 to {most:g}" if most < sys.float_info.max else " >= 0" if least == 0 else ""
        expected = f"a finite number{limits}"
        raise ValueError(f"{name} is {shown(x)}; expected {expected}")
    return value


def as_weight(x: Any, shape: tuple[int, ...], name: str, of: str) -> np.ndarray:
    """Finite weights of any sign, broadcast to a shape."""
    return broadcast(_finite(as_float64(x, name), name), shape, name, of)


def broadcast(a: np.ndarray, shape: tuple[int, ...], name: str, of: str) -> np.ndarray:
    try:
        return a if a.shape == shape else np.broadcast_to(a, shape)
    except ValueError:
        raise ValueError(f"{name} has shape {a.shape}; expected one that broadcasts to {shape}, that of {of}") from None


def check_out(out: Any, name: str, like: np.ndarray, like_name: str, others: dict[str, Any]) -> bool:
    """Checks an output array, which may share memory with `like` but with no other; returns whether it is that."""
    if type(out) is not np.ndarray and (not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray)):
        raise TypeError(f"{name} must be a numpy.ndarray, got {type(out).__name__}")
    if out.shape != like.shape:
        raise ValueError(f"{name} has shape {out.shape}; expected that of {like_name}, {like.shape}")
    if out.dtype.kind != "f" and not is_bfloat16(out.dtype):
        raise TypeError(f"{name} has dtype {out.dtype}; expected a floating-point one")
    flags = out.flags
    if not flags.writeable:
        raise ValueError(f"{name} is read-only")
    if not flags.forc and _shares_elements(out):
        raise ValueError(f"{name} has strides {out.strides}: its elements share memory")
    if not _core.may_meet(out, (like, *others.values())):
        return False                              # the quickest
    for other, array in others.items():
        if array is not None and _overlap(out, array):
            raise ValueError(f"{name} shares memory with {other}")
    if not _overlap(out, like):
        return False
    same = out.ctypes.data == like.ctypes.data and out.strides == like.strides and out.dtype == like.dtype
    if not same:
        raise ValueError(f"{name} overlaps {like_name} partly; expected the same array or other memory")
    return True


def _shares_elements(a: np.ndarray) -> bool:
    extent = a.itemsize
    for step, n in sorted((abs(step), n) for step, n in zip(a.strides, a.shape, strict=True) if n > 1):
        if step < extent:
            return a.size > 0
        extent += (n - 1) * step
    return False


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    effort: Any = 10_000  # enough for any layout that slicing makes
    try:
        return bool(np.shares_memory(a, b, max_work=effort))
    except np.exceptions.TooHardError:
        return True


def _finite(w: np.ndarray, name: str) -> np.ndarray:
    good = np.isfinite(w)
    if not good.all():
        where = np.unravel_index(int(np.argmin(good)), w.shape)
        raise ValueError(f"{name}{place(where)} is {w[where]}; expected finite numbers")
    return w


def _check_no_nan(codes: np.ndarray) -> None:
    """Codes with a missing one among them have become floats with a NaN, or objects."""
    if codes.dtype.kind == "O" or (codes.dtype.kind == "f" and np.isnan(codes).any()):
        for i, code in enumerate(codes.flat):
            if code is None or type(code).__name__ == "NAType" or (isinstance(code, (float, np.floating)) and code != code):
                where = place(np.unravel_index(i, codes.shape))
                raise ValueError(f"target{where} is {code}; expected an integer code in every place")
