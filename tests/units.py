"""units.c as functions of Python, of one instruction set, and arrays for them."""

import ctypes

import ml_dtypes
import numpy as np
from native import SOURCES, build

# In the order of `enum element` in src/simd/elements.h.
FLOATS = [np.dtype(kind) for kind in ("f8", "f4", "f2", ml_dtypes.bfloat16)]
INTEGERS = [np.dtype(kind) for kind in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")]
ELEMENTS = [*FLOATS, *INTEGERS]
F64, F32, F16, BF16 = range(4)
COMPUTED = FLOATS[:2]  # what kernels compute in
MARGIN = 0xA5  # a byte that nobody writes


class Units:
    """Arguments of the functions are arrays, integers or values of ctypes."""

    def __init__(self, name, folder):
        files = [SOURCES.parent / "tests" / "units.c"]
        files += (SOURCES / name for name in ("memory/memory.c", "targets/items.c", "sums/finish.c", "sums/moments.c"))
        self.compiled = ctypes.CDLL(str(build(folder / "units.so", name, "-O1", "-shared", "-fPIC", *files)))
        for function in ("add_all", "merged"):
            getattr(self.compiled, function).restype = ctypes.c_double
        for function in ("most", "scratch_of", "exponentials_of", "code_elements"):
            getattr(self.compiled, function).restype = ctypes.c_ssize_t

    def __getattr__(self, name):
        def call(*arguments):
            return getattr(self.compiled, name)(*map(passed, arguments))

        return call


def passed(argument):
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    return ctypes.c_ssize_t(argument) if isinstance(argument, int | np.integer) else argument


def spread(a, step, offset=0):
    """Memory with a copy of each element `step` elements after the last, from an odd address; and where they begin."""
    memory = np.full(len(a) * step * a.itemsize + 160, MARGIN, np.uint8)
    start = memory.ctypes.data % 64
    view = memory[64 - start + offset :][: len(a) * step * a.itemsize]
    elements = np.ndarray(len(a), a.dtype, view, strides=(step * a.itemsize,))
    elements[...] = a
    return memory, view, elements


def aligned(n, dtype):
    memory = np.zeros(n * np.dtype(dtype).itemsize + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + n * np.dtype(dtype).itemsize].view(dtype)


def same(got, want):
    """Equal, and zeros of the same sign."""
    assert got.dtype == want.dtype
    with np.errstate(invalid="ignore"):
        got, want = got.astype(float), want.astype(float)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


def values_of(dtype, n):
    """Extremes first, then random ones."""
    rng = np.random.default_rng(n)
    if dtype in INTEGERS:
        info = np.iinfo(dtype)
        ends = [info.min, info.max, 0, 1, info.max - 1, info.max // 2 + 1]
        return np.concatenate([np.array(ends, dtype), rng.integers(info.min, info.max, n, dtype, endpoint=True)])[:n]
    info = ml_dtypes.finfo(dtype)
    ends = [0.0, -0.0, np.inf, -np.inf, np.nan, float(info.smallest_subnormal), float(info.max), -float(info.tiny)]
    return np.concatenate([ends, rng.standard_normal(n) * 10.0 ** rng.integers(-4, 4, n)])[:n].astype(dtype)
