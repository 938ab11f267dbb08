"""Elements of all types read and written by the C layer, and vectors: pieces of units.c."""

import ctypes

import numpy as np
import pytest
from units import BF16, COMPUTED, ELEMENTS, F16, FLOATS, INTEGERS, same, spread, values_of


@pytest.mark.parametrize("element", range(len(ELEMENTS)), ids=[str(dtype) for dtype in ELEMENTS])
def test_elements_are_read(c, element):
    """One by one and in vectors, whose last one is not whole, at any address."""
    dtype = ELEMENTS[element]
    for n in (0, 1, 7, 8, 15, 16, 17, 33, 100):
        a = values_of(dtype, n)
        for step in (1, 2, 3):
            _, view, _ = spread(a, step, offset=1)
            for function, wide in ((c.read_wide, np.float64), (c.read_single, np.float32)):
                got = np.full(n + 1, 77, wide)
                function(view, step * dtype.itemsize, element, n, got)
                with np.errstate(over="ignore", invalid="ignore"):
                    same(got[:n], a.astype(wide))
                assert got[n] == 77


@pytest.mark.parametrize("element", [F16, BF16])
def test_every_half_is_read(c, element):
    halves = np.arange(1 << 16, dtype=np.uint16).view(ELEMENTS[element])
    for step in (1, 2):  # vectors, one by one
        _, view, _ = spread(halves, step)
        for function, wide in ((c.read_wide, np.float64), (c.read_single, np.float32)):
            got = np.empty(1 << 16, wide)
            function(view, 2 * step, element, 1 << 16, got)
            with np.errstate(invalid="ignore"):
                same(got, halves.astype(wide))


def stored(c, values, element, step):
    """What the element's memory holds, and that its surroundings are as they were."""
    dtype = ELEMENTS[element]
    memory, view, elements = spread(np.zeros(len(values), dtype), step, offset=1)
    want = memory.copy()
    function = c.write_wide if values.dtype == np.float64 else c.write_single
    function(view, step * dtype.itemsize, element, len(values), np.ascontiguousarray(values))
    got = elements.copy()
    elements[...] = 0
    np.testing.assert_array_equal(memory, want)
    return got


@pytest.mark.parametrize("of", COMPUTED, ids=str)
@pytest.mark.parametrize("element", range(4), ids=[str(dtype) for dtype in FLOATS])
def test_results_are_written(c, of, element):
    for n in (1, 7, 15, 16, 17, 40):
        values = values_of(of, n)
        for step in (1, 2, 3):
            with np.errstate(over="ignore"):
                # No middle of two halves is near: by way of float32 they are rounded as they are at once.
                want = values.astype(np.float32).astype(FLOATS[element]) if element else values.astype(float)
                same(stored(c, values, element, step), want)


@pytest.mark.parametrize("element", [F16, BF16])
@pytest.mark.parametrize("step", [1, 2])
def test_every_half_is_written(c, element, step):
    """As it is, and what lies between two halves to the nearest, and every NaN as one; in vectors and one by one."""
    dtype = ELEMENTS[element]
    halves = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    singles = halves.astype(np.float32)
    bits = singles.view(np.uint32)
    shift = 12 if element == F16 else 15  # of the middle between two normal ones
    around = np.concatenate([singles, *((bits + np.uint32((1 << shift) + d)).view(np.float32) for d in (-1, 0, 1))])
    with np.errstate(over="ignore", invalid="ignore"):
        want = around.astype(dtype).view(np.uint16)
    want[np.isnan(around)] = 0x7E00 if element == F16 else 0x7FC0
    np.testing.assert_array_equal(stored(c, around, element, step).view(np.uint16), want)


@pytest.mark.parametrize("element", range(4), ids=[str(dtype) for dtype in FLOATS])
def test_classes_are_gathered(c, element):
    dtype, rng = ELEMENTS[element], np.random.default_rng(0)
    a = values_of(dtype, 7 * 20).reshape(20, 7)
    code, out = rng.integers(0, 7, 20), np.full(21, 77.0)
    for layout in (a, np.asfortranarray(a), a[::-1]):
        rows = np.array([row.ctypes.data for row in layout])
        c.gather(rows, layout.strides[1], element, code, 20, out)
        same(out[:20], layout[np.arange(20), code].astype(float))
        assert out[20] == 77


@pytest.mark.parametrize("element", range(4, 12), ids=[str(dtype) for dtype in INTEGERS])
def test_codes_are_read(c, element):
    """What no int64 holds is one that is no code; whether all are below a limit, of which the first is not."""
    dtype = ELEMENTS[element]
    a = values_of(dtype, 40)
    want = np.array([min(int(v), 2**63 - 1) for v in a])
    for step in (1, 3):
        _, view, _ = spread(a, step, offset=1)
        got = np.full(41, 77)
        assert not c.codes(view, step * dtype.itemsize, element, 40, 5, got)
        np.testing.assert_array_equal(got[:40][want < 2**63 - 1], want[want < 2**63 - 1])
        beyond = got[:40][want == 2**63 - 1]
        assert ((beyond < 0) | (beyond == 2**63 - 1)).all()
        for last, inside in ((4, 1), (5, 0)):
            few = np.array([0, 3, 1, last], dtype)
            _, view, _ = spread(few, step)
            assert c.codes(view, step * dtype.itemsize, element, 4, 5, got) == inside
            assert got[:4].tolist() == few.tolist()


def test_extremes(c):
    rng, out = np.random.default_rng(0), np.empty(2, np.int64)
    for n in (1, 2, 7, 8, 9, 40):
        for x in (rng.integers(-(2**63), 2**63 - 1, n), rng.integers(5, 9, n)):
            for place in {0, n - 1, n // 2}:
                for end in (-(2**63), 2**63 - 1):
                    x[place] = end
                    c.extremes(x, n, out)
                    assert out.tolist() == [x.min(), x.max()]


# ---- Vectors.


def test_masks(c):
    """Each lane counts, alone and where it is the only one that is not set."""
    got = np.empty(256, np.int32)
    c.masks(got)
    np.testing.assert_array_equal(got & 1, np.arange(256) > 0)
    np.testing.assert_array_equal(got >> 1, np.arange(256) == 255)


@pytest.mark.parametrize("dtype", COMPUTED, ids=str)
def test_parts_of_vectors(c, dtype):
    lanes = 64 // dtype.itemsize
    a = np.arange(1, lanes + 1, dtype=dtype)
    part, some = {8: (c.part_f64, c.some_f64), 4: (c.part_f32, c.some_f32)}[dtype.itemsize]
    fill = ctypes.c_double(-5) if dtype == np.float64 else ctypes.c_float(-5)
    for function, most in ((part, lanes), (some, lanes - 1)):
        for n in range(1, most + 1):
            loaded, stored = np.full(lanes, 77, dtype), np.full(lanes, 77, dtype)
            function(a, n, fill, loaded, stored)
            np.testing.assert_array_equal(loaded, np.where(np.arange(lanes) < n, a, -5))
            np.testing.assert_array_equal(stored, np.where(np.arange(lanes) < n, a, 77))


def test_conversions_of_vectors(c):
    singles, wide = values_of(np.dtype("f4"), 16), values_of(np.dtype("f8"), 16)
    wide[9:12] = 1e39, 1 + 2.0**-24, 1 + 3 * 2.0**-24  # too large, ties
    widened, loaded, rounded = np.empty((3, 16))
    narrowed = np.empty(16, np.float32)
    c.conversions(singles, wide, widened, loaded, narrowed, rounded)
    same(widened, singles.astype(float))
    same(loaded, singles.astype(float))
    with np.errstate(over="ignore"):
        same(narrowed, wide.astype(np.float32))
        same(rounded, wide.astype(np.float32).astype(float))


def test_a_transpose_of_eight_rows(c):
    rows, columns = np.arange(64.0).reshape(8, 8), np.empty((8, 8))
    c.transposed(rows, columns)
    np.testing.assert_array_equal(columns, rows.T)
