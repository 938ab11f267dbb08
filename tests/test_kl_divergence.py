"""kl_divergence: cross-entropy less the target's own entropy."""

import numpy as np
import pytest
import scipy.special
from oracles import Wide, bulk_softmax_loss

from xentc import cross_entropy, kl_divergence


def test_kl_divergence(rng):
    x, t = rng.standard_normal((30, 7)) * 4, rng.dirichlet(np.ones(7), 30)
    t[0] = np.eye(7)[3]
    log_p = scipy.special.log_softmax(x, axis=1)
    losses = [bulk_softmax_loss(x, np.full(30, c))[0] for c in range(7)]
    wide_p = -np.stack(losses, axis=1)
    with np.errstate(all="ignore"):
        terms = np.where(t > 0, t * (np.log(t.astype(Wide)) - wide_p), 0)
    size = np.where(t > 0, t * (np.abs(np.log(np.where(t > 0, t, 1))) + np.abs(log_p)), 0).sum(axis=1)
    loss, grad = kl_divergence(x, t, reduction="none", return_grad=True)
    assert (np.abs(loss - terms.sum(axis=1)) <= 4 * np.spacing(size)).all()
    np.testing.assert_array_equal(grad, cross_entropy(x, t, reduction="none", return_grad=True)[1])
    assert kl_divergence(log_p, np.exp(log_p)) == pytest.approx(0, abs=1e-15)
    with pytest.raises(ValueError, match=r"target has shape \(30,\); expected probabilities"):
        kl_divergence(x, np.zeros(30, int))
