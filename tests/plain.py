"""The losses' formulas in plain float64 NumPy, for many comparisons: what test_sweep.py compares with.

Nothing here is shared with the library or with the other oracles. Every value comes with its size, the sum of the absolute
values of the terms that it is the sum of: by that errors are measured. So formulas are evaluated twice, the second time with
absolute values and with `minus` +1 instead of -1.
"""

from typing import Any, NamedTuple

import numpy as np


class Softmax(NamedTuple):
    """Of rows of logits."""

    p: np.ndarray
    q: np.ndarray  # 1 - p
    cost: np.ndarray  # -log(p)
    lse: tuple[np.ndarray, np.ndarray]  # with its size, of shape (rows, 1)
    spread: np.ndarray  # of the logits: the rounding of a difference of two is that much


class Rows(NamedTuple):
    """Row losses and the derivatives of their sum, each with its size."""

    loss: Any
    grad: Any
    hess: Any = None


def softmax(x):
    top = x.argmax(axis=1)[:, None]
    m = np.take_along_axis(x, top, 1)
    e = np.exp(x - m)
    np.put_along_axis(e, top, 0.0, 1)
    r = e.sum(axis=1, keepdims=True)
    log = np.log1p(r)
    p = e / (1 + r)
    np.put_along_axis(p, top, 1 / (1 + r), 1)
    q = 1 - p
    np.put_along_axis(q, top, r / (1 + r), 1)
    return Softmax(p, q, (m - x) + log, (m + log, np.abs(m) + log), m - x.min(axis=1, keepdims=True))


def target_weights(target, n_classes, class_weight=None, label_smoothing=0.0):
    """The weights of the classes' terms, and each row's share in the mean. The target: codes or probabilities."""
    c = np.ones(n_classes) if class_weight is None else class_weight
    t, share = target, np.ones(len(target))
    if target.ndim == 1:
        t, share = np.zeros((len(target), n_classes)), c[target]
        t[np.arange(len(target)), target] = 1
    return c * ((1 - label_smoothing) * t + label_smoothing / n_classes), share


def cross_entropy(s, a, z=0.0, focal_gamma=0.0, entropy=False):
    """Of weights a of the classes. z: a factor of each row's squared logsumexp. entropy: a log a is added."""
    p, q, g = s.p, s.q, focal_gamma
    safe = np.maximum(q, 1e-200)  # a single class: its terms have a factor of 0
    factor, slope = 1.0, 1.0
    if g:
        factor = q**g
        slope = factor + g * s.cost * p * safe ** (g - 1)

    def formula(minus, a, z, lse, information):
        loss = (a * factor * s.cost).sum(axis=1) + (z * lse**2)[:, 0] + information
        pull = a * slope
        total = pull.sum(axis=1, keepdims=True)
        grad = (total - pull if minus < 0 else total) * p + minus * pull * q + 2 * z * lse * p
        hess = total * p * q + 2 * z * (p**2 + lse * p * q)
        if g:
            bend = a * (2 + minus * s.cost) * g * p * safe ** (g - 1)
            bend += a * s.cost * g * (g - 1 if minus < 0 else abs(g - 1)) * p**2 * safe ** (g - 2)
            total = bend.sum(axis=1, keepdims=True)
            hess = hess + bend * q**2 + (total - bend if minus < 0 else total) * p**2
        return loss, grad, hess

    z = np.broadcast_to(z, len(p))[:, None]
    information = np.zeros(a.shape)
    if entropy:
        np.log(a, out=information, where=a > 0)
        information *= a
    values = formula(-1, a, z, s.lse[0], information.sum(axis=1))
    return Rows(*zip(values, formula(1, np.abs(a), np.abs(z), s.lse[1], np.abs(information).sum(axis=1)), strict=True))


def categorical_cross_entropy(x, a, limits=(0.0, 1.0), normalize_rows=False):
    """Of probabilities, or with normalize_rows of anything >= 0, that are clipped to the limits."""
    total = x.sum(axis=1, keepdims=True) if normalize_rows else np.ones((len(x), 1))
    p = x / total
    value = np.clip(p, *limits)
    cost, kept = -np.log(value), value == p

    def formula(minus, a, cost):
        pull = np.where(kept, a / x, 0)
        shift = np.where(kept, a, 0).sum(axis=1, keepdims=True) / total if normalize_rows else 0
        return (a * cost).sum(axis=1), shift + minus * pull

    return Rows(*zip(formula(-1, a, cost), formula(1, np.abs(a), np.abs(cost) + normalize_rows), strict=True))


def nll_loss(x, a):
    size = np.abs(a * x)
    return Rows(((-a * x).sum(axis=1), size.sum(axis=1)), (-a, np.abs(a)))


def binary_cross_entropy(x, a, limits=(0.0, 1.0)):
    """Of probabilities of class 1; a: weights of both classes, of shape (elements, 2)."""
    p = np.clip(x, *limits)
    kept = (p == x)[:, None]
    costs, slopes = np.stack([-np.log1p(-p), -np.log(p)], axis=1), np.stack([1 / (1 - p), -1 / p], axis=1)
    costs, slopes = a * costs, np.where(kept, a * slopes, 0)
    return Rows((costs.sum(axis=1), np.abs(costs).sum(axis=1)),
                (slopes.sum(axis=1, keepdims=True), np.abs(slopes).sum(axis=1, keepdims=True)))


def reduced(rows, weight, share, reduction):
    """Of weights of the rows, and their shares in the mean. A mean over shares that sum to zero is NaN, and so are the
    derivatives of rows that have one; those of others are 0."""
    # A sum of shares has an error too, which all that is divided by it inherits.
    total, blur = (share.sum(), np.abs(share).sum()) if reduction == "mean" else (1.0, 1.0)
    blur, total = (blur / abs(total), total) if total else (1.0, np.nan)
    scale = np.where((weight == 0) | ((share == 0) & np.isnan(total)), 0, weight / total)

    def scaled(pair):
        return pair and (pair[0] * scale[:, None], pair[1] * np.abs(scale[:, None]) * blur)

    loss, size = rows.loss[0] * weight, rows.loss[1] * np.abs(weight)
    if reduction != "none":
        loss, size = loss.sum() / total, size.sum() / abs(total) * blur
    return Rows((loss, size), scaled(rows.grad), scaled(rows.hess))
