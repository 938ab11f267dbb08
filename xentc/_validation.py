"""Python layer: arguments to arrays that the loops can read, and the messages where that cannot be."""

from __future__ import annotations

import decimal
import numbers
import sys
from typing import Any

import numpy as np


def is_sparse(x: Any) -> bool:
    """Whether x is a scipy.sparse container; a program that made one has imported the module."""
    module = sys.modules.get("scipy.sparse")
    return module is not None and module.issparse(x)


def is_array_like(x: Any) -> bool:
    """An array, sequence or the like, but no scalar, string or sparse container."""
    return (
        not is_sparse(x)
        and not np.isscalar(x)
        and any(hasattr(x, name) for name in ("__len__", "shape", "__array__"))
    )


def is_bfloat16(dtype: np.dtype) -> bool:
    return dtype.name == "bfloat16"


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
    return _aligned(_real(as_array(x, name), name).astype(np.float64, copy=False))


def as_logits(x: Any) -> np.ndarray:
    """Logits in the precision that they are computed in: float64, or float32 for narrower floats."""
    a = as_array(x, "logits")
    if a.dtype.kind == "b":
        raise TypeError("logits are booleans; expected real numbers, one score a class")
    a = _real(a, "logits")
    if a.ndim == 0:
        raise ValueError("logits is a scalar; expected at least one axis, the classes last")
    if a.shape[-1] == 0:
        raise ValueError(f"logits of shape {a.shape} have no classes")
    return _aligned(a.astype(_loaded_as(a.dtype), copy=False))


def as_target(x: Any, logits: np.ndarray) -> tuple[np.ndarray, bool]:
    """The target, and whether it is soft: of the logits' shape instead of the rows'."""
    a = as_array(x, "target")
    rows, n_classes = logits.shape[:-1], logits.shape[-1]
    if a.shape == logits.shape:
        if a.dtype.kind in "biu":
            return _native(a), True
        a = _real(a, "target")
        return _aligned(a.astype(_loaded_as(a.dtype), copy=False)), True
    if a.shape != rows:
        raise ValueError(
            f"target has shape {a.shape}; expected {rows} (integer codes) or {logits.shape} (probabilities) "
            f"for logits of shape {logits.shape}"
        )
    if a.dtype.kind not in "iu":
        if a.size:
            raise TypeError(
                f"target has dtype {a.dtype}; expected integer codes from 0 to {n_classes - 1}: use target.astype(int), or "
                f"np.unique(target, return_inverse=True)[1] for labels"
            )
        a = a.astype(np.int64)
    return _native(a), False


def _loaded_as(dtype: np.dtype) -> type:
    """float32 holds every value of the narrower floats; all other real numbers are float64."""
    small = is_bfloat16(dtype) or (dtype.kind == "f" and dtype.itemsize <= 4)
    return np.float32 if small else np.float64


def as_class_weight(x: Any, n_classes: int) -> np.ndarray:
    if isinstance(x, str):
        raise ValueError(
            f"class_weight is {x!r}; expected {n_classes} numbers. Balanced weights are "
            "len(target) / (n_classes * np.bincount(target, minlength=n_classes))"
        )
    w = as_float64(x, "class_weight")
    if w.shape != (n_classes,):
        raise ValueError(f"class_weight has shape {w.shape}; expected ({n_classes},), one a class")
    return np.ascontiguousarray(_not_negative(w, "class_weight"))


def as_sample_weight(x: Any, rows: tuple[int, ...]) -> np.ndarray:
    w = _not_negative(as_float64(x, "sample_weight"), "sample_weight")
    return broadcast(w, rows, "sample_weight", "the rows")


def broadcast(a: np.ndarray, shape: tuple[int, ...], name: str, of: str) -> np.ndarray:
    try:
        return np.broadcast_to(a, shape)
    except ValueError:
        raise ValueError(f"{name} has shape {a.shape}; expected one that broadcasts to {shape}, that of {of}") from None


def check_out(out: Any, logits: np.ndarray, others: dict[str, np.ndarray], name: str = "out_grad") -> bool:
    """Checks an output array; returns whether it is the logits themselves."""
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a numpy.ndarray, got {type(out).__name__}")
    if out.shape != logits.shape:
        raise ValueError(f"{name} has shape {out.shape}; expected that of logits, {logits.shape}")
    if out.dtype.kind != "f" and not is_bfloat16(out.dtype):
        raise TypeError(f"{name} has dtype {out.dtype}; expected a floating-point one")
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")
    if any(step == 0 and n > 1 for step, n in zip(out.strides, out.shape, strict=True)):
        raise ValueError(f"{name} has a stride of 0: its elements share memory")
    for other, array in others.items():
        if _overlap(out, array):
            raise ValueError(f"{name} shares memory with {other}")
    if not _overlap(out, logits):
        return False
    same = (
        out.__array_interface__["data"] == logits.__array_interface__["data"]
        and out.strides == logits.strides
        and out.dtype == logits.dtype
    )
    if not same:
        raise ValueError(f"{name} overlaps logits partly; expected the same array or other memory")
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


def _native(a: np.ndarray) -> np.ndarray:
    return _aligned(a if a.dtype.isnative else a.astype(a.dtype.newbyteorder("=")))


def _aligned(a: np.ndarray) -> np.ndarray:
    return a if a.flags.aligned else a.copy()
