"""Hostile and mistaken arguments: each ends in an error that names the argument, what was expected and what came."""

import copy
import decimal
import fractions
import pickle
import sys
import types
import warnings

import ml_dtypes
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import xentc
from xentc import (
    ExactMean,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    categorical_cross_entropy,
    cross_entropy,
    kl_divergence,
    log_loss,
    nll_loss,
    perplexity,
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


def test_no_warning_where_a_result_is_too_large():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dtype in ("f2", ">f2", ">f4", np.longdouble):
            out = np.empty(2, dtype)
            special.log_softmax([0.0, 1e39], out=out)
            assert out[1] == 0
            assert out[0] == (-1e39 if dtype is np.longdouble else -np.inf)
            grad = np.empty((1, 2), dtype)
            cross_entropy([[0.0, 1.0]], [0], sample_weight=[1e39], reduction="sum", return_grad=True, out_grad=grad)
            assert np.isinf(grad).all() == (dtype is not np.longdouble)
        assert perplexity([[0.0, 5000.0]], [0]) == np.inf
        assert special.logsumexp([1e39], out=np.empty((), "f2")) == np.inf


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


def test_outputs_of_integers():
    for out in (np.empty((), int), np.empty((), "c16"), np.empty((), bool)):
        with pytest.raises(TypeError, match=r"out has dtype .*; expected a floating-point one"):
            special.logsumexp([0.5, 1.0], out=out)


def test_outputs_that_overlap_themselves():
    memory = np.zeros(20)
    for strides in ((8, 8), (16, 8), (0, 8), (8, 0), (4, 16)):
        out = np.lib.stride_tricks.as_strided(memory, (3, 4), strides)
        with pytest.raises(ValueError, match=r"out_grad has strides .*: its elements share memory"):
            cross_entropy(X, Y, return_grad=True, out_grad=out)
    want = cross_entropy(X, Y, return_grad=True)[1]
    for strides in ((32, 8), (8, 24), (40, 8), (8, 32), (-32, 8)):
        start = memory[12:] if strides[0] < 0 else memory
        out = np.lib.stride_tricks.as_strided(start, (3, 4), strides)
        assert np.array_equal(cross_entropy(X, Y, return_grad=True, out_grad=out)[1], want)


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


def test_a_tensor_on_a_device():
    with pytest.raises(TypeError, match="logits is on device cuda:0; expected host memory"):
        cross_entropy(types.SimpleNamespace(device=Device()), Y)


class Bfloat16Tensor:
    """What torch's tensors show of themselves."""

    dtype = "torch.bfloat16"
    requires_grad = False

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
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(TypeError, match=r"logits is a bfloat16 tensor; install ml_dtypes, or use logits.float\(\)"):
        cross_entropy(Bfloat16Tensor(half.view(np.int16)), Y)


# ---- Labels.


def test_labels_that_end_in_nul():
    y = ["a", "a\0", "a", "b"]
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2], [0.1, 0.2, 0.7]])
    want = log_loss([0, 1, 0, 2], p)
    for labels in (None, ["a", "a\0", "b"], np.array(["a", "a\0", "b"], object)):
        for given in (y, np.array(y, object), pd.Series(y), pd.Series(y, dtype="category"), pl.Series(y)):
            assert log_loss(given, p, labels=labels) == want
            assert log_loss(list(given) * 300, np.tile(p, (300, 1)), labels=labels) == pytest.approx(want, rel=1e-15)


# ---- ExactMean.


def state_of(*values):
    total = ExactMean()
    total.add(list(values))
    return total.__getstate__()


def with_sums(**changes):
    """A state with some of its integers exchanged."""
    state = state_of(1.0, 2.5)
    sums = np.frombuffer(state["state"], np.int64).copy().reshape(2, -1)
    for place, value in changes.items():
        sums[0, int(place[1:].replace("m", "-"))] = value
    return {**state, "state": sums.tobytes()}


DAMAGED = {
    "none": (None, "the state of an ExactMean is None"),
    "list": ([1], r"the state of an ExactMean is \[1\]"),
    "key missing": ({"version": 1, "count": 0}, "expected a dict of version, count and state"),
    "key too many": ({**state_of(1.0), "more": 1}, "expected a dict of version, count and state"),
    "version": ({**state_of(1.0), "version": 2}, "saved in format 2; this xentc reads 1"),
    "huge version": ({**state_of(1.0), "version": 10**5000}, "saved in format <int of 16610 bits>"),
    "version of another kind": ({**state_of(1.0), "version": np.array([1, 2])}, "saved in format array"),
    "negative count": ({**state_of(1.0), "count": -1}, "the count of an ExactMean is -1; expected an integer"),
    "huge count": ({**state_of(1.0), "count": 10**400}, "the count of an ExactMean is .*; expected an integer"),
    "float count": ({**state_of(1.0), "count": 1.0}, "the count of an ExactMean is 1.0; expected an integer"),
    "flag as count": ({**state_of(1.0), "count": True}, "the count of an ExactMean is True; expected an integer"),
    "array": ({**state_of(1.0), "state": np.zeros((2, 71), np.int64)}, r"the sums of an ExactMean are array\("),
    "short": ({**state_of(1.0), "state": bytes(8)}, "the sums of an ExactMean are 8 bytes; expected 1136 bytes"),
    "text": ({**state_of(1.0), "state": "0" * 1136}, "the sums of an ExactMean are '000"),
    "count of nothing": ({**state_of(1.0), "count": 0}, "are no sums of 0 values: the state is damaged"),
    "chunk too large": (with_sums(c3=2**62), "are no sums of 2 values"),
    "chunk too small": (with_sums(c3=-(2**62)), "are no sums of 2 values"),
    "last chunk": (with_sums(c66=5), "are no sums of 2 values"),
    "infinities below 0": (with_sums(c67=-1), "are no sums of 2 values"),
    "more infinities than values": (with_sums(c68=5), "are no sums of 2 values"),
    "nans below 0": (with_sums(c69=-(2**63)), "are no sums of 2 values"),
    "pending below 0": (with_sums(c70=-1), "are no sums of 2 values"),
    "pending too many": (with_sums(c70=1000), "are no sums of 2 values"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_states_of_exact_means(case):
    state, message = DAMAGED[case]
    total = ExactMean()
    total.add([0.5])
    with pytest.raises(ValueError, match=message):
        total.__setstate__(state)
    assert (total.sum(), total.count) == (0.5, 1)  # as it was


@pytest.mark.parametrize("scale", [1.0, 1e300, 5e-324, -1.0, -1e300])
def test_states_that_additions_make_are_read(scale):
    total = ExactMean()
    for n in (0, 1, 7, 1000, 1001, 20_000):
        total.add(np.random.default_rng(n).standard_normal(n) * scale, np.random.default_rng(n).random(n))
        total.add([np.inf, -np.inf, np.nan][: n % 4], [2.0] * min(n % 4, 3))
        again = pickle.loads(pickle.dumps(total))
        assert again.__getstate__() == total.__getstate__()
        again.merge(total)
        pickle.loads(pickle.dumps(again))


def test_an_exact_mean_without_a_state_is_empty():
    new = ExactMean.__new__(ExactMean)
    assert (new.sum(), new.count) == (0.0, 0)


def test_copies_of_subclasses():
    class Named(ExactMean):
        pass

    total = Named()
    total.add([1.0, 2.0])
    for other in (copy.copy(total), copy.deepcopy(total)):
        assert type(other) is Named
        assert other.sum() == 3.0


def test_weights_whose_sum_overflows_have_no_mean():
    loss, grad = cross_entropy(X, Y, sample_weight=[1e308, 1e308, 0], return_grad=True)
    assert np.isnan(loss)
    assert np.isnan(grad[:2]).all()
    assert (grad[2] == 0).all()
    assert np.isnan(binary_cross_entropy([0.5, 0.5], [0, 1], sample_weight=[1e308, 1e308]))
    total = ExactMean()
    total.add([1.0, 1.0], [1e308, 1e308])
    assert np.isnan(total.mean())


def test_bfloat16_weights_of_log_loss():
    w = np.array([1, np.nan], ml_dtypes.bfloat16)
    with pytest.raises(ValueError, match="Input sample_weight contains NaN"):
        log_loss([0, 1], [0.2, 0.7], sample_weight=w)
