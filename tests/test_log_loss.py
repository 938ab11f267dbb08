"""log_loss, and d2_log_loss_score of the same calls: beside scikit-learn, of all kinds of labels and of probabilities."""

import decimal
import math
import warnings

import ml_dtypes
import mpmath as mp
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn.metrics
from depth import slow_but
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import EPS, log_loss_rows, random_proba, ulps

from xentc import cross_entropy, d2_log_loss_score, log_loss, log_loss_per_sample


@pytest.mark.parametrize("batch", slow_but(range(3), range(40)))
def test_random_valid_calls(batch):
    for case in range(50):
        check_random_call(np.random.default_rng([batch, case]))


def check_random_call(rng):
    """A call in one of the many forms that are valid, beside scikit-learn, and its rows beside mpmath."""
    n, k = int(rng.integers(2, 60)), int(rng.integers(2, 12))
    dtype = rng.choice([np.float64, np.float32])
    p = random_proba(rng, n, k, np.float64, False)
    p = np.clip(p, 1e-3, 1 - 1e-3)
    p = (p / p.sum(axis=1, keepdims=True)).astype(dtype)
    codes = rng.integers(0, k, n)
    codes[: min(n, k)] = np.arange(k)[: min(n, k)]
    given_labels = rng.random() < 0.4 or n < k
    names = rng.choice(["int", "negative", "bool", "float", "str", "object", "category", "column", "indicator", "list"])
    values = np.arange(k) * 3 - (7 if names == "negative" else 0)
    if names == "bool":
        k, codes, values = 2, codes % 2, np.array([False, True])
        codes[:2] = [0, 1]
        p = p[:, :2] / p[:, :2].sum(axis=1, keepdims=True)
    elif names == "float":
        values = values.astype(float)
    elif names in ("str", "object", "category"):
        values = np.array(sorted(f"class {i}" for i in range(k)))
    y = values[codes]
    options = {"labels": values.tolist()} if given_labels else {}
    if names == "object":
        y = y.astype(object)
    elif names == "category":
        y = pd.Series(y).astype("category")
    elif names == "column":
        y = y[:, None]
    elif names == "list":
        y = y.tolist()
    elif names == "indicator":
        y, options = np.eye(k, dtype=int)[codes], {}
    if k == 2 and rng.random() < 0.5 and names != "indicator":
        p = p[:, 1] if rng.random() < 0.5 else p[:, 1:]
    layout = rng.choice(["C", "F", "strided", "frame", "list"])
    if layout == "F":
        p = np.asfortranarray(p)
    elif layout == "strided":
        p = np.repeat(p, 2, axis=0)[::2]
    elif layout == "frame" and p.ndim == 2:
        p = pd.DataFrame(p)
    elif layout == "list":
        p = p.tolist()
    if rng.random() < 0.5:
        options["sample_weight"] = rng.uniform(0, 2, n) + 0.01
    as_double = np.asarray(p, dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # float32 rows, widened, do not sum to one as float64 should
        rows = log_loss_per_sample(y, p, labels=options.get("labels"))
        with mp.workprec(200):
            given = np.asarray(p)
            assert ulps(rows, log_loss_rows(codes, given.ravel() if given.size == n else given)).max() <= 2
        for normalize in (True, False):
            want = sklearn.metrics.log_loss(y, as_double, normalize=normalize, **options)
            got = log_loss(y, p, normalize=normalize, **options)
            assert isinstance(got, float)
            assert got == pytest.approx(want, rel=1e-12)
        want = sklearn.metrics.d2_log_loss_score(y, as_double, **options)
        assert d2_log_loss_score(y, p, **options) == pytest.approx(want, rel=1e-11, abs=1e-12)


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(2, 40), k=st.integers(2, 70), dtype=st.sampled_from([np.float64, np.float32, np.float16]),
    weights=st.booleans(), seed=st.integers(0, 2**32), extreme=st.booleans(),
)
def test_any_probabilities_against_scikit_learn(n, k, dtype, weights, seed, extreme):
    rng = np.random.default_rng(seed)
    p = random_proba(rng, n, k, dtype, extreme)
    y = rng.integers(0, k, n)
    w = rng.uniform(0.1, 2, n) if weights else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = sklearn.metrics.log_loss(y, p, labels=np.arange(k), sample_weight=w)
        got = log_loss(y, p, labels=np.arange(k), sample_weight=w)
    # scikit-learn works in the dtype of the probabilities, and takes float64's eps for a clip in that dtype.
    assert got == pytest.approx(want, rel=40 * k * float(np.finfo(dtype).eps), abs=4 * float(np.finfo(dtype).eps))


def test_multilabel_rows():
    y = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0], [1, 1, 1]])
    p = np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.2, 0.3, 0.5], [0.3, 0.3, 0.4]])
    want = -(y * np.log(p)).sum(axis=1)
    np.testing.assert_allclose(log_loss_per_sample(y, p), want, rtol=1e-15)
    assert log_loss(y, p) == pytest.approx(sklearn.metrics.log_loss(y, p), rel=1e-14)
    assert d2_log_loss_score(y, p) == pytest.approx(sklearn.metrics.d2_log_loss_score(y, p), rel=1e-13)
    np.testing.assert_allclose(log_loss_per_sample(y, np.log(p), from_logits=True), want, rtol=1e-15)
    two = np.array([[0, 1], [1, 1]])
    assert log_loss(two, [0.25, 0.5]) == pytest.approx((-math.log(0.25) - 2 * math.log(0.5)) / 2)


def test_clipping_by_the_dtype():
    for dtype, eps in EPS.items():
        worst = np.array([[1, 0], [0, 1]], dtype)
        assert log_loss([1, 0], worst) == pytest.approx(-math.log(eps), rel=1e-15)
        assert log_loss([0, 1], worst) == pytest.approx(-math.log1p(-eps), rel=1e-15)
    assert log_loss([1, 0], np.array([[1, 0], [0, 1]], ml_dtypes.bfloat16)) == pytest.approx(7 * math.log(2), rel=1e-15)


def test_probabilities_of_other_kinds():
    p = np.array([[0.25, 0.75], [0.5, 0.5], [0.875, 0.125]])
    y = [1, 0, 0]
    want = log_loss(y, p)
    assert log_loss(y, p.astype(str)) == want
    assert log_loss(y, p.astype(object)) == want
    assert log_loss(y, p.astype(np.longdouble)) == want
    assert log_loss(y, p.astype(">f8")) == want
    assert log_loss(y, pd.DataFrame(p, dtype="Float64")) == want
    assert log_loss(y, pl.DataFrame(p)) == want
    assert log_loss([1, 0, 0], np.array([1, 0, 0])) == pytest.approx(2.0**-52, rel=1e-9)
    read_only = np.frombuffer(p.tobytes()).reshape(p.shape)
    assert log_loss(y, read_only) == want


ROWS = np.random.default_rng(3).dirichlet(np.ones(3), 9)


def arrow(p, kind, *size):
    return pa.array(p.tolist(), kind(pa.from_numpy_dtype(p.dtype), *size))


LISTS = {
    "pyarrow list": lambda p: arrow(p, pa.list_),
    "pyarrow large list": lambda p: arrow(p, pa.large_list),
    "pyarrow fixed": lambda p: arrow(p, pa.list_, 3),
    "pyarrow chunks": lambda p: pa.chunked_array([arrow(part, pa.list_, 3) for part in (p[:2], p[2:2], p[2:])]),
    "polars List": lambda p: pl.Series(p).arr.to_list(),
    "polars Array": pl.Series,
    "polars chunks": lambda p: pl.concat([pl.Series(p[:4]), pl.Series(p[4:])], rechunk=False),
    "pandas pyarrow": lambda p: pd.Series(pd.arrays.ArrowExtensionArray(arrow(p, pa.list_))),
    "pandas fixed": lambda p: pd.Series(pd.arrays.ArrowExtensionArray(arrow(p, pa.list_, 3)), index=range(9, 0, -1)),
    "pandas arrays": lambda p: pd.Series(list(p)),
    "objects": lambda p: pd.Series(list(p)).to_numpy(),
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_column_of_lists_is_a_matrix(kind, dtype):
    p, y = ROWS.astype(dtype), [0, 1, 2] * 3
    column = LISTS[kind](p)
    assert len(column) == 9
    for rows in (slice(None), slice(3, 9), slice(2, 8), slice(0, 1)):
        lists = column.iloc[rows] if isinstance(column, pd.Series) else column[rows]
        for function in (log_loss, log_loss_per_sample) + (d2_log_loss_score,) * (rows != slice(0, 1)):
            np.testing.assert_array_equal(
                function(y[rows], lists, labels=[0, 1, 2]), function(y[rows], p[rows], labels=[0, 1, 2])
            )
            function(y[rows], lists, labels=[0, 1, 2], from_logits=True)


def test_lists_of_all_kinds_of_numbers():
    p = np.array([[0.25, 0.75], [0.5, 0.5], [0.875, 0.125]])
    want = log_loss([1, 0, 0], p)
    for lists in (p.tolist(), list(map(tuple, p)), [p[0], p[1].tolist(), p[2].astype("f4")], p.astype(str).tolist()):
        assert log_loss([1, 0, 0], pd.Series(lists)) == want
    assert log_loss([1, 0, 0], pd.Series([[decimal.Decimal(value) for value in row] for row in p])) == want
    assert log_loss([1, 0], pa.array([[0, 1], [1, 0]])) == log_loss([1, 0], [[0, 1], [1, 0]])
    assert log_loss([1, 0], pa.array([[0.25], [0.5]])) == log_loss([1, 0], [0.25, 0.5])


@pytest.mark.parametrize("dtype", ["f8", "f4", "Float64", "double[pyarrow]", object])
def test_a_series_of_numbers_is_a_vector(dtype):
    assert log_loss([1, 0], pd.Series([0.25, 0.5], dtype=dtype)) == log_loss([1, 0], [0.25, 0.5])


def test_memory_map(tmp_path):
    p = np.array([[0.25, 0.75], [0.5, 0.5]])
    np.save(tmp_path / "p.npy", p)
    assert log_loss([1, 0], np.load(tmp_path / "p.npy", mmap_mode="r")) == log_loss([1, 0], p)


LABELS = {
    "int8": np.array([-1, 1, 1, -1], np.int8),
    "far apart": np.array([-(10**12), 10**12, 10**12, -(10**12)]),
    "uint64": np.array([1, 2**63 + 5, 2**63 + 5, 1], np.uint64),
    "bool": [False, True, True, False],
    "integral floats": [0.0, 1.0, 1.0, 0.0],
    "strings": ["no", "yes", "yes", "no"],
    "objects": np.array(["no", "yes", "yes", "no"], object),
    "column": np.array([[3], [4], [4], [3]]),
    "string column": np.array([["a"], ["b"], ["b"], ["a"]]),
    "tuple": (0, 1, 1, 0),
    "range-like": pd.Series([0, 1, 1, 0]),
    "Int64": pd.array([0, 1, 1, 0], dtype="Int64"),
    "boolean": pd.array([False, True, True, False], dtype="boolean"),
    "string": pd.Series(["no", "yes", "yes", "no"], dtype="string"),
    "category": pd.Series(["no", "yes", "yes", "no"], dtype="category"),
    "polars": pl.Series(["no", "yes", "yes", "no"]),
    "polars ints": pl.Series([5, 6, 6, 5]),
    "StringDType": np.array(["no", "yes", "yes", "no"], np.dtypes.StringDType()),
}


@pytest.mark.parametrize("y", LABELS.values(), ids=LABELS)
def test_kinds_of_labels(y):
    p = np.array([0.1, 0.8, 0.6, 0.3])
    assert log_loss(y, p) == log_loss([0, 1, 1, 0], p)
    assert d2_log_loss_score(y, p) == d2_log_loss_score([0, 1, 1, 0], p)


def test_negative_weights():
    y, p, w = [0, 1, 1], [0.2, 0.7, 0.4], [1.0, -0.5, 2.0]
    assert log_loss(y, p, sample_weight=w) == pytest.approx(sklearn.metrics.log_loss(y, p, sample_weight=w), rel=1e-14)


# ---- From logits.


def test_logits_of_several_classes():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((50, 4)) * 10, rng.integers(0, 4, 50)
    w = rng.uniform(0, 1, 50)
    np.testing.assert_array_equal(
        log_loss_per_sample(y, x, labels=range(4), from_logits=True), cross_entropy(x, y, reduction="none")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert log_loss(y, x, sample_weight=w, from_logits=True) == cross_entropy(x, y, sample_weight=w)
    single = log_loss_per_sample(y, x.astype(np.float32), labels=range(4), from_logits=True)
    assert single.dtype == np.float64
    want = cross_entropy(x.astype(np.float32).astype(float), y, reduction="none")
    np.testing.assert_allclose(single, want, rtol=3 * 2**-23)


# ---- In scikit-learn's pipelines.


def test_log_loss_is_recognised():
    import inspect

    assert log_loss.__name__ == "log_loss"
    assert list(inspect.signature(log_loss).parameters)[:6] == list(
        inspect.signature(sklearn.metrics.log_loss).parameters
    )


def test_logits_whose_sums_overflow():
    x = np.array([[1e308, 1e308], [0.0, 5.0]])
    assert log_loss([0, 1], x, from_logits=True) == cross_entropy(x, [0, 1])
    with pytest.raises(ValueError, match="Input contains infinity"):
        log_loss([0, 1], [[1e308, np.inf], [0, 5]], from_logits=True)
