"""categorical_cross_entropy: values and gradients, rows that are divided by their sums and clipped."""

import numpy as np
import pytest
from oracles import Wide, rows_of_probabilities, ulps

from xentc import categorical_cross_entropy


@pytest.mark.parametrize("k", [3, 64, 65, 1000])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
def test_against_extended_precision(k, dtype, weighted, rng):
    n = 40 if k > 100 else 300
    p, kinds = rows_of_probabilities(rng, n, k, dtype)
    w = np.round(rng.uniform(0.25, 3, k), 2) if weighted else None
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_p = np.log(p.astype(Wide))
        for target, weights in kinds.values():
            a = weights.astype(Wide) * (1 if w is None else w.astype(Wide))
            loss, grad = categorical_cross_entropy(p, target, class_weight=w, reduction="none", return_grad=True)
            assert ulps(loss, np.where(a > 0, -a * log_p, 0).sum(axis=1)).max() <= 3 + weighted
            want = np.where(a > 0, -a / p.astype(Wide), 0)
            finite = np.abs(want) < np.finfo(dtype).max
            assert ulps(grad[finite], want[finite]).max() <= 4


@pytest.mark.parametrize("k", [3, 64, 65, 300])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("eps", [0.0, 1e-7, 0.01])
def test_normalized_and_clipped_gradients(k, dtype, eps, rng):
    p, kinds = rows_of_probabilities(rng, 60, k, dtype)
    p = (p * rng.uniform(0.5, 2, (60, 1))).astype(dtype)
    total = p.astype(Wide).sum(axis=1, keepdims=True)
    kept = (p / total >= Wide(dtype(eps))) & (p / total <= Wide(dtype(1 - eps)))
    for target, weights in kinds.values():
        for layout in (np.ascontiguousarray, np.asfortranarray, lambda a: np.repeat(a, 2, axis=1)[:, ::2]):
            out = layout(np.zeros_like(p))
            options = {"normalize_rows": True, "eps": eps, "reduction": "none"}
            _, grad = categorical_cross_entropy(layout(p), target, return_grad=True, out_grad=out, **options)
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                pull = np.where(kept & (weights > 0), weights / p.astype(Wide), 0)
            shift = np.where(kept, weights, 0).sum(axis=1, keepdims=True) / total
            finite = pull < np.finfo(dtype).max
            spacing = np.spacing(np.maximum(pull, shift)[finite].astype(dtype))
            # The sum of the row is a plain one.
            assert (np.abs(grad - (shift - pull))[finite] <= (4 if dtype == np.float32 else 16) * spacing).all()


def test_keras_form_of_the_categorical_loss(rng):
    # Keras: rows divided by their sums, clipped to [1e-7, 1 - 1e-7].
    p = rng.uniform(0, 2, (30, 5))
    p[:5, 0] = 0
    y = np.where(np.arange(30) < 5, 0, rng.integers(0, 5, 30))
    q = np.clip(p / p.sum(axis=1, keepdims=True), 1e-7, 1 - 1e-7)
    loss, grad = categorical_cross_entropy(p, y, eps=1e-7, normalize_rows=True, reduction="none", return_grad=True)
    np.testing.assert_allclose(loss, -np.log(q[np.arange(30), y]), rtol=1e-14)
    step = 1e-6
    for j in range(5):
        moved = p.copy()
        moved[:, j] += step
        other = p.copy()
        other[:, j] -= step * (p[:, j] > 0)
        change = categorical_cross_entropy(moved, y, eps=1e-7, normalize_rows=True, reduction="none")
        change -= categorical_cross_entropy(other, y, eps=1e-7, normalize_rows=True, reduction="none")
        inside = p[:, j] > 0
        np.testing.assert_allclose(grad[inside, j], change[inside] / (2 * step), rtol=1e-4, atol=1e-6)


def test_ignored_rows_of_probabilities(rng):
    p = rng.dirichlet(np.ones(4), 6)
    p[2] = [np.nan, 7, -1, 0]
    y = np.array([0, 1, -1, 3, 2, 0])
    loss, grad = categorical_cross_entropy(p, y, ignore_index=-1, return_grad=True)
    keep = y >= 0
    assert loss == categorical_cross_entropy(p[keep], y[keep])
    assert (grad[2] == 0).all()


ERRORS = [
    (r"proba\[1, 2\] is 1.5; expected probabilities", lambda: categorical_cross_entropy([[0, 0, 1], [0, 0, 1.5]], [0, 0])),
    (r"proba\[0, 0\] is -0.5", lambda: categorical_cross_entropy([[-0.5, 2]], [0], normalize_rows=True)),
]


@pytest.mark.parametrize(("message", "call"), ERRORS, ids=[m[:40] for m, _ in ERRORS])
def test_errors(message, call):
    with pytest.raises(ValueError, match=message):
        call()
