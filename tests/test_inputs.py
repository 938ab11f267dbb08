"""Hostile and mistaken arguments: each ends in an error that names the argument, what was expected and what came."""

import decimal
import fractions
import sys
import types

import ml_dtypes
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import xentc
from xentc import (
    ExactMean,
    binary_cross_entropy_with_logits,
    categorical_cross_entropy,
    cross_entropy,
    kl_divergence,
    log_loss,
    nll_loss,
    special,
)

X = np.random.default_rng(0).standard_normal((3, 4))
Y = np.array([0, 3, 1])
HUGE = [10**400, decimal.Decimal("1e400"), fractions.Fraction(10**400), -(10**400)]

# ---- Numbers that float64 does not hold.


@pytest.mark.parametrize("huge", HUGE, ids=lambda huge: type(huge).__name__)
def test_huge_numbers_in_arrays(huge):
    rows = [[0.0, 1.0], [huge, 1.0]]
    for name, call in {
        "logits": lambda: cross_entropy(rows, [0, 1]),
        "proba": lambda: categorical_cross_entropy(rows, [0, 1]),
        "log_proba": lambda: nll_loss(rows, [0, 1]),
        "target": lambda: kl_divergence(np.zeros((2, 2)), rows),
        "a": lambda: special.logsumexp(rows),
        "x": lambda: special.softmax(rows),
        "values": lambda: ExactMean().add(rows),
        "weights": lambda: ExactMean().add(np.zeros((2, 2)), rows),
        "pos_weight": lambda: binary_cross_entropy_with_logits(np.zeros((2, 2)), np.zeros((2, 2)), pos_weight=rows),
    }.items():
        with pytest.raises(ValueError, match=rf"{name}\[1, 0\] is .*, which float64 does not hold"):
            call()
    for name in ("sample_weight", "class_weight"):
        with pytest.raises(ValueError, match=rf"{name}\[1\] is .*, which float64 does not hold"):
            cross_entropy([[0.0, 1.0], [1.0, 1.0]], [0, 1], **{name: [1, huge]})
    with pytest.raises(ValueError, match=r"class_weight\[2\] is .*; expected a finite number"):
        cross_entropy(X, Y, class_weight={2: huge})


@pytest.mark.parametrize("name", ["label_smoothing", "z_loss", "focal_gamma"])
@pytest.mark.parametrize("value", [*HUGE, -0.5, np.nan, np.inf, float("-inf"), 10**5000], ids=lambda v: type(v).__name__)
def test_numbers_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"{name} is .*; expected a finite number"):
        cross_entropy(X, Y, **{name: value})


@pytest.mark.parametrize("name", ["label_smoothing", "z_loss", "focal_gamma"])
@pytest.mark.parametrize("value", ["0.1", b"1", [0.1], np.array([0.1]), None, 1j, True, np.True_, object()])
def test_what_is_no_number(name, value):
    with pytest.raises(TypeError, match=f"{name} must be a number, got "):
        cross_entropy(X, Y, **{name: value})


def test_all_kinds_of_numbers():
    want = cross_entropy(X, Y, label_smoothing=0.5)
    for half in (fractions.Fraction(1, 2), decimal.Decimal("0.5"), np.float32(0.5), np.array(0.5), np.longdouble(0.5)):
        assert cross_entropy(X, Y, label_smoothing=half) == want
    assert cross_entropy(X, Y, label_smoothing=1) == cross_entropy(X, Y, label_smoothing=np.int8(1))
    objects = np.array([[fractions.Fraction(1, 3), decimal.Decimal("0.5")], [1, np.float32(2)]], object)
    assert cross_entropy(objects, [0, 1]) == cross_entropy([[1 / 3, 0.5], [1.0, 2.0]], [0, 1])


@pytest.mark.skipif(np.finfo(np.longdouble).maxexp == 1024, reason="long double is float64")
def test_long_double():
    wide = X.astype(np.longdouble)
    assert cross_entropy(wide, Y) == cross_entropy(X, Y)
    wide[1, 2] = np.longdouble(10) ** 400
    with pytest.raises(ValueError, match=r"logits\[1, 2\] is 1e\+400, which float64 does not hold"):
        cross_entropy(wide, Y)
    wide[1, 2] = np.inf
    assert np.isnan(cross_entropy(wide, Y))


@pytest.mark.parametrize("n", [10**5000, -(10**5000), 2**64], ids=["huge", "-huge", "2**64"])
def test_huge_integers(n):
    for name in ("axis", "ignore_index"):
        with pytest.raises(ValueError, match=f"{name} is .*; expected an integer that int64 holds"):
            cross_entropy(X, Y, **{name: n})
    if n > 0:
        assert cross_entropy(X, Y, n_threads=n) == cross_entropy(X, Y)
    else:
        with pytest.raises(ValueError, match="n_threads must be at least 1, got <int of 16610 bits>"):
            cross_entropy(X, Y, n_threads=n)


# ---- Flags and names.


@pytest.mark.parametrize("value", [1, 0, "yes", None, [True], np.array([True, False])], ids=str)
def test_what_is_no_flag(value):
    for name in ("return_grad", "return_hess"):
        for call in (cross_entropy, binary_cross_entropy_with_logits):
            with pytest.raises(TypeError, match=f"{name} must be True or False, got "):
                call(X, np.zeros((3, 4)), **{name: value})
    with pytest.raises(TypeError, match="normalize_rows must be True or False, got "):
        categorical_cross_entropy(np.full((3, 4), 0.25), Y, normalize_rows=value)
    with pytest.raises(TypeError, match="from_logits must be True or False, got "):
        log_loss([0, 1], [0.25, 0.5], from_logits=value)


def test_flags_of_numpy():
    loss, grad = cross_entropy(X, Y, return_grad=np.True_)
    assert (loss, grad.shape) == (cross_entropy(X, Y, return_grad=np.False_), X.shape)


@pytest.mark.parametrize("value", ["median", None, 3, np.array(["mean", "sum"]), ["mean"]], ids=str)
def test_what_is_no_reduction(value):
    for call in (cross_entropy, binary_cross_entropy_with_logits):
        with pytest.raises(ValueError, match='reduction must be "none", "sum" or "mean", got '):
            call(X, np.zeros((3, 4)), reduction=value)
    with pytest.raises(ValueError, match='mode must be "stdout" or "dicts", got '):
        xentc.show_config(mode=value)


def test_a_repr_that_raises():
    class Odd:
        def __repr__(self):
            raise RuntimeError

    with pytest.raises(TypeError, match="z_loss must be a number, got <Odd>"):
        cross_entropy(X, Y, z_loss=Odd())
    with pytest.raises(TypeError, match=r"logits holds objects that are not real numbers, such as <Odd>"):
        cross_entropy([[Odd(), 1]], [0])


# ---- Missing values.

NULLS = {
    "polars": pl.Series([1, None, 0]),
    "pyarrow": pa.array([1, None, 0]),
    "pyarrow chunks": pa.chunked_array([[1], [None, 0]]),
    "pandas Int64": pd.Series([1, None, 0], dtype="Int64"),
    "pandas array": pd.array([1, None, 0], dtype="Int64"),
    "pandas pyarrow": pd.Series([1, None, 0], dtype="int64[pyarrow]"),
    "objects": np.array([1, None, 0], object),
    "list": [1, None, 0],
    "pandas NA": np.array([1, pd.NA, 0], object),
}


@pytest.mark.parametrize("case", NULLS)
def test_missing_values_are_named(case):
    missing = NULLS[case]
    with pytest.raises(ValueError, match=r"target\[1\] is (missing|None|<NA>)"):
        cross_entropy(X, missing)
    with pytest.raises(ValueError, match=r"target\[1\] is missing"):
        binary_cross_entropy_with_logits([0.5, 0.5, 0.5], missing)
    for name in ("sample_weight", "class_weight"):
        with pytest.raises(ValueError, match=rf"{name}\[1\] is missing"):
            cross_entropy(X[:, :3], [0, 1, 2], **{name: missing})


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"a": [0.5, 1.0], "b": [1.0, None]}),
        pa.table({"a": [0.5, 1.0], "b": [1.0, None]}),
        pd.DataFrame({"a": [0.5, 1.0], "b": pd.array([1.0, None], dtype="Float64")}),
        pl.Series([[0.5, 1.0], [1.0, None]], dtype=pl.Array(pl.Float64, 2)),
    ],
    ids=["polars", "pyarrow", "pandas", "polars Array"],
)
def test_missing_values_of_tables_are_named(frame):
    with pytest.raises(ValueError, match=r"logits\[1, 1\] is missing \(null\)"):
        cross_entropy(frame, [0, 1])


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"a": [0.5, 1.0], "b": [1.0, np.nan]}),
        pa.table({"a": [0.5, 1.0], "b": [1.0, np.nan]}),
        pd.DataFrame({"a": [0.5, 1.0], "b": [1.0, np.nan]}),
        pl.Series([[0.5, 1.0], [1.0, np.nan]], dtype=pl.Array(pl.Float64, 2)),
        [[0.5, 1.0], [1.0, np.nan]],
    ],
    ids=["polars", "pyarrow", "pandas", "polars Array", "list"],
)
def test_nan_is_not_missing(frame):
    assert np.isnan(cross_entropy(frame, [0, 1], reduction="none")).tolist() == [False, True]


def test_missing_rows_are_named():
    rows = pl.Series([[0.5, 0.5], None, [0.3, 0.7]], dtype=pl.Array(pl.Float64, 2))
    with pytest.raises(ValueError, match=r"logits\[1\] is missing \(null\)"):
        cross_entropy(rows, [0, 1, 0])


def test_codes_with_nan():
    with pytest.raises(ValueError, match=r"target\[2\] is nan; expected an integer code in every place"):
        cross_entropy(X, [0.0, 1.0, np.nan])
    with pytest.raises(TypeError, match="target has dtype float64; expected integer codes from 0 to 3"):
        cross_entropy(X, [0.0, 1.0, 2.0])


def test_a_missing_label():
    for y in (pl.Series(["a", None, "c"]), pa.array(["a", None, "c"]), pl.Series([0, None, 1])):
        with pytest.raises(ValueError, match=r"y_true\[1\] is missing \(null\); expected a value in every place"):
            log_loss(y, np.full((3, 3), 1 / 3))


@pytest.mark.parametrize(
    "masked",
    [np.ma.masked_array([0.5, 1.0], [False, True]), [0.5, np.ma.masked], ((0.5, np.ma.masked),)],
    ids=["array", "list", "nested"],
)
def test_masked_values_anywhere(masked):
    for call in (special.softmax, special.logsumexp, ExactMean().add, lambda x: cross_entropy(x, [0])):
        with pytest.raises(ValueError, match="masked array; expected plain values"):
            call(masked)


# ---- Mistakes that have a better name.


def test_swapped_arguments():
    with pytest.raises(ValueError, match="are logits and target swapped"):
        cross_entropy(Y, X)
    with pytest.raises(ValueError, match="are proba and target swapped"):
        categorical_cross_entropy([0, 1, 1], np.full((3, 4), 0.25))


def test_ignore_index_is_suggested():
    with pytest.raises(ValueError, match=r"target\[1\] is -100, but logits have 4 classes; give ignore_index=-100"):
        cross_entropy(X, [0, -100, 1])
    with pytest.raises(ValueError, match=r"target\[1\] is -1, but logits have 4 classes$"):
        cross_entropy(X, [0, -1, 1])


# ---- Objects that pretend.


class Liar:
    def __init__(self, result):
        self.result = result

    def __array__(self, dtype=None, copy=None):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.mark.parametrize("result", [3, None, "text", AttributeError(), KeyError("no"), ZeroDivisionError()], ids=repr)
def test_lying_array_methods(result):
    for call in (lambda x: cross_entropy(x, [0]), lambda x: cross_entropy(X, x), special.softmax, ExactMean().add):
        with pytest.raises((TypeError, ValueError), match=r"cannot be read as an array|must be|has dtype|has shape"):
            call(Liar(result))


# ---- Tensors.


class Device:
    type = "cuda"

    def __str__(self):
        return "cuda:0"


def test_a_tensor_that_requires_a_gradient():
    with pytest.raises(TypeError, match=r"logits is a tensor that requires a gradient; .* use logits.detach\(\)"):
        cross_entropy(types.SimpleNamespace(requires_grad=True), Y)


@pytest.mark.parametrize("name", ["y_true", "y_proba", "sample_weight"])
@pytest.mark.parametrize("what", ["requires a gradient", "is on device cuda:0"])
def test_tensors_that_log_loss_cannot_read(name, what):
    tensor = types.SimpleNamespace(shape=(3, 4) if name == "y_proba" else (3,), __array__=None)
    if what == "requires a gradient":
        tensor.requires_grad = True
    else:
        tensor.device = Device()
    given = {"y_true": Y, "y_proba": special.softmax(X, axis=1), "sample_weight": [1, 2, 3]}
    with pytest.raises(TypeError, match=rf"{name} is (a tensor that )?{what.removeprefix('is ')}"):
        log_loss(**{**given, name: tensor}, labels=range(4))


def test_a_tensor_on_a_device():
    with pytest.raises(TypeError, match="logits is on device cuda:0; expected host memory"):
        cross_entropy(types.SimpleNamespace(device=Device()), Y)


class Bfloat16Tensor:
    """What torch's tensors show of themselves."""

    dtype = "torch.bfloat16"
    requires_grad = False
    shape = property(lambda self: self.bits.shape)

    def __init__(self, bits):
        self.bits = bits

    def view(self, dtype):
        assert dtype == "int16 of torch"
        return types.SimpleNamespace(numpy=lambda: self.bits)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Got unsupported ScalarType BFloat16")


def test_bfloat16_tensors(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(int16="int16 of torch"))
    half = X.astype(ml_dtypes.bfloat16)
    got = cross_entropy(Bfloat16Tensor(half.view(np.int16)), Y, reduction="none")
    assert np.array_equal(got, cross_entropy(half, Y, reduction="none"))
    proba = special.softmax(X, axis=1).astype(ml_dtypes.bfloat16)
    got = log_loss(Y, Bfloat16Tensor(proba.view(np.int16)), labels=range(4))
    assert got == log_loss(Y, proba, labels=range(4))
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(TypeError, match=r"logits is a bfloat16 tensor; install ml_dtypes, or use logits.float\(\)"):
        cross_entropy(Bfloat16Tensor(half.view(np.int16)), Y)


# ---- Codes.


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4"])
def test_the_first_code_that_is_none(kind):
    for n_classes in (1, 2, 5, 100):
        x = np.zeros((20, n_classes))
        target = np.zeros(20, kind)
        target[17] = n_classes
        with pytest.raises(ValueError, match=rf"target\[17\] is {n_classes}, but logits have {n_classes} classes"):
            cross_entropy(x, target)
        with pytest.raises(ValueError, match=rf"target\[17\] is {n_classes}"):
            cross_entropy(x, target[::-1][::-1].repeat(2)[::2])


def test_codes_that_no_int64_holds_are_not_negative():
    with pytest.raises(ValueError, match=r"target\[0\] is 18446744073709551615"):
        cross_entropy(np.zeros((1, 3)), np.array([2**64 - 1], np.uint64), ignore_index=-1)


def test_floats_of_a_byte():
    """One of ml_dtypes' says of itself that it is a float, the others do not; no loop reads them."""
    x = X.astype(ml_dtypes.float8_e5m2)
    want = cross_entropy(x.astype(float), Y, return_grad=True)
    out = np.empty(X.shape, ml_dtypes.float8_e5m2)
    got = cross_entropy(x, Y, return_grad=True, out_grad=out)
    assert got[0] == want[0]
    assert np.array_equal(out, want[1].astype(ml_dtypes.float8_e5m2))
    proba = special.softmax(X, axis=1).astype(ml_dtypes.float8_e5m2)
    with pytest.warns(UserWarning, match="do not sum to one"):
        log_loss(Y, proba, labels=range(4))
    with pytest.raises(TypeError, match="logits has dtype float8_e4m3fn; expected real numbers"):
        cross_entropy(X.astype(ml_dtypes.float8_e4m3fn), Y)
