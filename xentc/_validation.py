"""Python layer: arguments to arrays that the loops can read, and the messages where that cannot be."""

from __future__ import annotations

import decimal
import numbers
import operator
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np


def is_sparse(x: Any) -> bool:
    """Whether x is a scipy.sparse container; a program that made one has imported the module."""
    module = None if type(x) is np.ndarray else sys.modules.get("scipy.sparse")
    return module is not None and module.issparse(x)


def is_array_like(x: Any) -> bool:
    """An array, sequence or the like, but no scalar, string or sparse container."""
    return isinstance(x, np.ndarray) or (
        not is_sparse(x)
        and not np.isscalar(x)
        and any(hasattr(x, name) for name in ("__len__", "shape", "__array__"))
    )


def is_bfloat16(dtype: np.dtype) -> bool:
    return dtype.isbuiltin == 2 and dtype.name == "bfloat16"  # a user's dtype: the name alone takes a microsecond


def is_float(dtype: np.dtype) -> bool:
    return (dtype.kind == "f" and dtype.itemsize <= 8) or is_bfloat16(dtype)


def is_direct(a: np.ndarray) -> bool:
    """Whether the loops can write into floats where they lie."""
    return is_float(a.dtype) and a.dtype.isnative and a.flags.aligned


def like(x: np.ndarray, out: np.ndarray | None, result: type) -> np.ndarray:
    """A new array in x's layout for what goes into `out` at the end, or for a result."""
    if out is None and x.dtype.type is result:
        return np.empty_like(x)                   # the quickest
    dtype = np.dtype(result) if out is None or not is_float(out.dtype) else out.dtype.newbyteorder("=")
    return np.empty_like(x, dtype=dtype, subok=False)


def as_array(x: Any, name: str) -> np.ndarray:
    """x as an ndarray of whatever dtype, where that loses nothing silently."""
    if type(x) is np.ndarray:
        return x
    if isinstance(x, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; expected plain values: drop or fill the masked ones first")
    if is_sparse(x):
        raise TypeError(f"{name} is a sparse container; expected a dense array: use {name}.toarray()")
    if hasattr(x, "__cuda_array_interface__") or getattr(getattr(x, "device", None), "type", "cpu") not in ("cpu",):
        raise TypeError(f"{name} is on device {getattr(x, 'device', 'cuda')}; expected host memory: copy it there first")
    if getattr(x, "null_count", 0) and type(x).__module__.startswith("pyarrow"):
        raise ValueError(f"{name} has {x.null_count} nulls; expected a value in every place")
    try:
        return np.asarray(x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise type(error)(f"{name} cannot be read as an array: {error}") from error


def as_float64(x: Any, name: str) -> np.ndarray:
    """Real numbers as a native, aligned float64 array."""
    return native(_real(as_array(x, name), name).astype(np.float64, copy=False))


def as_floats(x: Any, name: str) -> np.ndarray:
    """Real numbers as the loops read them, in any layout: float64, or a narrower float as it is."""
    a = as_array(x, name)
    if not is_float(a.dtype):
        if a.dtype.kind == "b":
            raise TypeError(f"{name} are booleans; expected real numbers")
        a = _real(a, name).astype(np.float64)
    return native(a)


def result_type(a: np.ndarray) -> type:
    """What is computed from floats: float64 for float64, else float32."""
    return np.float64 if a.itemsize == 8 else np.float32


def classes_last(a: np.ndarray, axis: int) -> np.ndarray:
    return a if axis == a.ndim - 1 else np.moveaxis(a, axis, -1)


def raw(a: np.ndarray) -> np.ndarray:
    """Floats as buffers know them: bfloat16 as its bits."""
    return a.view(np.uint16) if is_bfloat16(a.dtype) else a


def class_axis(shape: tuple[int, ...], name: str, axis: int) -> int:
    """The class axis, counted from the front."""
    ndim = len(shape)
    if ndim == 0:
        raise ValueError(f"{name} is a scalar; expected at least one axis, that of the classes")
    try:
        position = operator.index(axis)
    except TypeError:
        raise TypeError(f"axis must be an integer, got {axis!r}") from None
    if not -ndim <= position < ndim:
        raise ValueError(f"axis is {position}, but {name} have {ndim} axes")
    if shape[position] == 0:
        raise ValueError(f"{name} of shape {shape} have no classes")
    return position % ndim


Entries = tuple[np.ndarray, np.ndarray, np.ndarray]  # of a sparse array: indptr, indices, data


def as_target(
    target: Any, shape: tuple[int, ...], rows: tuple[int, ...], name: str, axis: int
) -> tuple[np.ndarray | None, Entries | None]:
    """Codes of the rows' shape or weights of the classes, classes last; or the entries of sparse ones.

    shape: that of the argument `name`, whose rows are those of all axes but `axis`.
    """
    if is_sparse(target):
        return None, _sparse_target(target, shape, name, axis)
    a = as_array(target, "target")
    if a.shape == shape:
        if a.dtype.kind not in "biu":
            a = _real(a, "target")
            if is_bfloat16(a.dtype):
                a = a.astype(np.float32)
            elif a.dtype.kind != "f" or a.dtype.itemsize > 8:
                a = a.astype(np.float64)
        return classes_last(native(a), axis), None
    if a.shape != rows:
        raise ValueError(
            f"target has shape {a.shape}; expected {rows} (integer codes) or {shape} (probabilities) for {name} of shape "
            f"{shape}"
        )
    if a.dtype.kind not in "iu":
        if a.size:
            raise TypeError(
                f"target has dtype {a.dtype}; expected integer codes from 0 to {shape[axis] - 1}: use target.astype(int), "
                "or np.unique(target, return_inverse=True)[1] for labels"
            )
        a = a.astype(np.int64)
    return native(a), None


def _sparse_target(target: Any, shape: tuple[int, ...], name: str, axis: int) -> Entries:
    if len(shape) != 2 or axis != 1 or target.shape != shape:
        raise ValueError(
            f"target is sparse, of shape {target.shape}; expected that of {name}, {shape}, of two axes with the classes last"
        )
    csr = target.tocsr()
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    data = as_float64(csr.data, "target")
    if (data < 0).any():
        entry = int(np.argmax(data < 0))
        row = int(np.searchsorted(csr.indptr, entry, side="right")) - 1
        raise ValueError(f"target[{row}, {csr.indices[entry]}] is {data[entry]}; expected probabilities >= 0")
    return csr.indptr.astype(np.int64), csr.indices.astype(np.int64), np.ascontiguousarray(data)


def as_class_weight(x: Any, n_classes: int) -> np.ndarray:
    if isinstance(x, str):
        raise ValueError(
            f"class_weight is {x!r}; expected {n_classes} numbers. Balanced weights are "
            "len(target) / (n_classes * np.bincount(target, minlength=n_classes))"
        )
    if isinstance(x, Mapping):
        w = np.ones(n_classes)
        for key, weight in x.items():
            if not isinstance(key, (int, np.integer)) or not 0 <= key < n_classes:
                raise ValueError(f"class_weight has the key {key!r}; expected classes from 0 to {n_classes - 1}")
            w[key] = weight
    else:
        w = as_float64(x, "class_weight")
    if w.shape != (n_classes,):
        raise ValueError(f"class_weight has shape {w.shape}; expected ({n_classes},), one a class")
    return np.ascontiguousarray(_not_negative(w, "class_weight"))


def as_number(x: Any, name: str, most: float = sys.float_info.max) -> float:
    """A finite number from 0 to `most`."""
    try:
        value = float(x)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {x!r}") from None
    if not 0 <= value <= most:
        limits = ">= 0" if most == sys.float_info.max else f"from 0 to {most:g}"
        raise ValueError(f"{name} is {x!r}; expected a finite number {limits}")
    return value


def as_weight(x: Any, shape: tuple[int, ...], name: str, of: str) -> np.ndarray:
    """Finite weights >= 0, broadcast to a shape."""
    return broadcast(_not_negative(as_float64(x, name), name), shape, name, of)


def broadcast(a: np.ndarray, shape: tuple[int, ...], name: str, of: str) -> np.ndarray:
    try:
        return a if a.shape == shape else np.broadcast_to(a, shape)
    except ValueError:
        raise ValueError(f"{name} has shape {a.shape}; expected one that broadcasts to {shape}, that of {of}") from None


def check_out(out: Any, name: str, like: np.ndarray, like_name: str, others: dict[str, Any]) -> bool:
    """Checks an output array, which may share memory with `like` but with no other; returns whether it is that."""
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a numpy.ndarray, got {type(out).__name__}")
    if out.shape != like.shape:
        raise ValueError(f"{name} has shape {out.shape}; expected that of {like_name}, {like.shape}")
    if out.dtype.kind != "f" and not is_bfloat16(out.dtype):
        raise TypeError(f"{name} has dtype {out.dtype}; expected a floating-point one")
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")
    if 0 in out.strides and any(step == 0 and n > 1 for step, n in zip(out.strides, out.shape, strict=True)):
        raise ValueError(f"{name} has a stride of 0: its elements share memory")
    for other, array in others.items():
        if array is not None and _overlap(out, array):
            raise ValueError(f"{name} shares memory with {other}")
    if not _overlap(out, like):
        return False
    same = out.ctypes.data == like.ctypes.data and out.strides == like.strides and out.dtype == like.dtype
    if not same:
        raise ValueError(f"{name} overlaps {like_name} partly; expected the same array or other memory")
    return True


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    effort: Any = 10_000  # enough for any layout that slicing makes
    try:
        return bool(np.shares_memory(a, b, max_work=effort))
    except np.exceptions.TooHardError:
        return True


def _real(a: np.ndarray, name: str) -> np.ndarray:
    if a.dtype.kind in "biuf" or is_bfloat16(a.dtype):
        return a
    if a.dtype.kind == "O":
        for value in a.flat:
            if not isinstance(value, (numbers.Real, decimal.Decimal)):
                raise TypeError(f"{name} holds objects that are not real numbers, such as {value!r}")
        return a.astype(np.float64)
    raise TypeError(f"{name} has dtype {a.dtype}; expected real numbers")


def _not_negative(w: np.ndarray, name: str) -> np.ndarray:
    good = np.isfinite(w) & (w >= 0)
    if not good.all():
        where = np.unravel_index(np.argmin(good), w.shape)
        place = f"[{', '.join(map(str, where))}]" if w.ndim else ""
        raise ValueError(f"{name}{place} is {w[where]}; expected finite numbers >= 0")
    return w


def native(a: np.ndarray) -> np.ndarray:
    """The same values as loops read them: in the machine's byte order, and aligned."""
    if not a.dtype.isnative:
        a = a.astype(a.dtype.newbyteorder("="))
    return a if a.flags.aligned else a.copy(order="K")
