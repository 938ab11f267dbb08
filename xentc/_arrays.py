"""Python layer: arguments to arrays of numbers that the loops can read, and the messages where that cannot be."""

from __future__ import annotations

import decimal
import math
import numbers
import sys
from typing import Any

import numpy as np

_FLOAT64, _FLOAT32, _INT64 = np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.int64)


def shown(value: Any) -> str:
    """A value in a message: as Python shows it, but not for pages, and never with an error of its own."""
    try:
        text = repr(value)
    except Exception:  # an integer of thousands of digits, a __repr__ that raises
        bits = f" of {value.bit_length()} bits" if isinstance(value, int) else ""
        return f"<{type(value).__name__}{bits}>"
    return text if len(text) <= 100 else f"{text[:70]}... ({len(text)} characters)"


def place(index: Any) -> str:
    """An index in a message: "" for a scalar's."""
    return f"[{', '.join(map(str, index))}]" if len(index) else ""


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
    return (dtype.kind == "f" and 2 <= dtype.itemsize <= 8) or is_bfloat16(dtype)  # kind "f" is a float8 too


def is_plain(x: Any) -> bool:
    """Whether x is an array of float64 or float32 that the loops can read as it is."""
    return type(x) is np.ndarray and (x.dtype is _FLOAT64 or x.dtype is _FLOAT32) and x.flags.aligned


def is_plain_int64(x: Any) -> bool:
    return type(x) is np.ndarray and x.dtype is _INT64 and x.flags.aligned


def is_direct(a: np.ndarray) -> bool:
    """Whether the loops can write into floats where they lie."""
    if a.dtype is _FLOAT64:
        return a.flags.aligned                    # the quickest
    return is_float(a.dtype) and a.dtype.isnative and a.flags.aligned


def like(x: np.ndarray, out: np.ndarray | None, result: type) -> np.ndarray:
    """A new array in x's layout for what goes into `out` at the end, or for a result."""
    if out is None and x.dtype.type is result:
        return np.empty_like(x)                   # the quickest
    dtype = np.dtype(result) if out is None or not is_float(out.dtype) else out.dtype.newbyteorder("=")
    return np.empty_like(x, dtype=dtype, subok=False)


def copy_into(out: np.ndarray, result: np.ndarray) -> None:
    """Each element rounded once. What is too large for a narrower `out` becomes infinite."""
    with np.errstate(over="ignore"):
        out[...] = _with_sticky_bit(result) if is_bfloat16(out.dtype) and result.dtype == _FLOAT64 else result


def _with_sticky_bit(x: np.ndarray) -> np.ndarray:
    """float64 cut off to float32, with a last bit that says whether something was: rounding that rounds x once. ml_dtypes
    goes from float64 to bfloat16 by way of a rounded float32."""
    single = np.asarray(x.astype(np.float32))
    single = np.where(np.abs(single.astype(np.float64)) > np.abs(x), np.nextafter(single, np.float32(0)), single)
    return (single.view(np.uint32) | (single != x)).view(np.float32)


def as_array(x: Any, name: str) -> np.ndarray:
    """x as an ndarray of whatever dtype, where that loses nothing silently."""
    if type(x) is np.ndarray:
        return x
    if is_sparse(x):
        raise TypeError(f"{name} is a sparse container; expected a dense array: use {name}.toarray()")
    if _is_masked(x):
        raise ValueError(f"{name} is a masked array; expected plain values: drop or fill the masked ones first")
    if not isinstance(x, (np.ndarray, list, tuple, numbers.Number)):
        x = _of_library(x, name)
    try:
        return np.asarray(x)
    except MemoryError:
        raise
    except ValueError as error:
        raise ValueError(f"{name} cannot be read as an array: {error}") from error
    except Exception as error:
        raise TypeError(f"{name} cannot be read as an array: {error}") from error


def check_no_nulls(x: Any, name: str) -> None:
    """That a pandas, polars or Arrow container has a value in every place. NumPy would take their nulls for NaN."""
    _check_none(_nulls(x), name)


def of_lists(x: Any, name: str) -> Any:
    """A column of lists, in Arrow, polars, pandas or an array of objects, as a matrix of as many rows; all else as it is."""
    if type(x) is np.ndarray and x.dtype.kind != "O":
        return x
    column = x
    if type(x).__module__.startswith("pandas") and getattr(x, "ndim", 0) == 1 and x.dtype.kind == "O":
        column = getattr(x, "array", x).__arrow_array__() if hasattr(x.dtype, "pyarrow_dtype") else x.to_numpy()
    library = type(column).__module__.partition(".")[0]
    values = None
    if library == "pyarrow" and hasattr(getattr(column, "type", None), "value_field"):
        from pyarrow import compute

        missing, lengths, values = column.is_null(), compute.list_value_length(column), compute.list_flatten(column)
    elif library == "polars" and hasattr(getattr(column, "dtype", None), "inner"):
        lists = column.arr.to_list() if column.dtype.base_type().__name__ == "Array" else column
        missing, lengths, values = column.is_null(), lists.list.len(), column.explode()
    elif isinstance(column, np.ndarray) and column.ndim == 1 and _holds_lists(column):
        missing = [_is_missing(row) for row in column]
        lengths = [len(row) if hasattr(row, "__len__") else 1 for row in column]
    else:
        return x
    if len(column) == 0:
        return np.empty(0)
    _check_none(np.asarray(missing), name)
    lengths = np.asarray(lengths)
    ragged = lengths != lengths[0]
    if ragged.any():
        i = int(np.argmax(ragged))
        raise ValueError(f"{name}[{i}] has {lengths[i]} values, but {name}[0] has {lengths[0]}")
    if values is None:
        matrix = np.asarray(column.tolist())
        return to_float64(matrix, name) if matrix.dtype.kind == "O" else matrix
    missing = _nulls(values)
    _check_none(None if missing is None else missing.reshape(len(column), -1), name)
    flat = np.asarray(values)
    return flat.reshape(len(column), lengths[0], *flat.shape[1:])


def _holds_lists(objects: np.ndarray) -> bool:
    first: Any = next((value for value in objects if not _is_missing(value)), None)
    return np.ndim(first) > 0


def _is_missing(value: Any) -> bool:
    """Whether an object stands for a missing one, of pandas a NaN too."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value))


def _check_none(missing: np.ndarray | None, name: str) -> None:
    if missing is not None and missing.any():
        where = place(np.unravel_index(int(np.argmax(missing)), missing.shape))
        raise ValueError(f"{name}{where} is missing (null); expected a value in every place")


def as_float64(x: Any, name: str) -> np.ndarray:
    """Real numbers as a native, aligned float64 array."""
    if type(x) is np.ndarray and x.dtype.char == "d":
        return native(x)
    return native(to_float64(as_array(x, name), name))


def as_floats(x: Any, name: str) -> np.ndarray:
    """Real numbers as the loops read them, in any layout: float64, or a narrower float as it is."""
    if is_plain(x):
        return x                                  # the quickest
    a = as_array(x, name)
    if not is_float(a.dtype):
        if a.dtype.kind == "b":
            raise TypeError(f"{name} are booleans; expected real numbers")
        a = to_float64(a, name)
    return native(a)


def to_float64(a: np.ndarray, name: str) -> np.ndarray:
    """An array of real numbers in float64. A finite number that it does not hold is an error."""
    kind = a.dtype.kind
    if kind in "biu" or is_float(a.dtype):
        return a.astype(np.float64, copy=False)
    if kind == "f":
        with np.errstate(over="ignore"):
            result = a.astype(np.float64)
        lost = np.isinf(result) & np.isfinite(a)
        if lost.any():
            index = np.unravel_index(int(np.argmax(lost)), a.shape)
            raise ValueError(f"{name}{place(index)} is {a[index]!s}, which float64 does not hold")
        return result
    if kind != "O":
        raise TypeError(f"{name} has dtype {a.dtype}; expected real numbers")
    result = np.empty(a.shape)
    flat = result.reshape(-1)
    for i, value in enumerate(a.flat):
        try:
            flat[i] = to_float(value)
        except (TypeError, ValueError, OverflowError) as error:
            where = place(np.unravel_index(i, a.shape))
            if isinstance(error, OverflowError):
                raise ValueError(f"{name}{where} is {shown(value)}, which float64 does not hold") from None
            if _is_missing(value):
                raise ValueError(f"{name}{where} is missing ({value}); expected a value in every place") from None
            raise TypeError(f"{name} holds objects that are not real numbers, such as {shown(value)}") from None
    return result


def to_float(value: Any) -> float:
    """A real number as a float: TypeError for all others, OverflowError for finite ones that are too large."""
    if not isinstance(value, (numbers.Real, decimal.Decimal)):
        raise TypeError
    result = float(value)
    if math.isinf(result) and value not in (math.inf, -math.inf):
        raise OverflowError
    return result


def result_type(a: np.ndarray) -> type:
    """What is computed from floats: float64 for float64, else float32."""
    return np.float64 if a.itemsize == 8 else np.float32


def classes_last(a: np.ndarray, axis: int) -> np.ndarray:
    return a if axis == a.ndim - 1 else np.moveaxis(a, axis, -1)


def raw(a: np.ndarray) -> np.ndarray:
    """Floats as buffers know them: bfloat16 as its bits."""
    if a.dtype is _FLOAT64 or a.dtype is _FLOAT32:
        return a                                  # the quickest
    return a.view(np.uint16) if is_bfloat16(a.dtype) else a


def native(a: np.ndarray) -> np.ndarray:
    """The same values as loops read them: in the machine's byte order, and aligned."""
    if not a.dtype.isnative:
        a = a.astype(a.dtype.newbyteorder("="))
    return a if a.flags.aligned else a.copy(order="K")


def _is_masked(x: Any) -> bool:
    return isinstance(x, np.ma.MaskedArray) or (isinstance(x, (list, tuple)) and any(map(_is_masked, x)))


def _of_library(x: Any, name: str) -> Any:
    """Another library's container as one that NumPy reads in full."""
    x = of_tensor(x, name)
    check_no_nulls(x, name)
    return x


def of_tensor(x: Any, name: str) -> Any:
    """A tensor as something that NumPy reads; all else as it is."""
    if type(x) is np.ndarray:
        return x
    if hasattr(x, "__cuda_array_interface__") or getattr(getattr(x, "device", None), "type", "cpu") not in ("cpu",):
        raise TypeError(f"{name} is on device {getattr(x, 'device', 'cuda')}; expected host memory: copy it there first")
    if getattr(x, "requires_grad", False) is True:
        raise TypeError(f"{name} is a tensor that requires a gradient; expected plain values: use {name}.detach()")
    if str(getattr(x, "dtype", None)) == "torch.bfloat16":
        try:
            from ml_dtypes import bfloat16
        except ImportError:
            raise TypeError(f"{name} is a bfloat16 tensor; install ml_dtypes, or use {name}.float()") from None
        return x.view(sys.modules["torch"].int16).numpy().view(bfloat16)
    return x


def _nulls(x: Any) -> np.ndarray | None:
    """Where a pandas, polars or Arrow container has no value; None for what is none or has none."""
    library = type(x).__module__.partition(".")[0]
    if library == "polars":
        if hasattr(x, "get_columns"):
            return _beside([_nulls(column) for column in x.get_columns()], len(x))
        if x.dtype.is_nested() and x.null_count():
            return x.is_null().to_numpy()
        flat = x.explode() if x.dtype.is_nested() else x
        return flat.is_null().to_numpy().reshape(len(x), -1 if len(x) else 0).squeeze() if flat.null_count() else None
    if library == "pyarrow":
        if hasattr(x, "itercolumns"):
            return _beside([_nulls(column) for column in x.itercolumns()], len(x))
        return np.asarray(x.is_null()) if getattr(x, "null_count", 0) else None
    if library == "pandas":
        if hasattr(x, "dtypes") and hasattr(x, "columns"):
            return _beside([_nulls(x.iloc[:, i]) for i in range(x.shape[1])], len(x))
        if not isinstance(getattr(x, "dtype", None), (np.dtype, type(None))) and hasattr(x, "isna"):
            return np.asarray(x.isna())
    return None


def _beside(columns: list[np.ndarray | None], n_rows: int) -> np.ndarray | None:
    if all(column is None for column in columns):
        return None
    return np.column_stack([np.zeros(n_rows, bool) if column is None else column for column in columns])
