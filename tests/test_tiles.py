"""Where the C layer puts rows: tiles, segments, scratch memory, and the sizes at which kernels change; pieces of units.c."""

import subprocess

import numpy as np
import pytest
from native import SOURCES, build_driver
from units import COMPUTED, F16, MARGIN, aligned

from xentc import _core

SEGMENT, MOST_SEGMENTS, TILE = 16384, 64, 256  # of src/memory/shapes.h

# ---- Tiles.


def tile_functions(c, dtype):
    return (c.pack_f64, c.unpack_f64) if dtype == np.float64 else (c.pack_f32, c.unpack_f32)


def numbered(lanes, k, dtype):
    return (np.arange(lanes * k) % 2039 + 1).astype(dtype).reshape(lanes, k)  # float16 holds them too


def classes_of_tiles(size):
    most = {b for b in _core.kernel_shapes(size)["classes"] if b <= 768 // size}
    return sorted({*range(1, 20), *(b + d for b in most for d in (-1, 0, 1) if 0 < b + d <= 768 // size)})


@pytest.mark.parametrize("dtype", COMPUTED, ids=str)
def test_rows_are_packed(c, dtype):
    """In every layout that has a way of its own, of all numbers of classes around the ends of shapes. No more scratch memory
    is used than there is."""
    lanes, element = 64 // dtype.itemsize, COMPUTED.index(dtype)
    pack, _ = tile_functions(c, dtype)
    for k in classes_of_tiles(dtype.itemsize):
        a = numbered(lanes, k, dtype)
        halves = a[:, ::-1].astype(np.float16)
        around = np.full((lanes, 2 * k + 3), -1, dtype)
        around[:, 1 : 2 * k + 1 : 2] = a
        order = np.random.default_rng(k).permutation(lanes)
        layouts = {
            "rows that follow": (a, element, True),
            "rows anywhere": (a, element, False),
            "side by side": (np.asfortranarray(a), element, True),
            "steps between classes": (around[:, 1 : 2 * k + 1 : 2], element, True),
            "narrow": (halves, F16, True),
            "narrow, anywhere": (halves, F16, False),
            "narrow, side by side": (np.asfortranarray(halves), F16, True),
        }
        for name, (layout, kind, even) in layouts.items():
            taken = slice(None) if even else order
            rows = np.array([row.ctypes.data for row in layout])[taken]
            room = c.scratch_of(k, dtype.itemsize)
            scratch, tile = aligned(room + 64, np.uint8), aligned(lanes * k + 1, dtype)
            scratch[room:], tile[-1] = MARGIN, -77
            class_stride = layout.strides[1] if k > 1 else layout.itemsize
            row_stride = int(rows[1] - rows[0]) if even else 0
            pack(rows, class_stride, kind, row_stride, k, scratch, tile)
            got = tile[:-1].reshape(k, lanes)
            np.testing.assert_array_equal(got, layout[taken].T.astype(dtype), err_msg=f"{name}, {k} classes")
            assert tile[-1] == -77
            assert (scratch[room:] == MARGIN).all()


@pytest.mark.parametrize("dtype", COMPUTED, ids=str)
def test_rows_are_unpacked(c, dtype):
    lanes, element = 64 // dtype.itemsize, COMPUTED.index(dtype)
    _, unpack = tile_functions(c, dtype)
    for k in classes_of_tiles(dtype.itemsize):
        a = numbered(lanes, k, dtype)
        tile = aligned(lanes * k, dtype)
        tile[:] = a.T.ravel()
        for gap in (0, 3):
            for by_rows in (True, False):  # neighbouring classes; neighbouring rows
                memory = np.full((lanes + gap + 1) * (k + gap + 1), -1, dtype)
                shape = (lanes, k) if by_rows else (k, lanes)
                pitch = (shape[1] + gap) * dtype.itemsize
                out = np.ndarray(shape, dtype, memory, dtype.itemsize, (pitch, dtype.itemsize))
                out = out if by_rows else out.T
                rows = np.array([out[i].ctypes.data for i in range(lanes)])
                unpack(tile, rows, out.strides[1], element, out.strides[0], k)
                what = f"{k} classes, {'rows' if by_rows else 'classes'} {gap} elements apart"
                np.testing.assert_array_equal(out, a, err_msg=what)
                out[...] = -1
                assert (memory == -1).all(), what


@pytest.mark.parametrize("dtype", COMPUTED, ids=str)
def test_values_past_the_caches(c, dtype):
    """From any address, of any length."""
    stream = c.stream_f64_values if dtype == np.float64 else c.stream_f32_values
    lanes = 64 // dtype.itemsize
    for start in range(lanes + 1):
        for n in (0, 1, lanes - 1, lanes, lanes + 1, 3 * lanes + 2):
            values, memory = np.arange(1, n + 1, dtype=dtype), aligned(6 * lanes, dtype)
            stream(memory[start:], values, n)
            np.testing.assert_array_equal(memory[start : start + n], values)
            assert not memory[:start].any()
            assert not memory[start + n :].any()


# ---- Segments, shapes, scratch memory.

COUNTS = 1, 2, 3, 17, MOST_SEGMENTS - 1, MOST_SEGMENTS, MOST_SEGMENTS + 1, 1000
LONG = [SEGMENT * n + d for n in COUNTS for d in (-257, -1, 0, 1, 300)]


def segments(c, n_classes, shared=0):
    """Their number, their length, the size of each, and their order."""
    length, size = np.zeros(1, np.int64), np.zeros(MOST_SEGMENTS + 1, np.int64)
    order = np.zeros(MOST_SEGMENTS + 1, np.int32)
    n = c.segments(n_classes, shared, length, size, order)
    assert not size[n:].any()
    return n, int(length[0]), size[:n], order[:n]


@pytest.mark.parametrize("shared", [0, 1])
@pytest.mark.parametrize("n_classes", [1, 2, 255, 256, 257, *LONG, 2**31 + 7, 2**40 + 1])
def test_segments_cover_a_row_once(c, n_classes, shared):
    n, length, size, order = segments(c, n_classes, shared)
    assert 1 <= n <= MOST_SEGMENTS
    assert (n == 1) == (n_classes <= SEGMENT)
    assert size.sum() == n_classes
    assert (size > 0).all()
    assert (size[:-1] == length).all()
    assert sorted(order) == list(range(n))
    if n > 1:
        assert length % TILE == 0
        assert length <= max(SEGMENT, n_classes // MOST_SEGMENTS + TILE)


def shapes(c, size):
    """By the names of `enum shape` in src/memory/shapes.h."""
    text = (SOURCES / "memory" / "shapes.h").read_text()
    block = text[text.index("enum shape {") : text.index("SHAPES,")]
    names = [line.split(",")[0].strip() for line in block.splitlines()[1:] if line.strip()]
    return {name: c.most(i, size) for i, name in enumerate(names)}


@pytest.mark.parametrize("size", [8, 4])
def test_shapes_end_where_kernels_change(c, size):
    most = shapes(c, size)
    assert sorted(set(most.values())) == _core.kernel_shapes(size)["classes"]
    narrower = shapes(c, 4)
    assert all(most[name] <= narrower[name] for name in most), "narrower elements: at least as many classes"
    for more in (0, 1):
        assert c.lanes_are_rows(most["ROWS_IN_LANES"] + more, size) == (not more)
        assert (c.exponentials_of(most["CACHED_IN_LANES"] + more, size) > 0) == (not more)
        assert (c.exponentials_of(most["ROWS_IN_LANES"] + more, size) > 0) == more
        assert (c.exponentials_of(most["CACHED_ROWS"] + more, size) > 0) == (not more)
        assert (segments(c, most["ONE_SEGMENT"] + more)[0] == 1) == (not more)
        assert (segments(c, most["EQUAL_SEGMENTS"] + more)[1] <= SEGMENT) == (not more)
        assert ((most["LESS_THAN_A_PIECE"] + more) * size < 16) == (not more)
    codes = np.arange(most["CODES_AS_FLOATS"] - 3, most["CODES_AS_FLOATS"] + 1)
    assert len(set(codes.astype(np.float32))) == len(codes), "codes are compared as float32"


@pytest.mark.parametrize("size", [8, 4])
def test_scratch_memory_is_whole_lines(c, size):
    """That of threads follows each other, so that each must end where a line does; and is never much."""
    for k in [*range(1, 1200), *LONG, 10**7]:
        room = c.scratch_of(k, size)
        assert room % 64 == 0
        assert room <= 768 * 1024
        assert c.exponentials_of(k, size) <= min(room, 1 << 19)


def test_pieces_of_scratch_memory(c):
    sizes = np.array([1, 63, 64, 65, 0, 128, 1000, 7], np.uintp)
    offset = np.empty(len(sizes) + 1, np.uintp)
    c.pieces(sizes, len(sizes), offset)
    assert offset[0] == 0
    assert (offset % 64 == 0).all()
    room = np.diff(offset)
    assert (room >= sizes).all()
    assert (room < sizes + 64).all()


@pytest.mark.slow
def test_kernels_take_no_more_scratch_memory_than_there_is(tmp_path):
    """With blocks of rows on both sides of the ends of shapes; the driver looks at what lies behind."""
    most = {b for size in (8, 4) for b in _core.kernel_shapes(size)["classes"] if b <= SEGMENT}
    shapes = [(136 if k < 300 else 9, k) for b in sorted(most) for k in (b, b + 1)] + [(2, 3 * SEGMENT)]
    name = _core.build_info()["instruction_sets"]["chosen"]
    driver = build_driver(tmp_path / "driver", name, shapes, "-O0", "-Dalways_inline=unused")
    rng = np.random.default_rng(0)
    data = b"".join(rng.standard_normal(n * k).astype(kind).tobytes() for kind in ("f8", "f4", "f2") for n, k in shapes)
    assert subprocess.run([driver], input=data, stdout=subprocess.DEVNULL, check=False).returncode == 0
