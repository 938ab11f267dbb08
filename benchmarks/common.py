"""What the benchmarks share: inputs, and the implementations to compare, each as a function of the same arguments."""

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn._loss.loss import HalfMultinomialLoss
from sklearn.metrics import log_loss as sklearn_log_loss

import xentc


def make_logits(n, k, dtype):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((n, k), dtype="f4") * 3).astype(dtype)
    y = rng.integers(0, k, n)
    y[: min(n, k)] = np.arange(min(n, k))
    return x, y


def make_proba(n, k, labels):
    x, y = make_logits(n, k, "f8")
    p = softmax(x, axis=1)
    if labels != "int":
        y = np.array([f"class_{i:03d}" for i in range(k)])[y]
        y = y.astype(object) if labels == "object" else y
    return y, np.ascontiguousarray(p[:, 1]) if k == 2 else p


def numpy_log_loss(y, p):
    """What one writes by hand, for integer codes only."""
    p = np.clip(np.column_stack([1 - p, p]) if p.ndim == 1 else p, 2**-52, 1 - 2**-52)
    return -np.log(p[np.arange(len(p)), y]).mean()


def numpy_cross_entropy(x, y):
    return -log_softmax(x, axis=1)[np.arange(len(x)), y].mean()


def numpy_gradient(x, y):
    grad = softmax(x, axis=1)
    grad[np.arange(len(x)), y] -= 1
    grad /= len(x)
    return numpy_cross_entropy(x, y), grad


def sklearn_cross_entropy(x, y):
    return HalfMultinomialLoss(n_classes=x.shape[1]).loss(y.astype(x.dtype), x).mean()


def sklearn_gradient(x, y):
    return HalfMultinomialLoss(n_classes=x.shape[1]).loss_gradient(y.astype(x.dtype), x)


LOG_LOSS = {"xentc": xentc.log_loss, "sklearn": sklearn_log_loss, "numpy": numpy_log_loss}
CROSS_ENTROPY = {"xentc": xentc.cross_entropy, "sklearn": sklearn_cross_entropy, "numpy": numpy_cross_entropy}
GRADIENT = {
    "xentc": lambda x, y: xentc.cross_entropy(x, y, return_grad=True),
    "sklearn": sklearn_gradient,
    "numpy": numpy_gradient,
}
