"""Labels to classes and codes: every kind of label beside np.unique, and through log_loss beside scikit-learn."""

import threading
import warnings
from unittest import mock

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn.metrics
from depth import slow_but
from hypothesis import given, settings
from hypothesis import strategies as st

from xentc import _config, _core, _labels, d2_log_loss_score, log_loss, log_loss_per_sample
from xentc.metrics import weights_by_class

INT64 = np.iinfo(np.int64)


def codes_of(found):
    """The rows' positions among the classes, as the loops over rows look them up."""
    offset = found.target.astype(np.int64) - found.lowest
    return offset if found.positions is None else found.positions[offset]


PATCHED = threading.Lock()  # patches of several threads at once would not come off again


def check(labels):
    """What _factorize makes of labels, by a sort or a hash and on one thread or three, is what np.unique makes of them."""
    want, want_codes = np.unique(labels, return_inverse=True)
    for few, threads in ((_labels._FEW, 1), (0, 1), (0, 3)):
        with (
            PATCHED,
            mock.patch.object(_labels, "_FEW", few),
            mock.patch.object(_config, "threads_for", lambda *_, threads=threads: min(threads, max(1, len(labels)))),
        ):
            found = _labels._factorize(labels)
        np.testing.assert_array_equal(found.classes, want)
        assert found.classes.dtype.kind == ("U" if labels.dtype.kind == "O" else labels.dtype.kind)
        np.testing.assert_array_equal(codes_of(found), want_codes)
    return found


INTEGERS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]


@pytest.mark.parametrize("part", slow_but([0], range(5)))
@settings(max_examples=60, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(INTEGERS), wide=st.booleans())
def test_integers(data, dtype, wide, part):
    info = np.iinfo(dtype)
    low = data.draw(st.integers(info.min, info.max))
    high = info.max if wide else min(info.max, low + 30)
    values = data.draw(st.lists(st.integers(low, high), min_size=1, max_size=40))
    check(np.array(values, dtype))
    check(np.array(values, dtype).astype(np.dtype(dtype).newbyteorder()))
    check(np.repeat(np.array(values, dtype), 3)[::-3])


@pytest.mark.parametrize("part", slow_but([0], range(3)))
@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=30), dtype=st.sampled_from(["f2", "f4", "f8", "g"])
)
def test_integral_floats(values, dtype, part):
    with np.errstate(over="ignore"):
        check(np.array(values).astype(dtype))


@pytest.mark.parametrize("part", slow_but([0], range(5)))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_strings(data, part):
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=data.draw(st.integers(0, 20)))
    few = data.draw(st.lists(text, min_size=1, max_size=6))
    values = data.draw(st.lists(st.sampled_from(few), min_size=1, max_size=30))
    check(np.array(values))
    check(np.array(values).astype(np.array(values).dtype.newbyteorder()))
    check(np.repeat(np.array(values), 2)[::-2])
    check(np.array([str(memoryview(v.encode()), "utf-8") for v in values], object))  # equal, but not identical


@pytest.mark.parametrize("width", range(1, 12))
def test_every_character_of_a_string_counts(rng, width):
    # Widths around those that the compiler knows. Strings differ in one character; "ab" has the bytes of U+6261.
    plain = "x" * width
    several = [plain[:i] + c + plain[i + 1 :] for i in range(width) for c in "ab\u6261\U00016261"]
    several += [plain, "", "ab", "\u6261", "x" * (width // 2)]
    strings = np.array(several, f"U{width}" if width > 1 else "U2")[rng.integers(0, len(several), 700)]
    check(strings)
    check(strings.astype(object))
    fields = np.zeros(700, [("number", "i1"), ("label", strings.dtype)])
    fields["label"] = strings
    check(fields["label"])
    check(fields["label"][::-1])


def test_a_hash_that_is_nearly_full_keeps_to_its_slots(c, rng):
    for _ in range(300):
        x = rng.integers(0, 1 << 62, 7)[rng.integers(0, 7, 60)]
        slots, rows, codes = np.zeros(16, np.uint32), np.empty(7, np.int64), np.empty(60, np.uint32)
        count = c.code_elements(x, 8, 8, 60, slots, 3, 7, rows, codes)
        _, first, inverse = np.unique(x, return_index=True, return_inverse=True)
        assert rows[:count].tolist() == sorted(first.tolist())
        np.testing.assert_array_equal(x[rows[codes]], x)
        np.testing.assert_array_equal(codes, np.argsort(np.argsort(first))[inverse])
        assert not slots[8:].any(), "those of the next thread"
        assert c.code_elements(x, 8, 8, 60, np.zeros(8, np.uint32), 3, count - 1, rows, codes) == -1


@pytest.mark.parametrize("n_classes", slow_but([2, 256], [2, 254, 255, 256, 1000, 65_534, 65_536, 70_000]))
@pytest.mark.parametrize("kind", ["strings", "objects", "integers far apart"])
@pytest.mark.parametrize("order", ["shuffled", "sorted"])
def test_many_classes(n_classes, kind, order):
    rng = np.random.default_rng(n_classes)
    y = np.r_[np.arange(n_classes), rng.integers(0, n_classes, n_classes // 3)]
    y = np.sort(y) if order == "sorted" else rng.permutation(y)
    if kind == "integers far apart":
        labels = y * 2**40 - 2**50
    else:
        labels = np.char.mod("class %d", y).astype("U" if kind == "strings" else object)
    found = check(labels)
    smallest = 1 if n_classes < 256 else 2 if n_classes < 65_536 else 4
    assert found.target.dtype.itemsize == smallest


def test_integers_are_not_copied():
    for labels in (np.array([3, 5, 4, 3]), np.array([3, 90, 4], np.int8), np.array([True, False])):
        assert check(labels).target is labels
    sequence = check(np.array([7, 6, 5, 7]))
    assert (sequence.lowest, sequence.positions) == (5, None)


def test_both_zeros_are_one_class():
    assert len(check(np.array([0.0, -0.0, 1.0, -0.0])).classes) == 2


@pytest.fixture(params=[0, _labels._FEW], ids=["hash", "sort"])
def way(request, monkeypatch):
    monkeypatch.setattr(_labels, "_FEW", request.param)


def test_objects_that_are_no_plain_strings(way):
    class Odd(str):
        __slots__ = ()

    labels = np.array(["b", Odd("a"), np.str_("a"), "b"], object)
    found = _labels._factorize(labels)
    assert found.classes.tolist() == ["a", "b"]
    assert codes_of(found).tolist() == [1, 0, 0, 1]
    with pytest.raises(TypeError, match="'<' not supported between instances of"):
        _labels._factorize(np.array(["a", None, "b"], object))
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        _labels._factorize(np.array(["a", ["b"], "b"], object))


def test_items_of_no_size_and_no_items():
    check(np.zeros(3, [("empty", "U0"), ("x", "f8")])["empty"])
    for dtype in ("i8", "f8", "U3"):
        check(np.array([], dtype))


# ---- Through log_loss.


def proba(n, k):
    p = np.random.default_rng(k).uniform(0.1, 1, (n, k))
    return p / p.sum(axis=1, keepdims=True)


Y = np.array([2, 0, 1, 1, 2, 0, 0])
NAMES = np.array(["Straße", "a", "\N{GRINNING FACE} and more"])  # sorted
CASES = {
    "negative": Y - 5,
    "gaps": np.array([-3, 0, 40])[Y],
    "sparse": np.array([-(10**15), 7, 10**12])[Y],
    "extremes of int8": np.array([-128, 0, 127], np.int8)[Y],
    "extremes of int64": np.array([INT64.min, 0, INT64.max])[Y],
    "highest of int64": np.array([INT64.max - 2, INT64.max - 1, INT64.max])[Y],
    "uint64": np.array([5, 2**63, 2**64 - 1], np.uint64)[Y],
    "close uint64": Y.astype(np.uint64) + np.uint64(2**64 - 3),
    "floats": Y.astype(float),
    "halves": Y.astype(np.float16),
    "huge floats": np.array([-1e18, 0, 2.0**62])[Y],
    "zeros": np.array([-1.0, -0.0, 1.0])[Y] * np.array([1, 1, -1, 1, 1, 1, 1]) ** (Y == 1),
    "strings": NAMES[Y],
    "swapped strings": NAMES[Y].astype(">U20"),
    "swapped integers": Y.astype(">i4"),
    "strided": np.repeat(Y, 3)[::3],
    "backwards": Y[::-1].copy()[::-1],
    "column in F order": np.asfortranarray(np.c_[Y, Y])[:, :1],
    "misaligned": np.frombuffer(b"x" + Y.tobytes(), np.uint8)[1:].view(Y.dtype),
    "strided strings": np.c_[NAMES[Y], NAMES[Y]][:, 0],
    "objects": np.array([name.encode().decode() for name in NAMES[Y]], object),
    "identical objects": NAMES.astype(object)[Y],
    "strided objects": np.repeat(NAMES.astype(object)[Y], 2)[::2],
    "list of strings": NAMES[Y].tolist(),
    "category": pd.Series(NAMES[Y]).astype("category"),
    "unused categories": pd.Categorical(NAMES[Y], categories=["A", *NAMES, "z"]),
    "unsorted categories": pd.Categorical(NAMES[Y], categories=[NAMES[1], "A", NAMES[2], NAMES[0]], ordered=True),
    "categories of integers": pd.CategoricalIndex(Y - 1, categories=[9, 1, 0, -1]),
    "categories of booleans": pd.Categorical(Y == 2),
    "categories of numbers and strings": pd.Categorical(["b", 1, "b"] + ["b"] * 4, categories=[1, "b"]),
    "number first in categories": pd.Categorical([1, "b", "b"] + ["b"] * 4, categories=["b", 1]),
    "categories of dates": pd.Categorical(pd.to_datetime(["2020-01-01", "2021-01-01", "2019-01-01"])[Y]),
    "one category of two": pd.Categorical(["a"] * 7, categories=["a", "b"]),
    "missing category": pd.Categorical.from_codes([0, 1, -1, 1, 0, 1, 0], ["a", "b"]),
    "missing category of integers": pd.Categorical.from_codes([0, 1, -1, 1, 0, 1, 0], [3, 4]),
    "fractional categories": pd.Categorical(Y / 2),
}


def outcome(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scikit-learn's casts of NaN
        try:
            return function(*args, **options)
        except Exception as error:
            return type(error), str(error)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weights", [None, np.arange(1.0, 8)])
def test_as_scikit_learn(case, weights, way):
    y = CASES[case]
    p = proba(7, 2 if case == "categories of booleans" else 3)
    for ours, theirs in (
        (log_loss, sklearn.metrics.log_loss),
        (d2_log_loss_score, sklearn.metrics.d2_log_loss_score),
    ):
        got, want = outcome(ours, y, p, sample_weight=weights), outcome(theirs, y, p, sample_weight=weights)
        assert got == (want if isinstance(want, tuple) else pytest.approx(want, rel=1e-13))
    got = outcome(log_loss, y, np.log(p), from_logits=True)
    want = outcome(log_loss, y, p)
    assert got == (want if isinstance(want, tuple) else pytest.approx(want, rel=1e-13))


OTHERS = {"i": [-77, 99], "f": [-77.0, 99.0], "u": [3, 99], "b": [], "M": ["2018-01-01", "2022-01-01"], "U": ["B", "y"]}


@pytest.mark.parametrize("case", [case for case in CASES if case != "column in F order"])  # differs on purpose
def test_with_labels_given(case, way):
    y = CASES[case]
    classes = outcome(lambda: np.unique(np.asarray(y)))
    if isinstance(classes, tuple):
        return
    others = np.array(OTHERS["U" if classes.dtype.kind == "O" else classes.dtype.kind]).astype(classes.dtype)
    for labels in (classes, np.unique(np.append(classes, others)), classes[:2], classes[:1]):
        p = proba(7, max(2, len(labels)))
        got, want = (outcome(f, y, p, labels=labels) for f in (log_loss, sklearn.metrics.log_loss))
        assert got == (want if isinstance(want, tuple) else pytest.approx(want, rel=1e-13))


def test_sums_of_large_and_small_weights_are_exact():
    y = np.array([0, 1, 0, 1, 0] * 1000)
    w = np.array([1e100, 1, 1, 2**-60, -1e100] * 1000)
    of_classes = weights_by_class(_labels.read_labels(y, None, []), w, None)
    assert of_classes == [1000 << 1075, (1000 << 1075) + (1000 << 1015)]


# ---- Labels that another thread writes.


def test_labels_out_of_the_table_have_no_code():
    p = proba(4, 3)
    for dtype in INTEGERS:
        info = np.iinfo(dtype)
        for bad in (info.min, info.max, 9, 13, 15):
            y = np.array([10, 12, bad, 14], dtype)
            table = np.array([0, -1, 1, -1, 2], np.int32)
            for positions, bad_rows in ((table, (2,)), (None, (2, 3))):
                call = _core.Call(p, None, 1)
                call.set_target(y)
                call.set_labels(10, positions)
                assert call.log_loss(0.0, 1.0)[2] in bad_rows


def test_entries_out_of_the_classes_have_no_code():
    for bad in (-1, 3, INT64.min, INT64.max):
        call = _core.Call(proba(4, 3), None, 1)
        call.set_entries(np.array([0, 1, 3, 4, 4]), np.array([0, 1, bad, 2]), None)
        assert call.log_loss(0.0, 1.0)[2] == 1


def test_elements_without_a_loop():
    """Such as Python lets through by mistake are an error, not read as something else."""
    for dtype in ("c16", "M8[s]", "S3"):
        with pytest.raises((TypeError, ValueError), match=r"no loop for elements of format|cannot include dtype"):
            _core.label_range(np.zeros(3, dtype), 9, 1)


@pytest.mark.parametrize("kind", ["integers", "gaps", "strings"])
def test_labels_written_while_they_are_read(kind):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 50_000) * (7 if kind == "gaps" else 1)
    if kind == "strings":
        y = y.astype("U5")
    p = proba(len(y), 10)
    good, stop = y.copy(), threading.Event()

    def scribble():
        while not stop.is_set():
            y[::3] = 10**12 if y.dtype.kind == "i" else "other"
            y[:] = good

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        for _ in range(30):
            try:
                assert np.isfinite(log_loss(y, p))
            except ValueError as error:
                told = str(error)                 # either outcome is right
                assert "written to while log_loss read it" in told or "number of classes" in told
    finally:
        stop.set()
        writer.join()


def test_rows_of_a_large_call():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 10, 100_000)
    y[:10] = np.arange(10)
    p = proba(len(y), 10)
    want = log_loss_per_sample(y, p)
    names = np.array([f"class {i}" for i in range(10)])
    for labels in (y - 3, y * 5, y * 10**12, y.astype(float), y.astype(np.int8), names[y], names[y].astype(object)):
        np.testing.assert_array_equal(log_loss_per_sample(labels, p), want)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert log_loss(labels, p) == log_loss(y, p)


LATE = {
    "as at first": (np.arange(150_000) % 3, 0),
    "a class more": (np.arange(150_000) % 3, 9),
    "far away": (np.arange(150_000) % 3, -(2**62)),
    "sparse": (np.arange(150_000) % 3 * 1000 - 500, -500),
    "sparse, a class more": (np.arange(150_000) % 3 * 1000 - 500, 7),
    "a class first seen late": (np.arange(150_000) % 2, 2),
    "uint64": ((np.arange(150_000) % 3).astype(np.uint64), 2**64 - 1),
    "bool": (np.arange(150_000) % 2 == 0, True),
}


@pytest.mark.parametrize("labels", [None, [0, 1, 2]])
@pytest.mark.parametrize("case", LATE)
def test_what_the_last_of_many_labels_is(case, labels):
    """The first of many integers tell which labels there may be; the last one is read all the same."""
    y, last = LATE[case]
    y = y.copy()
    y[-1] = last
    n_classes = 2 if y.dtype == bool else 3
    p = np.random.default_rng(3).dirichlet(np.ones(n_classes), len(y))
    weight = np.random.default_rng(4).uniform(0.5, 2, len(y))
    def outcome(function):
        try:
            return function(y, p, sample_weight=weight, labels=labels)
        except ValueError as error:
            return str(error).split("labels")[0]

    want = outcome(sklearn.metrics.log_loss)
    assert outcome(log_loss) == (want if isinstance(want, str) else pytest.approx(want, rel=1e-12))


def test_labels_that_end_in_nul():
    y = ["a", "a\0", "a", "b"]
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2], [0.1, 0.2, 0.7]])
    want = log_loss([0, 1, 0, 2], p)
    for labels in (None, ["a", "a\0", "b"], np.array(["a", "a\0", "b"], object)):
        for same in (y, np.array(y, object), pd.Series(y), pd.Series(y, dtype="category"), pl.Series(y)):
            assert log_loss(same, p, labels=labels) == want
            assert log_loss(list(same) * 300, np.tile(p, (300, 1)), labels=labels) == pytest.approx(want, rel=1e-15)
