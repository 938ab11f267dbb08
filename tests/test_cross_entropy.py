"""cross_entropy: weights, reductions, gradients, edges and messages."""

import copy
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from xentc import categorical_cross_entropy, cross_entropy

RNG = np.random.default_rng(11)
X = RNG.standard_normal((7, 5)) * 3
Y = np.array([0, 4, 2, 2, 1, 3, 0])
T = RNG.dirichlet(np.ones(5), 7)
CLASS_WEIGHT = np.array([0.5, 2.0, 1.0, 0.0, 3.0])
SAMPLE_WEIGHT = np.array([1.0, 0.25, 3.0, 0.0, 1.5, 2.0, 0.125])


def reference(x, target, class_weight=None, sample_weight=None, reduction="mean"):
    """The formula of the docstring in plain NumPy."""
    x = np.asarray(x, float)
    k = x.shape[-1]
    cw = np.ones(k) if class_weight is None else np.asarray(class_weight)
    sw = np.broadcast_to(1.0 if sample_weight is None else sample_weight, x.shape[:-1])
    log_p = log_softmax(x, axis=-1)
    if np.shape(target) == x.shape:
        t = target * cw
        loss, denominator = -(t * log_p).sum(-1) * sw, sw.sum()
        grad = (np.exp(log_p) * t.sum(-1, keepdims=True) - t) * sw[..., None]
    else:
        one_hot = np.eye(k)[target]
        w = cw[target] * sw
        loss, denominator = -(one_hot * log_p).sum(-1) * w, w.sum()
        grad = (np.exp(log_p) - one_hot) * w[..., None]
    if reduction == "mean":
        return loss.sum() / denominator, grad / denominator
    return (loss.sum() if reduction == "sum" else loss), grad


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("sample_weight", [None, SAMPLE_WEIGHT, 2.5])
@pytest.mark.parametrize("class_weight", [None, CLASS_WEIGHT])
@pytest.mark.parametrize("target", [Y, T], ids=["codes", "soft"])
def test_every_combination(target, class_weight, sample_weight, reduction):
    options = {"class_weight": class_weight, "sample_weight": sample_weight, "reduction": reduction}
    want_loss, want_grad = reference(X, target, **options)
    loss, grad = cross_entropy(X, target, return_grad=True, **options)
    np.testing.assert_allclose(loss, want_loss, rtol=1e-13)
    np.testing.assert_allclose(grad, want_grad, rtol=1e-13, atol=1e-16)
    alone = cross_entropy(X, target, **options)
    np.testing.assert_array_equal(alone, loss)
    assert isinstance(alone, np.ndarray if reduction == "none" else float)


def test_sum_is_the_exact_sum_of_the_rows():
    x, y = RNG.standard_normal((1000, 4)) * 20, RNG.integers(0, 4, 1000)
    rows = cross_entropy(x, y, reduction="none")
    assert cross_entropy(x, y, reduction="sum") == math.fsum(rows)
    assert cross_entropy(x, y) == math.fsum(rows) / 1000
    x = x.astype(np.float32)
    rows = cross_entropy(x, y, reduction="none")
    assert rows.dtype == np.float32
    assert cross_entropy(x, y, reduction="sum") == math.fsum(rows.astype(float))


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5), (2, 1, 3, 5)])
def test_axes_before_the_classes_are_rows(shape):
    x = RNG.standard_normal(shape)
    y = RNG.integers(0, 5, shape[:-1])
    loss, grad = cross_entropy(x, y, reduction="none", return_grad=True)
    want_loss, want_grad = reference(x, y, reduction="none")
    assert loss.shape == shape[:-1]
    np.testing.assert_allclose(loss, want_loss, rtol=1e-13)
    np.testing.assert_allclose(grad, want_grad, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.int32, np.float16, np.float32, np.longdouble])
def test_soft_targets_of_every_dtype(dtype):
    one_hot = np.eye(5)[Y].astype(dtype)
    assert cross_entropy(X, one_hot) == pytest.approx(cross_entropy(X, Y), rel=1e-15)


def test_inputs_of_other_dtypes():
    halves = np.round(X * 2) / 2
    want = cross_entropy(halves.astype(np.float32), Y, reduction="none")
    for dtype in (np.float16, ml_dtypes.bfloat16):
        loss, grad = cross_entropy(halves.astype(dtype), Y, reduction="none", return_grad=True)
        assert loss.dtype == grad.dtype == np.float32
        np.testing.assert_array_equal(loss, want)
    whole = np.round(X)
    for x in (whole.astype(int), whole.tolist(), whole.astype(object), whole.astype(np.longdouble)):
        assert cross_entropy(x, Y.tolist()) == cross_entropy(whole, Y)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_every_half(dtype):
    """Each of the 65,536 float16 and bfloat16 values as a logit is what its float32 is, in vectors and one by one."""
    halves = np.stack([np.arange(1 << 16, dtype=np.uint16).view(dtype), np.ones(1 << 16, dtype)], axis=1)
    y = np.arange(1 << 16) % 2
    want = cross_entropy(halves.astype(np.float32), y, reduction="none")
    np.testing.assert_array_equal(cross_entropy(halves, y, reduction="none"), want)
    np.testing.assert_array_equal(cross_entropy(halves[:, ::-1], 1 - y, reduction="none"), want)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("n_classes", [2, 3, 16, 50, 300])
def test_gradients_in_halves(dtype, n_classes):
    """Gradients from below the least subnormal to beyond the largest half are rounded once, as NumPy rounds them."""
    rng = np.random.default_rng(n_classes)
    x = rng.normal(0, 4, (200, n_classes)).astype(np.float32)
    x[7, 0] = np.nan
    x[9, 0] = np.inf
    options = {"reduction": "none", "sample_weight": 10.0 ** rng.uniform(-12, 9, 200), "return_grad": True}
    y = rng.integers(0, n_classes, 200)
    grad = cross_entropy(x, y, **options)[1]
    with np.errstate(over="ignore"):
        want = grad.astype(dtype)
    for out in (np.empty(x.shape, dtype), np.empty(x.shape[::-1], dtype).T, np.empty((200, 2 * n_classes), dtype)[:, ::2]):
        got = cross_entropy(x, y, **options, out_grad=out)[1]
        np.testing.assert_array_equal(got.astype(float), want.astype(float))
        np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 70), k=st.integers(1, 90), single=st.booleans(), soft=st.booleans(),
    scale=st.sampled_from([0.1, 5, 200]), seed=st.integers(0, 2**32), weights=st.booleans(),
)
def test_any_shape_against_the_formula(n, k, single, soft, scale, seed, weights):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, k)) * scale).astype(np.float32 if single else np.float64)
    target = rng.dirichlet(np.ones(k), n) if soft else rng.integers(0, k, n)
    w = rng.uniform(0.1, 2, n) if weights else None
    loss, grad = cross_entropy(x, target, sample_weight=w, reduction="none", return_grad=True)
    want, want_grad = reference(x, target, sample_weight=w, reduction="none")
    tolerance = 1e-5 if single else 1e-12
    np.testing.assert_allclose(loss, want, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(grad, want_grad, rtol=tolerance, atol=tolerance)


# ---- The gradient's array.


def test_neighbouring_columns_of_one_array_do_not_overlap():
    both = np.concatenate([X, X], axis=1)
    _, want = cross_entropy(X, Y, return_grad=True)
    cross_entropy(both[:, :5], Y, return_grad=True, out_grad=both[:, 5:])
    np.testing.assert_array_equal(both[:, 5:], want)
    np.testing.assert_array_equal(both[:, :5], X)


# ---- The edges.

INF, NAN = np.inf, np.nan


@pytest.mark.parametrize("k", [3, 200])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("soft", [False, True])
class TestEdges:
    def loss_and_grad(self, k, dtype, soft, values, y=0, weight=None, filler=-1.0):
        """One special row between two ordinary ones, which it must leave alone."""
        x = np.full((3, k), filler, dtype)
        x[1, : len(values)] = values
        target = np.array([0, y, 1])
        target = np.eye(k)[target] if soft else target
        loss, grad = cross_entropy(x, target, sample_weight=weight, reduction="none", return_grad=True)
        ordinary, ordinary_grad = cross_entropy(x[::2], target[::2], reduction="none", return_grad=True)
        np.testing.assert_array_equal(loss[::2], ordinary)
        np.testing.assert_array_equal(grad[::2], ordinary_grad)
        return loss[1], grad[1]

    def test_nan(self, k, dtype, soft):
        loss, grad = self.loss_and_grad(k, dtype, soft, [0, NAN])
        assert math.isnan(loss)
        assert np.isnan(grad).all()
        assert loss.tobytes() == dtype(NAN).tobytes()
        assert grad.tobytes() == np.full(k, NAN, dtype).tobytes()

    def test_masked_class(self, k, dtype, soft):
        loss, grad = self.loss_and_grad(k, dtype, soft, [0, -INF])
        assert math.isfinite(loss)
        assert grad[1] == 0
        assert np.isfinite(grad).all()

    def test_masked_target(self, k, dtype, soft):
        loss, grad = self.loss_and_grad(k, dtype, soft, [-INF, 2])
        assert loss == INF
        assert grad[0] == -1
        assert np.isfinite(grad).all()

    def test_all_masked(self, k, dtype, soft):
        loss, grad = self.loss_and_grad(k, dtype, soft, [-INF] * k)
        assert math.isnan(loss)
        assert np.isnan(grad).all()

    @pytest.mark.parametrize("place", [0, 1])
    def test_positive_infinity(self, k, dtype, soft, place):
        loss, grad = self.loss_and_grad(k, dtype, soft, np.where(np.arange(2) == place, INF, 0))
        assert math.isnan(loss)
        assert np.isnan(grad).all()

    def test_row_of_no_weight(self, k, dtype, soft):
        loss, grad = self.loss_and_grad(k, dtype, soft, [NAN, INF], weight=[1, 0, 1])
        assert loss == 0
        assert (grad == 0).all()

    @pytest.mark.parametrize("value", [1e308, -1e308, 5e-324, 1e6, -1e30])
    def test_extreme_but_equal(self, k, dtype, soft, value):
        value = dtype(np.clip(value, np.finfo(dtype).min, np.finfo(dtype).max))
        loss, grad = self.loss_and_grad(k, dtype, soft, [value] * k, filler=value)
        eps = float(np.finfo(dtype).eps)
        assert float(loss) == pytest.approx(math.log(k), rel=eps)
        np.testing.assert_allclose(grad[1:], 1 / k, rtol=eps)


def test_one_class():
    for target in ([0, 0], [[1.0], [1.0]]):
        loss, grad = cross_entropy([[3.0], [-1e300]], target, reduction="none", return_grad=True)
        assert loss.tolist() == [0, 0]
        assert grad.tolist() == [[0], [0]]


def test_mean_over_nothing():
    loss, grad = cross_entropy(np.empty((0, 3)), np.empty(0, int), return_grad=True)
    assert math.isnan(loss)
    assert grad.shape == (0, 3)
    for target in (Y, T):
        loss, grad = cross_entropy(X, target, sample_weight=0.0, return_grad=True)
        assert math.isnan(loss)
        assert (grad == 0).all()
    assert cross_entropy(np.empty((0, 3)), np.empty((0, 3)), reduction="sum") == 0
    assert cross_entropy(np.empty((0, 3)), [], reduction="none").shape == (0,)


def test_class_weight_of_zero():
    # Not as if the row were ignored: a NaN shows. But 0 * inf is 0.
    x = np.array([[0.0, -INF], [0.0, NAN], [1.0, 2.0]])
    loss, grad = cross_entropy(x, [1, 1, 0], class_weight=[1, 0], reduction="none", return_grad=True)
    assert loss[0] == 0
    assert math.isnan(loss[1])
    assert (grad[0] == 0).all()
    assert math.isnan(cross_entropy(x, [1, 1, 0], class_weight=[1, 0]))


def test_soft_target_of_zero_at_a_masked_class():
    assert cross_entropy([[0.0, 0.0, -INF]], [[0.5, 0.5, 0.0]]) == pytest.approx(math.log(2))


def test_nan_in_a_soft_target():
    loss = cross_entropy([[0.0, 1.0], [0.0, 1.0]], [[NAN, 1.0], [0.5, 0.5]], reduction="none")
    assert math.isnan(loss[0])
    assert math.isfinite(loss[1])


def test_target_of_an_ignored_row_is_still_checked():
    with pytest.raises(ValueError, match=r"target\[1\] is 7, but logits have 5 classes"):
        cross_entropy(X[:2], [0, 7], sample_weight=[1, 0])


# ---- Messages.

ERRORS = [
    (ValueError, r"target\[2\] is -1, but logits have 5 classes", {"target": [0, 1, -1, 0, 0, 0, 0]}),
    (ValueError, r"target\[4\] is 5, but logits have 5 classes", {"target": [0, 1, 1, 0, 5, 9, 0]}),
    (ValueError, r"target\[5, 1\] is -0.5; expected probabilities >= 0", {"target": np.where(T == T[5, 1], -0.5, T)}),
    (ValueError, r"target has shape \(3,\); expected \(7,\) .* or \(7, 5\)", {"target": [0, 1, 2]}),
    (TypeError, "target has dtype float64; expected integer codes", {"target": Y.astype(float)}),
    (TypeError, "target has dtype bool; expected integer codes", {"target": Y > 2}),
    (TypeError, "target has dtype <U1; expected integer codes", {"target": list("abcdefg")}),
    (TypeError, "target has dtype complex128", {"target": T + 0j}),
    (ValueError, "logits is a scalar", {"logits": 3.0}),
    (ValueError, r"logits of shape \(7, 0\) have no classes", {"logits": np.empty((7, 0))}),
    (TypeError, "logits has dtype complex128; expected real numbers", {"logits": X + 1j}),
    (TypeError, "logits are booleans", {"logits": X > 0}),
    (TypeError, "logits has dtype datetime64", {"logits": np.zeros((7, 5), "M8[s]")}),
    (TypeError, "logits has dtype .*; expected real numbers", {"logits": np.zeros((7, 5), [("a", float)])}),
    (ValueError, r"logits\[0, 0\] is missing \(None\)", {"logits": np.full((7, 5), None)}),
    (TypeError, "logits holds objects that are not real numbers", {"logits": np.full((7, 5), "a", object)}),
    (ValueError, "logits is a masked array", {"logits": np.ma.masked_array(X, X > 2)}),
    (ValueError, "logits cannot be read as an array", {"logits": [[1.0], [1.0, 2.0]]}),
    (ValueError, r"class_weight has shape \(2,\); expected \(5,\)", {"class_weight": [1, 2]}),
    (ValueError, r"class_weight\[1\] is inf; expected finite numbers", {"class_weight": [1, np.inf, 1, 1, 1]}),
    (ValueError, r"class_weight is 'balanced'; expected 5 numbers", {"class_weight": "balanced"}),
    (ValueError, r"sample_weight\[6\] is nan; expected finite", {"sample_weight": [1, 1, 1, 1, 1, 1, NAN]}),
    (ValueError, "sample_weight is inf; expected finite", {"sample_weight": INF}),
    (ValueError, r"sample_weight has shape \(3,\); expected one that broadcasts to \(7,\)", {"sample_weight": [1, 2, 3]}),
    (ValueError, 'reduction must be "none", "sum" or "mean", got \'avg\'', {"reduction": "avg"}),
    (ValueError, "out_grad is given, but return_grad is False", {"return_grad": False, "out_grad": X.copy()}),
    (ValueError, r"out_grad has shape \(2,\); expected that of logits, \(7, 5\)", {"out_grad": np.empty(2)}),
    (TypeError, "out_grad has dtype int64", {"out_grad": np.empty((7, 5), int)}),
    (TypeError, "out_grad must be a numpy.ndarray, got list", {"out_grad": X.tolist()}),
    (ValueError, "out_grad is read-only", {"out_grad": np.broadcast_to(1.0, (7, 5))}),
    (ValueError, "n_threads must be at least 1, got 0", {"n_threads": 0}),
    (TypeError, "n_threads must be an integer, got 1.5", {"n_threads": 1.5}),
]


@pytest.mark.parametrize(("kind", "message", "changes"), ERRORS, ids=[e[1][:40] for e in ERRORS])
def test_errors_name_the_argument(kind, message, changes):
    arguments = {"logits": X, "target": Y, "return_grad": True, **copy.copy(changes)}
    with pytest.raises(kind, match=message):
        cross_entropy(arguments.pop("logits"), arguments.pop("target"), **arguments)


def test_partial_overlap_is_an_error():
    memory = np.zeros((8, 5))
    with pytest.raises(ValueError, match="out_grad overlaps logits partly"):
        cross_entropy(memory[:-1], Y, return_grad=True, out_grad=memory[1:])
    with pytest.raises(ValueError, match="out_grad shares memory with target"):
        cross_entropy(X, memory[1:], return_grad=True, out_grad=memory[1:])


def test_sparse_logits_are_an_error():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match="logits is a sparse container"):
        cross_entropy(scipy_sparse.csr_array(X), Y)


@pytest.mark.parametrize(
    ("function", "x", "target", "message"),
    [
        (cross_entropy, [[1.0, 2.0], [3.0, 4.0]], [[np.nan, 1.0], [-1.0, 1.0]], r"target\[1, 0\] is -1.0"),
        (categorical_cross_entropy, [[0.5, 0.5], [0.5, 2.0]], [0, 1], r"proba\[1, 1\] is 2.0"),
    ],
)
def test_nothing_is_overwritten_that_an_error_would_lose(function, x, target, message):
    x = np.array(x)
    kept = x.copy()
    with pytest.raises(ValueError, match=message):
        function(x, np.array(target), return_grad=True, out_grad=x)
    np.testing.assert_array_equal(x, kept)
