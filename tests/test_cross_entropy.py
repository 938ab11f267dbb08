"""cross_entropy: weights, reductions, shapes, dtypes and messages."""

import copy
import math

import ml_dtypes
import numpy as np
import pytest
from scipy.special import log_softmax

from xentc import cross_entropy

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
    (ValueError, r"sample_weight\[6\] is nan; expected finite", {"sample_weight": [1, 1, 1, 1, 1, 1, np.nan]}),
    (ValueError, "sample_weight is inf; expected finite", {"sample_weight": np.inf}),
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


def test_sparse_logits_are_an_error():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match="logits is a sparse container"):
        cross_entropy(scipy_sparse.csr_array(X), Y)
