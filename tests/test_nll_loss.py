"""nll_loss: of log-probabilities that are given."""

import numpy as np
import pytest
from oracles import Wide, rows_of_probabilities, ulps

from xentc import cross_entropy, nll_loss, special


@pytest.mark.parametrize("k", [3, 64, 65, 1000])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
def test_against_extended_precision(k, dtype, weighted, rng):
    p, kinds = rows_of_probabilities(rng, 40 if k > 100 else 300, k, dtype)
    w = np.round(rng.uniform(0.25, 3, k), 2) if weighted else None
    given = np.log(np.maximum(p, dtype(1e-37)))
    for target, weights in kinds.values():
        a = weights.astype(Wide) * (1 if w is None else w.astype(Wide))
        loss, grad = nll_loss(given, target, class_weight=w, reduction="none", return_grad=True)
        assert ulps(loss, (-a * given.astype(Wide)).sum(axis=1)).max() <= 3
        assert ulps(grad, -a).max() <= 1


def test_of_log_softmax_it_is_cross_entropy(rng):
    x, y = rng.standard_normal((40, 5)), rng.integers(0, 5, 40)
    log_p = special.log_softmax(x, axis=1)
    w, s = rng.uniform(0, 2, 5), rng.uniform(0, 2, 40)
    loss, grad = nll_loss(log_p, y, class_weight=w, sample_weight=s, return_grad=True)
    assert loss == pytest.approx(cross_entropy(x, y, class_weight=w, sample_weight=s), rel=1e-14)
    np.testing.assert_allclose(grad, -np.eye(5)[y] * (w[y] * s)[:, None] / (w[y] * s).sum(), rtol=1e-14)
    assert nll_loss([[-np.inf, 0.0]], [1]) == 0
    assert nll_loss([[-np.inf, 0.0]], [0]) == np.inf


def test_no_classes():
    with pytest.raises(ValueError, match=r"log_proba\S* of shape \(2, 0\) have no classes"):
        nll_loss(np.empty((2, 0)), [0, 0])
