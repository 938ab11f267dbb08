"""Bad input to log_loss: exception, warning and text beside scikit-learn's, run on the same input."""

import warnings

import ml_dtypes
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import sklearn.metrics

import xentc
from xentc import log_loss

P = np.array([[0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
P3 = np.array([[0.2, 0.5, 0.3], [0.6, 0.2, 0.2], [0.5, 0.25, 0.25]])
Y = [0, 1, 1]
NAN, INF = np.nan, np.inf

# Positional and keyword arguments; the same for both libraries.
SAME = {
    "normalize": ((Y, P), {"normalize": "yes"}),
    "y_true scalar": ((3, P), {}),
    "y_true string": (("abc", P), {}),
    "y_true sparse": ((scipy.sparse.csr_array(np.eye(3)), P), {}),
    "y_true set": (({0, 1, 2}, P), {}),
    "y_true dict": (({0: 1, 1: 2, 2: 3}, P), {}),
    "y_proba scalar": ((Y, 0.5), {}),
    "y_proba of no dimension": ((Y, np.array(0.5)), {}),
    "y_proba missing": ((Y,), {}),
    "y_pred": ((Y,), {"y_pred": P}),
    "y_pred string": ((Y,), {"y_pred": "x"}),
    "y_pred scalar": ((Y,), {"y_pred": 3}),
    "y_pred and y_proba": ((Y, P), {"y_pred": P}),
    "sample_weight scalar": ((Y, P), {"sample_weight": 2.0}),
    "labels string": ((Y, P), {"labels": "ab"}),
    "labels set": ((Y, P), {"labels": {0, 1}}),
    # 1
    "nan": ((Y, P * NAN), {}),
    "inf": ((Y, np.where(P > 0.7, INF, P)), {}),
    "inf float32": ((Y, np.where(P > 0.7, INF, P).astype("f4")), {}),
    "inf float16": ((Y, np.where(P > 0.7, INF, P).astype("f2")), {}),
    "nan before all else": (([0], np.full((3, 2), NAN)), {"sample_weight": [1]}),
    "nan in a frame": ((Y, pd.DataFrame({"a": pd.array([0.1, 0.2, None], dtype="Float64"), "b": [0.9, 0.8, 0.7]})), {}),
    "null in polars": ((Y, pl.DataFrame({"a": [0.1, 0.2, 0.3], "b": [0.9, 0.8, None]})), {}),
    "complex": ((Y, P + 0j), {}),
    "three dimensions": ((Y, P[:, :, None]), {}),
    "y_true of three dimensions": ((np.reshape(Y, (3, 1, 1)), P), {}),
    "y_true of three dimensions and labels": ((np.reshape(Y, (3, 1, 1)), P), {"labels": [0, 1]}),
    "sparse y_proba": ((Y, scipy.sparse.csr_array(P)), {}),
    "not numbers": ((Y, np.array(["a", "b", "c"])), {}),
    "objects that are not numbers": ((Y, np.array([["a", "b"]] * 3, object)), {}),
    "ragged": ((Y, [[0.1, 0.9], [0.2], [0.3, 0.7]]), {}),
    "no samples": (([], []), {}),
    "no samples of two classes": (([], np.empty((0, 2))), {}),
    "no features": (([0, 1], np.empty((2, 0))), {}),
    # 2, 3
    "above 1": ((Y, P * 2), {}),
    "above 1 float32": ((Y, (P * 2).astype("f4")), {}),
    "above 1 float16": ((Y, (P * 2).astype("f2")), {}),
    "below 0": ((Y, -P), {}),
    "above and below": ((Y, np.array([[2, -1], [0.5, 0.5], [0.5, 0.5]])), {}),
    "range before lengths": (([0], P * 2), {}),
    # 4
    "lengths": (([0, 1], P), {}),
    "length of weights": ((Y, P), {"sample_weight": [1, 2]}),
    "a row instead of a column": (([[0, 1, 1]], P), {}),
    # 5
    "weight nan": ((Y, P), {"sample_weight": [1, 2, NAN]}),
    "weight inf": ((Y, P), {"sample_weight": [1, 2, INF]}),
    "weight inf float32": ((Y, P), {"sample_weight": np.array([1, 2, INF], "f4")}),
    "weight column": ((Y, P), {"sample_weight": [[1], [2], [3]]}),
    "weight of three dimensions": ((Y, P), {"sample_weight": [[[1]], [[2]], [[3]]]}),
    "weight all zero": ((Y, P), {"sample_weight": [0, 0, 0]}),
    "weight all zero, sum": ((Y, P), {"sample_weight": [0, 0, 0], "normalize": False}),
    "weights cancel": ((Y, P), {"sample_weight": [1, -1, 0]}),
    "weights cancel, sum": ((Y, P), {"sample_weight": [1, -1, 0], "normalize": False}),
    "weight complex": ((Y, P), {"sample_weight": [1, 2, 3j]}),
    "weights before labels": (([0.5, 1, 2], P), {"sample_weight": [1, 2, NAN]}),
    "label nan": (([0, 1, NAN], P), {}),
    "label inf": (([0, 1, INF], P), {}),
    "fractional": ((np.array([0, 0.5, 1]), P), {}),
    "fractional list": (([0, 0.5, 1], P), {}),
    "soft": (([[0.2, 0.8], [0.1, 0.9], [1, 0.0]], P), {}),
    "several outputs": (([[1, 2], [3, 4], [5, 6]], P), {}),
    "bytes": (([b"a", b"b", b"a"], P), {}),
    "None among strings": ((np.array(["a", None, "b"], object), P), {}),
    "None in a list of strings": ((["a", None, "b"], P), {}),
    "strings and numbers": ((["a", 1, "b"], P), {}),
    "strings and numbers as objects": ((np.array(["a", 1, "b"], object), P), {}),
    "numbers as objects": ((np.array(Y, object), P), {}),
    "labels of three dimensions": ((np.zeros((3, 1, 1)), P), {}),
    "sequences of sequences": (([[1], [0, 1], []], P), {}),
    "complex labels": (([0, 1j, 1], P), {}),
    "missing category": ((pd.Categorical(["a", None, "b"]), P), {}),
    "missing Int64": ((pd.array([0, None, 1], dtype="Int64"), P), {}),
    "missing string": ((pd.Series(["a", None, "b"], dtype="string"), P), {}),
    "empty labels": ((Y, P), {"labels": []}),
    "labels nan": ((Y, P), {"labels": [0, NAN]}),
    "labels fractional": ((Y, P), {"labels": [0, 0.5]}),
    "labels bytes": ((Y, P), {"labels": [b"a"]}),
    "indicator with labels": (([[0, 1], [1, 0], [1, 0]], P), {"labels": [0, 1]}),
    # 6
    "labels unsorted": ((Y, P), {"labels": [1, 0]}),
    "labels unsorted strings": ((["a", "b", "b"], P), {"labels": ["b", "a"]}),
    "labels unsorted array": ((Y, P), {"labels": np.array([1, 0])}),
    "labels unsorted and undeclared": (([0, 1, 5], P), {"labels": [1, 0]}),
    # 7
    "undeclared": (([0, 1, 5], P), {"labels": [0, 1]}),
    "undeclared array": ((np.array([0, 1, 5]), P), {"labels": np.array([0, 1])}),
    "undeclared series": ((pd.Series([0, 1, 7]), P), {"labels": [0, 1]}),
    "undeclared string": ((["a", "b", "c"], P), {"labels": ["a", "b"]}),
    "undeclared fraction": (([0, 1, 0.5], P), {"labels": [0, 1]}),
    "undeclared nan": (([0, 1, NAN], P), {"labels": [0, 1]}),
    "strings beside numbers": ((["0", "0", "0"], P), {"labels": [0, 1]}),
    "numbers beside strings": (([1, 1, 1], P), {"labels": ["0", "1"]}),
    # 8, 9
    "one label": (([1, 1, 1], P), {}),
    "one string label": ((["a"] * 3, P), {}),
    "one label given": (([1, 1, 1], P), {"labels": [1]}),
    # 10
    "sums": ((Y, P * 0.9), {}),
    "sums float32 fine": ((Y, (P * (1 + 3e-4)).astype("f4")), {}),
    "sums float32 off": ((Y, (P * (1 - 4e-4)).astype("f4")), {}),
    "sums just fine": ((Y, P * (1 - 2.4e-8)), {}),
    "sums just off": ((Y, P * (1 - 2.6e-8)), {}),
    "sums, then classes": (([0, 1, 2], P * 0.9), {}),
    # 11
    "classes": (([0, 1, 2], P), {}),
    "classes of strings": ((["a", "b", "c"], P), {}),
    "classes given": ((Y, P), {"labels": [0, 1, 2]}),
    "classes of a vector": (([0, 1, 2], [0.1, 0.2, 0.3]), {}),
    "classes of an indicator": (([[0, 1, 0], [1, 0, 0], [1, 0, 0]], P), {}),
    "classes of booleans": ((pd.array([True, False, True], dtype="boolean"), P3), {}),
    "classes of Int64": ((pd.array(Y, dtype="Int64"), P3), {}),
    "classes of uint64": ((np.array([2**63, 1, 1], np.uint64), P3), {}),
    "classes of polars": ((pl.Series(["a", "b", "c"]), P), {}),
}


def outcome(function, args, options):
    """What a call does: its warnings, and its value or its exception."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            result = function(*args, **options)
        except Exception as error:
            # scikit-learn's InvalidParameterError is a plain ValueError here.
            kind = "ValueError" if type(error).__name__ == "InvalidParameterError" else type(error).__name__
            result = (kind, str(error).replace("d2_log_loss_score", "log_loss"))
    told = [(w.category.__name__, str(w.message)) for w in seen if w.category is not RuntimeWarning]
    return result, told


def same(ours, theirs):
    if isinstance(theirs[0], float):
        return ours[0] == pytest.approx(theirs[0], rel=1e-6, nan_ok=True) and ours[1] == theirs[1]
    return ours == theirs


@pytest.mark.parametrize("case", SAME)
def test_log_loss(case):
    args, options = SAME[case]
    ours, theirs = outcome(xentc.log_loss, args, options), outcome(sklearn.metrics.log_loss, args, options)
    assert same(ours, theirs), f"\nours:   {ours}\ntheirs: {theirs}"


@pytest.mark.parametrize("case", [c for c in SAME if c not in ("normalize", "y_proba missing") and "sum" not in c])
def test_d2_log_loss_score(case):
    args, options = SAME[case]
    ours = outcome(xentc.d2_log_loss_score, args, options)
    theirs = outcome(sklearn.metrics.d2_log_loss_score, args, options)
    assert same(ours, theirs), f"\nours:   {ours}\ntheirs: {theirs}"


def test_matrix():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        p = np.matrix(P)
    assert outcome(xentc.log_loss, (Y, p), {}) == outcome(sklearn.metrics.log_loss, (Y, p), {})


@pytest.mark.parametrize(
    ("message", "args", "options"),
    [
        ("y_true is a masked array", (np.ma.masked_array(Y, [0, 0, 1]), P), {}),
        ("y_proba is a masked array", (Y, np.ma.masked_array(P, P > 2)), {}),
        ("sample_weight is a masked array", (Y, P), {"sample_weight": np.ma.masked_array([1, 2, 3], [0, 0, 1])}),
        (r"y_true is an indicator of the values \[2, 3\]; expected 0 and 1", ([[2, 3], [2, 3], [2, 2]], P), {}),
        (r"y_true contains values \{5\} not belonging", (np.array([[0], [1], [5]]), P), {"labels": [0, 1]}),
    ],
)
def test_differences_on_purpose(message, args, options):
    with pytest.raises(ValueError, match=message):
        xentc.log_loss(*args, **options)


def test_weights_that_are_objects():
    for function in (xentc.log_loss, xentc.d2_log_loss_score):
        want = function(Y, P, sample_weight=[1, 2, 3])
        assert function(Y, P, sample_weight=np.array([1, 2.0, np.float32(3)], object)) == want


def test_weights_that_are_no_numbers():
    with pytest.raises(TypeError, match="sample_weight has dtype <U1; expected real numbers"):
        xentc.log_loss(Y, P, sample_weight=["1", "2", "3"])
    with pytest.raises(TypeError, match="sample_weight holds objects that are not real numbers"):
        xentc.log_loss(Y, P, sample_weight=[1, 2, {}])


def test_integers_that_no_float64_holds():
    for argument, call in (("", lambda: xentc.log_loss(Y, [0.5, 0.5, 10**400])),
                           (" sample_weight", lambda: xentc.log_loss(Y, P, sample_weight=[1, 2, 10**400]))):
        with pytest.raises(ValueError, match=f"Input{argument} contains infinity or a value too large"):
            call()


@pytest.mark.parametrize("place", [0, 7, 130, 300])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("columns", [1, 2])
def test_what_no_probability_is(columns, dtype, place):
    """Wherever it stands, in a vector of probabilities or in one of two columns."""
    y = np.arange(301) % 2
    for value, message in (
        (1.5, r"y_prob contains values greater than 1: 1\.5"), (-0.25, r"y_prob contains values lower than 0: -0\.25"),
        (NAN, r"Input contains NaN\."), (INF, "Input contains infinity"), (-INF, "Input contains infinity"),
    ):
        p = np.full((301, columns), 0.5, dtype)
        p[place, -1] = value
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")                    # the rows do not sum to one
            with pytest.raises(ValueError, match=message):
                log_loss(y, p if columns == 2 else p[:, 0])


def test_positional_and_removed_arguments():
    with pytest.raises(TypeError, match="positional"):
        xentc.log_loss(Y, P, None)
    with pytest.raises(TypeError, match="eps"):
        xentc.log_loss(Y, P, eps=1e-7)


def test_logits_skip_the_checks_of_probabilities_but_not_the_others():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xentc.log_loss(Y, P * 100 - 30, from_logits=True)
    with pytest.raises(ValueError, match=r"Input contains NaN\."):
        xentc.log_loss(Y, P * NAN, from_logits=True)
    with pytest.raises(ValueError, match="different number of classes: 3 vs 2"):
        xentc.log_loss([0, 1, 2], P, from_logits=True)


@pytest.mark.parametrize("function", [xentc.log_loss, xentc.d2_log_loss_score])
def test_warnings_point_at_the_caller(function):
    with pytest.warns(UserWarning, match="do not sum to one") as seen:
        function(Y, P * 0.9)
    assert seen[0].filename == __file__
    with pytest.warns(FutureWarning) as seen:
        function(Y, y_pred=P)
    assert seen[0].filename == __file__


# ---- Columns of lists.


def kinds_of_lists(rows):
    yield pd.Series(rows)
    yield pd.Series(rows).to_numpy()
    yield pd.Series([row if row is None else np.array(row) for row in rows])
    yield pd.Series(rows, dtype=pd.ArrowDtype(pa.list_(pa.float64())))
    yield pl.Series(rows)
    yield pa.array(rows)
    yield pa.chunked_array([rows[:2], rows[2:]])
    yield pa.array([[9.0], None, *rows])[2:]
    if {len(row) for row in rows if row is not None} == {2}:
        yield pa.array(rows, pa.list_(pa.float64(), 2))
        yield pa.array([None, [None, 9], *rows], pa.list_(pa.float64(), 2))[2:]
        yield pl.Series(rows, dtype=pl.Array(pl.Float64, 2))


@pytest.mark.parametrize("function", [xentc.log_loss, xentc.log_loss_per_sample, xentc.d2_log_loss_score])
@pytest.mark.parametrize(
    ("message", "rows"),
    [
        (r"y_proba\[2\] has 1 values, but y_proba\[0\] has 2", [[0.2, 0.8], [0.6, 0.4], [0.5]]),
        (r"y_proba\[1\] has 3 values, but y_proba\[0\] has 2", [[0.2, 0.8], [0.6, None, 0.4], [0.5]]),
        (r"y_proba\[1\] is missing", [[0.2, 0.8], None, [0.5, 0.5]]),
        (r"y_proba\[0\] is missing", [None, [0.6, 0.4], [0.5, 0.5, 0.5]]),
        (r"y_proba\[1, 0\] is missing", [[0.2, 0.8], [None, 0.4], [0.5, None]]),
    ],
)
def test_lists_that_are_no_matrix(function, message, rows):
    for lists in kinds_of_lists(rows):
        with pytest.raises(ValueError, match=message):
            function(Y, lists)


@pytest.mark.parametrize(
    ("message", "lists"),
    [
        (r"y_proba\[1\] is missing \(null\); expected a value in every place", pd.Series([[0.2, 0.8], np.nan, [0.5, 0.5]])),
        (r"y_proba\[0\] is missing \(null\)", pd.Series([pd.NA, [0.2, 0.8], [0.5, 0.5]])),
        (r"y_proba\[1, 1\] is missing \(<NA>\)", pd.Series([[0.2, 0.8], [0.5, pd.NA], [0.5, 0.5]])),
        (r"y_proba\[1\] has 1 values, but y_proba\[0\] has 2", pd.Series([[0.2, 0.8], 0.5, [0.5, 0.5]])),
        (r"Found array with dim 3", pd.Series([P, P, P])),
        (r"Found array with dim 3", pl.Series(np.ones((3, 2, 2)))),
        (r"Found array with 0 feature\(s\)", pa.array([[], [], []], pa.list_(pa.float64()))),
        (r"Found array with 0 sample\(s\)", pa.array([], pa.list_(pa.float64()))),
        (r"sequence", pa.array([[[0.2, 0.8]], [[0.6, 0.4]], [[0.5, 0.5]]])),
        (r"Input contains NaN", pa.array([[0.2, 0.8], [0.5, NAN], [0.5, 0.5]])),
    ],
)
def test_other_lists_that_are_no_probabilities(message, lists):
    with pytest.raises(ValueError, match=message):
        xentc.log_loss(Y, lists)


def test_lists_of_other_things():
    with pytest.raises(TypeError, match="y_proba holds objects that are not real numbers, such as <class 'int'>"):
        xentc.log_loss(Y, pd.Series([[0.2, int]] * 3))


# ---- Columns that are the classes, in another order.

OTHER_ORDERS = {
    "strings": (["ham", "spam", "spam"], ["spam", "ham"], "['ham', 'spam']"),
    "integers": (Y, [1, 0], "[0, 1]"),
    "integers as strings": (Y, ["1", "0"], "['0', '1']"),
    "integers that strings sort otherwise": ([2, 10, 10], ["10", "2"], "['2', '10']"),
    "booleans": ([False, True, True], ["True", "False"], "['False', 'True']"),
    "floats": ([0.0, 1.0, 1.0], [1, 0], "[0.0, 1.0]"),
    "classes of labels": (["b", "b", "b"], ["b", "a"], "['a', 'b']"),
}


@pytest.mark.parametrize("case", OTHER_ORDERS)
def test_columns_in_another_order(case):
    y, columns, expected = OTHER_ORDERS[case]
    options = {"labels": ["a", "b"]} if case == "classes of labels" else {}
    frames = [pd.DataFrame(P, columns=columns), pd.DataFrame(P, columns=pd.Index(columns, dtype=object)).astype("f4")]
    if isinstance(columns[0], str):
        frames += [pl.DataFrame(P, schema=columns), pa.table(P.T.tolist(), columns)]
    for function in (xentc.log_loss, xentc.log_loss_per_sample, xentc.d2_log_loss_score):
        for frame in frames:
            with pytest.warns(UserWarning, match="taken by position") as seen:
                got = function(y, frame, **options)
            assert [str(w.message) for w in seen] == [
                f"y_proba has the columns {columns}, but they are taken by position: expected the order of the sorted "
                f"classes, {expected}"
            ]
            assert seen[0].filename == __file__
            np.testing.assert_array_equal(got, function(y, np.asarray(frame), **options), "by position")
        with pytest.warns(UserWarning, match="order of the sorted classes"):
            function(y, frames[0], from_logits=True, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            function(y, frames[0][frames[0].columns[::-1]], **options)  # by its names, in order


@pytest.mark.parametrize(
    "columns",
    [["ham", "spam"], ["no", "yes"], ["spam", "eggs"], ["spam", "spam"], [1, 0], [("spam", 1), ("ham", 1)], ["ham", pd.NA]],
)
def test_columns_of_other_names_are_not_spoken_of(columns):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xentc.log_loss(["ham", "spam", "spam"], pd.DataFrame(P, columns=columns))


def test_columns_of_an_indicator_have_no_classes_to_be_compared_with():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xentc.log_loss(pd.DataFrame([[0, 1], [1, 0], [1, 0]], columns=[1, 0]), pd.DataFrame(P, columns=[1, 0]))


def test_other_warnings_come_before_that_of_the_columns():
    _, told = outcome(xentc.log_loss, (Y, pd.DataFrame(P * 0.9, columns=[1, 0])), {"labels": [1, 0]})
    assert [text[:14] for _, text in told] == ["Labels passed ", "The y_prob val", "y_proba has th"]


def test_many_columns_do_not_fill_the_screen():
    p = pd.DataFrame(np.full((1000, 1000), 1e-3), columns=range(999, -1, -1))
    with pytest.warns(UserWarning, match="columns") as seen:
        xentc.log_loss(range(1000), p)
    assert len(str(seen[0].message)) < 400


def test_bfloat16_weights_of_log_loss():
    w = np.array([1, np.nan], ml_dtypes.bfloat16)
    with pytest.raises(ValueError, match="Input sample_weight contains NaN"):
        xentc.log_loss([0, 1], [0.2, 0.7], sample_weight=w)


@pytest.mark.parametrize("labels", [[0, 0, 1], [1, 0, 1, 0], np.array(["b", "a", "b"])])
def test_a_label_given_twice(labels):
    """scikit-learn ends in NumPy's "operands could not be broadcast together"."""
    classes = sorted(set(np.asarray(labels).tolist()))
    for call in (lambda: log_loss(classes, [0.3, 0.4], labels=labels), lambda: xentc.LogLoss(labels)):
        with pytest.raises(ValueError, match=r"labels are \[.*; expected each class once: "):
            call()
