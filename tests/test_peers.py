"""The same meaning as PyTorch, scikit-learn's losses and XGBoost's objectives, where those are installed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss

import xentc
from xentc import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    kl_divergence,
    linear_cross_entropy,
    nll_loss,
    special,
)

RNG = np.random.default_rng(31)


# ---- scikit-learn's private losses, which its models are trained with.


def test_multinomial_loss_of_scikit_learn():
    x, y, w = RNG.standard_normal((60, 5)) * 3, RNG.integers(0, 5, 60), RNG.uniform(0, 2, 60)
    peer = HalfMultinomialLoss(n_classes=5)
    loss, grad = peer.loss_gradient(y.astype(float), x, sample_weight=w)
    ours, our_grad, our_hess = cross_entropy(x, y, sample_weight=w, reduction="none", return_hess=True)
    np.testing.assert_allclose(ours, loss, rtol=1e-12)
    np.testing.assert_allclose(our_grad, grad, rtol=1e-11, atol=1e-15)
    hess = peer.gradient_hessian(y.astype(float), x, sample_weight=w)[1]
    np.testing.assert_allclose(our_hess, hess, rtol=1e-11, atol=1e-15)


def test_binomial_loss_of_scikit_learn():
    x, t, w = RNG.standard_normal(60) * 4, RNG.random(60), RNG.uniform(0, 2, 60)
    peer = HalfBinomialLoss()
    ours = binary_cross_entropy_with_logits(x, t, sample_weight=w, reduction="none", return_hess=True)
    np.testing.assert_allclose(ours[0], peer.loss(t, x, sample_weight=w), rtol=1e-12)
    for got, want in zip(ours[1:], peer.gradient_hessian(t, x, sample_weight=w), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-15)


# ---- XGBoost: a custom objective is a gradient and a Hessian.


def test_objective_of_xgboost():
    xgboost = pytest.importorskip("xgboost")
    from sklearn.datasets import load_iris

    features, y = load_iris(return_X_y=True)
    data = xgboost.DMatrix(features, y)
    options = {"num_class": 3, "max_depth": 3, "eta": 0.3, "seed": 0, "disable_default_eval_metric": 1, "base_score": 0.5}

    def objective(scores, data):
        _, grad, hess = cross_entropy(scores.reshape(-1, 3), data.get_label().astype(int), reduction="sum", return_hess=True)
        return grad, np.maximum(2 * hess, 1e-16)  # XGBoost's own multi-class objective doubles the diagonal

    ours = xgboost.train(options, data, num_boost_round=8, obj=objective)
    theirs = xgboost.train({**options, "objective": "multi:softprob"}, data, num_boost_round=8)
    proba = special.softmax(ours.predict(data, output_margin=True).astype(float), axis=1)
    np.testing.assert_allclose(proba, theirs.predict(data), atol=1e-4)
    assert xentc.log_loss(y, proba) < 0.15


# ---- PyTorch.


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**31), n=st.integers(1, 30), k=st.integers(1, 20), extra=st.sampled_from([(), (3,), (2, 2)]),
    soft=st.booleans(), weights=st.booleans(), smoothing=st.sampled_from([0.0, 0.1, 0.7]), ignore=st.booleans(),
    reduction=st.sampled_from(["none", "sum", "mean"]), single=st.booleans(),
)
def test_cross_entropy_of_pytorch(torch, seed, n, k, extra, soft, weights, smoothing, ignore, reduction, single):
    rng = np.random.default_rng(seed)
    dtype = np.float32 if single else np.float64
    x = (rng.standard_normal((n, k, *extra)) * 3).astype(dtype)
    options = {"label_smoothing": smoothing, "reduction": reduction}
    w = rng.uniform(0.1, 2, k).astype(dtype) if weights else None
    if soft:
        y = np.moveaxis(rng.dirichlet(np.ones(k), (n, *extra)), -1, 1).astype(dtype)
    else:
        y = rng.integers(0, k, (n, *extra))
        if ignore:
            options["ignore_index"] = int(y.flat[0])
    tx = torch.tensor(x, requires_grad=True)
    theirs = torch.nn.functional.cross_entropy(
        tx, torch.tensor(y), weight=None if w is None else torch.tensor(w), **options
    )
    theirs.sum().backward()
    loss, grad = cross_entropy(x, y, class_weight=w, axis=1, return_grad=True, **options)
    tolerance = 2e-5 if single else 1e-11
    np.testing.assert_allclose(loss, theirs.detach().numpy(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(grad, tx.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["float64", "float32", "float16", "bfloat16"])
def test_linear_cross_entropy_of_pytorch(torch, name):
    # The inputs of PyTorch's own tests of it, widened for PyTorch; those with several axes of classes are left out.
    pytest.importorskip("expecttest")
    from torch.testing._internal.common_methods_invocations import op_db

    operator = next(op for op in op_db if op.name == "nn.functional.linear_cross_entropy")
    tolerance = 1e-10 if name == "float64" else 3e-5

    def wide(x):
        return None if x is None else x.detach().to(torch.float64 if name == "float64" else torch.float32)

    n_calls = 0
    for sample in operator.sample_inputs("cpu", getattr(torch, name), requires_grad=False):
        (weight, target), options = sample.args, dict(sample.kwargs)
        if weight.ndim > 2:
            continue
        bias, class_weight = options.pop("linear_bias", None), options.pop("weight", None)
        soft = target.is_floating_point()
        target = wide(target) if soft else target
        inputs = [wide(x).requires_grad_() for x in (sample.input, weight, bias) if x is not None]
        theirs = torch.nn.functional.linear_cross_entropy(
            *inputs[:2], target, linear_bias=None if bias is None else inputs[2], weight=wide(class_weight), **options)
        theirs.sum().backward()
        options.setdefault("ignore_index", None if soft else -100)
        ours, grads = linear_cross_entropy(
            sample.input, weight, target, bias=bias, class_weight=class_weight, return_grad=True, **options)
        np.testing.assert_allclose(ours, theirs.detach(), rtol=tolerance, atol=tolerance)
        for grad, tensor in zip(grads, inputs, strict=True):
            np.testing.assert_allclose(grad, tensor.grad, rtol=tolerance, atol=tolerance)
        n_calls += 1
    assert n_calls > 50


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 40), weights=st.booleans(), pos=st.booleans(), proba=st.booleans())
def test_binary_losses_of_pytorch(torch, seed, n, weights, pos, proba):
    rng = np.random.default_rng(seed)
    x, t = rng.standard_normal((n, 3)) * 4, rng.random((n, 3))
    w = rng.uniform(0, 2, (n, 3)) if weights else None
    p = rng.uniform(0.2, 3, 3) if pos and not proba else None
    tx = torch.tensor(special.softmax(x, axis=1) if proba else x, requires_grad=True)
    tw = None if w is None else torch.tensor(w)
    # PyTorch's weight divides by the count: sums are compared.
    if proba:
        theirs = torch.nn.functional.binary_cross_entropy(tx, torch.tensor(t), weight=tw, reduction="sum")
        ours = binary_cross_entropy(tx.detach().numpy(), t, sample_weight=w, reduction="sum", return_grad=True)
    else:
        theirs = torch.nn.functional.binary_cross_entropy_with_logits(
            tx, torch.tensor(t), weight=tw, pos_weight=None if p is None else torch.tensor(p), reduction="sum"
        )
        ours = binary_cross_entropy_with_logits(x, t, sample_weight=w, pos_weight=p, reduction="sum", return_grad=True)
    theirs.backward()
    assert ours[0] == pytest.approx(theirs.item(), rel=1e-11, abs=1e-12)
    np.testing.assert_allclose(ours[1], tx.grad.numpy(), rtol=1e-9, atol=1e-10)


def test_nll_and_kl_of_pytorch(torch):
    x, y, w = RNG.standard_normal((20, 6)), RNG.integers(0, 6, 20), RNG.uniform(0.1, 2, 6)
    t = RNG.dirichlet(np.ones(6), 20)
    log_p = torch.log_softmax(torch.tensor(x), 1)
    theirs = torch.nn.functional.nll_loss(log_p, torch.tensor(y), weight=torch.tensor(w))
    assert nll_loss(log_p.numpy(), y, class_weight=w) == pytest.approx(theirs.item(), rel=1e-13)
    theirs = torch.nn.functional.kl_div(log_p, torch.tensor(t), reduction="batchmean")
    assert kl_divergence(x, t) == pytest.approx(theirs.item(), rel=1e-12)


def test_tensors_of_pytorch(torch):
    x, y = RNG.standard_normal((6, 3)), RNG.integers(0, 3, 6)
    tx, ty = torch.tensor(x), torch.tensor(y)
    assert cross_entropy(tx, ty) == cross_entropy(x, y)
    assert xentc.log_loss(ty, torch.softmax(tx, 1)) == pytest.approx(cross_entropy(x, y), rel=1e-14)
    for dtype in (torch.float16, torch.bfloat16):
        half = tx.to(dtype)
        assert cross_entropy(half, ty) == cross_entropy(half.float().numpy(), y)
        assert xentc.log_loss(ty, torch.softmax(half, 1)) == pytest.approx(cross_entropy(x, y), rel=0.02)
    with pytest.raises(TypeError, match=r"logits is a tensor that requires a gradient.*detach"):
        cross_entropy(tx.requires_grad_(True), ty)
    with pytest.raises(TypeError, match=r"y_proba is a tensor that requires a gradient.*detach"):
        xentc.log_loss(ty, torch.softmax(tx, 1))
    with pytest.raises(TypeError, match="logits is on device meta"):
        cross_entropy(torch.empty((6, 3), device="meta"), ty)


# ---- Other containers.


def test_containers():
    import pandas as pd
    import polars as pl

    x, y = RNG.standard_normal((6, 3)), RNG.integers(0, 3, 6)
    want = cross_entropy(x, y)
    assert cross_entropy(pd.DataFrame(x), pd.Series(y)) == want
    assert cross_entropy(pl.DataFrame(x), pl.Series(y)) == want
    assert cross_entropy(x, y, sample_weight=pd.Series(np.ones(6))) == want
    with pytest.raises((TypeError, ValueError), match="target"):
        cross_entropy(x, pd.array([0, 1, None, 0, 1, 2], dtype="Int64"))


def test_memory_maps(tmp_path):
    x, y = RNG.standard_normal((6, 3)), RNG.integers(0, 3, 6)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    loss, grad = cross_entropy(mapped, y, return_grad=True)
    assert loss == cross_entropy(x, y)
    assert type(grad) is np.ndarray


def test_arrow():
    pa = pytest.importorskip("pyarrow")
    x, y = RNG.standard_normal(6), np.array([0, 1, 1, 0, 1, 0])
    assert binary_cross_entropy_with_logits(pa.array(x), pa.array(y)) == binary_cross_entropy_with_logits(x, y)
    assert xentc.log_loss(pa.array(y), pa.array(special.softmax(x))) == xentc.log_loss(y, special.softmax(x))
    with pytest.raises(ValueError, match=r"logits\[1\] is missing \(null\)"):
        binary_cross_entropy_with_logits(pa.array([1.0, None]), [0, 1])
    with pytest.raises(ValueError, match=r"target\[1\] is missing \(null\)"):
        binary_cross_entropy_with_logits([1.0, 2.0], pa.array([1, None]))


def test_arrays_of_jax():
    jax = pytest.importorskip("jax")
    x, y = RNG.standard_normal((6, 3)).astype(np.float32), RNG.integers(0, 3, 6).astype(np.int32)
    assert cross_entropy(jax.numpy.asarray(x), jax.numpy.asarray(y)) == cross_entropy(x, y)
    half = jax.numpy.asarray(x, dtype="bfloat16")
    assert cross_entropy(half, y) == cross_entropy(np.asarray(half).astype(np.float32), y)


# ---- Keras.


@pytest.fixture(scope="module")
def keras():
    import os

    pytest.importorskip("jax")
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    keras.config.set_floatx("float32")
    return keras


def keras_value(loss, y, x, w=None):
    return float(np.asarray(loss(np.asarray(y, np.float32), x.astype(np.float32), sample_weight=w)))


@pytest.mark.filterwarnings("ignore")
def test_losses_of_keras(keras):
    x, y = RNG.standard_normal((40, 5)).astype(np.float32), RNG.integers(0, 5, 40)
    one_hot, t = np.eye(5)[y], RNG.dirichlet(np.ones(5), 40)
    p = special.softmax(x, axis=1)
    w = RNG.uniform(0, 2, 40).astype(np.float32)
    losses = keras.losses
    close = {"rel": 2e-5, "abs": 1e-6}
    for e in (0.0, 0.2):
        loss = losses.CategoricalCrossentropy(from_logits=True, label_smoothing=e)
        assert cross_entropy(x, t, label_smoothing=e) == pytest.approx(keras_value(loss, t, x), **close)
        loss = losses.CategoricalCrossentropy(label_smoothing=e)
        ours = xentc.categorical_cross_entropy(p, t, label_smoothing=e, eps=1e-7, normalize_rows=True)
        assert ours == pytest.approx(keras_value(loss, t, p), **close)
        loss = losses.BinaryCrossentropy(from_logits=True, label_smoothing=e)
        assert binary_cross_entropy_with_logits(x, one_hot, label_smoothing=e) == pytest.approx(
            keras_value(loss, one_hot, x), **close
        )
        loss = losses.BinaryCrossentropy(label_smoothing=e)
        assert binary_cross_entropy(p, one_hot, label_smoothing=e, eps=1e-7) == pytest.approx(
            keras_value(loss, one_hot, p), **close
        )
    # Keras's sample_weight divides by the count.
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    assert cross_entropy(x, y, sample_weight=w, reduction="sum") / 40 == pytest.approx(keras_value(loss, y, x, w), **close)
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=2, reduction="sum")
    assert cross_entropy(x, y, ignore_index=2, reduction="sum") == pytest.approx(keras_value(loss, y, x), **close)
    loss = losses.SparseCategoricalCrossentropy()
    ours = xentc.categorical_cross_entropy(p, y, eps=1e-7, normalize_rows=True)
    assert ours == pytest.approx(keras_value(loss, y, p), **close)
    for gamma in (1.0, 2.0):
        loss = losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=gamma, from_logits=True)
        assert cross_entropy(x, t, focal_gamma=gamma) == pytest.approx(keras_value(loss, t, x), **close)
        loss = losses.BinaryFocalCrossentropy(gamma=gamma, from_logits=True)
        assert binary_cross_entropy_with_logits(x, one_hot, focal_gamma=gamma) == pytest.approx(
            keras_value(loss, one_hot, x), **close
        )


# ---- optax.


@pytest.mark.filterwarnings("ignore")
def test_losses_of_optax():
    pytest.importorskip("jax")
    optax = pytest.importorskip("optax")
    x, y = RNG.standard_normal((40, 5)).astype(np.float32), RNG.integers(0, 5, 40)
    one_hot, t = np.eye(5, dtype=np.float32)[y], RNG.dirichlet(np.ones(5), 40).astype(np.float32)
    pairs = [
        (cross_entropy(x, y, reduction="none"), optax.softmax_cross_entropy_with_integer_labels(x, y)),
        (cross_entropy(x, t, reduction="none"), optax.softmax_cross_entropy(x, t)),
        (cross_entropy(x, y, label_smoothing=0.3, reduction="none"),
         optax.softmax_cross_entropy(x, optax.smooth_labels(one_hot, 0.3))),
        (cross_entropy(x.T, y, axis=0, reduction="none"), optax.softmax_cross_entropy_with_integer_labels(x.T, y, axis=0)),
        (binary_cross_entropy_with_logits(x, t, reduction="none"), optax.sigmoid_binary_cross_entropy(x, t)),
        (binary_cross_entropy_with_logits(x, one_hot, focal_gamma=2.0, reduction="none"),
         optax.sigmoid_focal_loss(x, one_hot, gamma=2.0)),
        (kl_divergence(x, t, reduction="none"), optax.kl_divergence(special.log_softmax(x, axis=1), t)),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, np.asarray(theirs), rtol=2e-5, atol=2e-6)
