"""What fuzz_calls.py gives for an argument that means nothing: objects of every kind, damaged ones, and bad outputs."""

import decimal
import fractions
import warnings

import ml_dtypes
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import scipy.sparse


class Mischief(Exception):
    """What hostile objects raise."""


class Liar:
    """An array in name only."""

    def __init__(self, rng):
        self.rng, self.shape = rng, [(3, 4), None, "shape", (-1,)][rng.integers(4)]

    def __array__(self, dtype=None, copy=None):
        return self.answer()

    def __len__(self):
        return self.answer(length=True)

    def __repr__(self):
        if self.rng.random() < 0.2:
            raise Mischief
        return "<a liar>"

    def answer(self, length=False):
        kind = self.rng.integers(4)
        if kind == 0:
            raise Mischief
        return [None, 3, np.ones((3, 4)), np.array("x")][kind] if not length else int(self.rng.integers(0, 9))


class Interface:
    def __init__(self, a):
        self.__array_interface__ = a


ODD = [
    lambda rng: None, lambda rng: 10**400, lambda rng: -(10**5000), lambda rng: "text", lambda rng: b"bytes",
    lambda rng: 1j, lambda rng: float("nan"), lambda rng: float("inf"), lambda rng: -1, lambda rng: True, lambda rng: [],
    lambda rng: {}, lambda rng: {0: 2.0, 1: "x"}, lambda rng: {"a": 1}, lambda rng: object(), lambda rng: np.array(None),
    lambda rng: np.array([]), lambda rng: np.zeros((0, 3)), lambda rng: np.zeros((3, 0)), lambda rng: np.zeros((2, 3, 4)),
    lambda rng: [[1, 2], [3]], lambda rng: np.ma.masked_array(np.ones((3, 4)), True), lambda rng: [np.ma.masked, 1.0],
    lambda rng: np.zeros((3, 4), "M8[s]"), lambda rng: np.zeros((3, 4), "f4,i4"), lambda rng: np.ones((3, 4), complex),
    lambda rng: np.ones((3, 4), bool), lambda rng: np.full((3, 4), np.longdouble(10) ** 400),
    lambda rng: np.full((3, 4), 2**63, np.uint64), lambda rng: np.array([[10**400] * 4] * 3, object),
    lambda rng: np.array([[decimal.Decimal("1e999")] * 4] * 3, object),
    lambda rng: np.array([[fractions.Fraction(1, 3)] * 4] * 3, object), lambda rng: np.full((3, 4), "1.5"),
    lambda rng: np.full((3, 4), np.nan), lambda rng: np.full((3, 4), -np.inf), lambda rng: np.full((3, 4), 5e-324),
    lambda rng: np.array([0, 2**63], np.uint64), lambda rng: np.array([0, -(2**63), 1]),
    lambda rng: np.array([0, 1, -100]), lambda rng: np.broadcast_to(np.ones(4), (3, 4)), lambda rng: np.ones((4, 3)).T,
    lambda rng: np.ones(3, "U5"), lambda rng: pd.Series([1, None, 2], dtype="Int64"), lambda rng: pl.Series([1, None, 2]),
    lambda rng: pa.array([1.0, None]), lambda rng: pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
    lambda rng: pl.DataFrame({"a": [0.5, None], "b": [0.5, 1.0]}), lambda rng: pd.Series(["a", "b", None]),
    lambda rng: pd.Series(["a", "b", "a"], dtype="category"), lambda rng: ["a", "a\0", "b"], lambda rng: ["a", 1, None],
    lambda rng: range(3), lambda rng: iter([1, 2]), lambda rng: len, lambda rng: Liar(rng),
    lambda rng: Interface({"shape": (3,), "typestr": "<f8", "version": 3}), lambda rng: Interface({"shape": "x"}),
    lambda rng: memoryview(b"12345678"), lambda rng: np.float32(0.5), lambda rng: slice(3),
    lambda rng: np.ones((3, 4), np.float16), lambda rng: np.ones((3, 4), ml_dtypes.bfloat16),
    lambda rng: damaged_sparse(rng), lambda rng: np.lib.stride_tricks.as_strided(np.ones(8), (3, 4), (8, 8)),
    lambda rng: np.ones((1,) * 33),
]


def matrix(rng):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.matrix(rng.random((3, 4)))


ODD.append(matrix)


def odd(rng):
    return ODD[rng.integers(len(ODD))](rng)


def damaged_sparse(rng):
    a = scipy.sparse.csr_array(rng.random((3, 4)) * (rng.random((3, 4)) < 0.7))
    a = a.asformat(rng.choice(["csr", "csc", "coo", "bsr"]))
    for _ in range(rng.integers(3)):
        name = rng.choice(["indptr", "indices", "data", "coords"])
        values = np.asarray(getattr(a, name, ()))
        if not values.size or values.dtype == object:
            continue
        values = values.copy()
        how = rng.integers(4)
        if how == 0:
            values = values.ravel()[: rng.integers(values.size)]
        elif how == 1:
            values = np.append(values, rng.integers(-5, 10**9))
        else:
            values.flat[rng.integers(values.size)] = rng.choice([-1, 3, 4, 99, 2**31 - 1])
        try:
            setattr(a, name, tuple(values) if name == "coords" else values)
        except Exception:  # scipy's own checks
            continue
    return a


def output(rng, x):
    """Where results go: good, bad, or memory that is in use."""
    shape = np.shape(x) if isinstance(x, np.ndarray) else (3, 4)
    kind = rng.integers(8)
    if kind == 0 and isinstance(x, np.ndarray):
        return x
    if kind == 1 and isinstance(x, np.ndarray) and x.ndim and x.shape[0] > 1:
        return x[::-1]
    if kind == 2:
        return odd(rng)
    a = np.zeros(shape, rng.choice(["f8", "f4", "f2", ">f8", "i8", "g"]))
    if kind == 3:
        a.flags.writeable = False
    if kind == 4 and a.ndim:
        a = np.lib.stride_tricks.as_strided(a, a.shape, (0,) * a.ndim)
    return a


def spoilt(rng, data):
    """Bytes of which a few are others."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(len(data))] = rng.integers(256)
    return bytes(data)
