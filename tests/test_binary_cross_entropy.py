"""binary_cross_entropy and binary_cross_entropy_with_logits: values, derivatives, edges and messages."""

import math

import mpmath as mp
import numpy as np
import pytest
import scipy.special
from depth import slow_but
from oracles import ulps

from xentc import binary_cross_entropy, binary_cross_entropy_with_logits

INF, NAN = np.inf, np.nan


@pytest.mark.parametrize("gamma", slow_but([0.0, 0.7], [0.0, 1.0, 2.0, 0.7, 5.0]))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_binary_logits_against_mpmath(gamma, dtype):
    x = np.array([-700.0, -90.0, -30.0, -3.3, -0.01, 0.0, 1e-30, 0.7, 12.0, 40.0, 85.0, 700.0]).astype(dtype)
    for t, pos in ((1.0, 1.0), (0.0, 1.0), (0.3, 1.0), (0.75, 3.0)):
        loss, grad, hess = binary_cross_entropy_with_logits(
            x, np.full(len(x), t), pos_weight=pos, focal_gamma=gamma, reduction="none", return_hess=True
        )
        for i, value in enumerate(x):
            with mp.workprec(100 + int(1.45 * abs(value))):  # probabilities of e^-|x|, and 53 bits of them
                a1, a0, v = mp.mpf(pos) * mp.mpf(t), 1 - mp.mpf(t), mp.mpf(float(value))

                def of(v, a1=a1, a0=a0):
                    l1, l0 = mp.log1p(mp.exp(-v)), mp.log1p(mp.exp(v))
                    g = mp.mpf(gamma)
                    q1, q0 = 1 / (1 + mp.exp(v)), 1 / (1 + mp.exp(-v))
                    return a1 * (q1**g if g else 1) * l1 + a0 * (q0**g if g else 1) * l0

                p1 = 1 / (1 + mp.exp(-v))
                first, second = mp.diff(of, v), mp.diff(of, v, 2)
                bound = 4 if gamma == int(gamma) and gamma <= 2 else 8
                assert ulps(loss[i : i + 1], np.array([of(v)], object)).max() <= bound
                # Terms: the derivative is a sum over the two classes, each at most (1 + gamma) times its probability.
                size = (1 + gamma) * max(a1 * (1 - p1), a0 * p1) * (1 + (abs(v) if gamma else 0))
                assert abs(mp.mpf(float(grad[i])) - first) <= 4 * mp.mpf(float(np.spacing(dtype(float(size)))))
                size = (1 + gamma) ** 2 * (a1 + a0) * p1 * (1 - p1) * (1 + (abs(v) if gamma else 0))
                assert abs(mp.mpf(float(hess[i])) - second) <= 4 * mp.mpf(float(np.spacing(dtype(float(size)))))


def test_binary_probabilities_against_mpmath():
    p = np.array([5e-324, 1e-300, 1e-8, 0.25, 0.5, 0.75, 1 - 2**-30, 1 - 2**-53])
    for t in (0.0, 1.0, 0.4):
        loss, grad = binary_cross_entropy(p, np.full(len(p), t), reduction="none", return_grad=True)
        with mp.workprec(2400):
            exact = [-mp.mpf(t) * mp.log(mp.mpf(v)) - (1 - mp.mpf(t)) * mp.log(1 - mp.mpf(v)) for v in p]
            assert ulps(loss, np.array(exact, object)).max() <= 4
            for g, v in zip(grad, p, strict=True):
                up, down = mp.mpf(t) / mp.mpf(v), (1 - mp.mpf(t)) / (1 - mp.mpf(v))
                if max(up, down) < mp.mpf(1e308):
                    assert abs(mp.mpf(float(g)) - (down - up)) <= 4 * mp.mpf(float(np.spacing(float(max(up, down)))))


def test_binary_smoothing_and_weights(rng):
    x, t = rng.standard_normal((6, 3)), rng.random((6, 3))
    pos, s = rng.uniform(0.5, 2, 3), rng.uniform(0, 1, (6, 1))
    u = t * 0.8 + 0.1
    p = scipy.special.expit(x)
    want = -(pos * u * np.log(p) + (1 - u) * np.log1p(-p))
    options = {"pos_weight": pos, "sample_weight": s, "label_smoothing": 0.2}
    got, grad = binary_cross_entropy_with_logits(x, t, return_grad=True, **options)
    assert got == pytest.approx((want * s).sum() / (3 * s.sum()), rel=1e-13)
    np.testing.assert_allclose(grad, ((1 - u) * p - pos * u * (1 - p)) * s / (3 * s.sum()), rtol=1e-12)
    assert binary_cross_entropy(p, t, **options) == pytest.approx(got, rel=1e-12)


@pytest.mark.parametrize("pos_weight", [None, 1.0])
@pytest.mark.parametrize("targets", [np.float64, np.float32])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_edges_of_binary_logits(dtype, targets, pos_weight):
    x = np.array([INF, -INF, -INF, INF, INF, -INF, NAN, 0.0], dtype)
    t = np.array([1.0, 0.0, 1.0, 0.0, 0.25, 0.25, 1.0, NAN], targets)
    options = {"pos_weight": pos_weight, "return_hess": True}
    loss, grad, hess = binary_cross_entropy_with_logits(x, t, reduction="none", **options)
    assert loss.tolist()[:6] == [0, 0, INF, INF, INF, INF]
    assert grad.tolist()[:6] == [0, 0, -1, 1, 0.75, -0.25]
    assert hess.tolist()[:6] == [0] * 6
    for result in (loss, grad, hess):
        assert result[6:].tobytes() == np.full(2, NAN, dtype).tobytes()
        assert not np.signbit(result[result == 0]).any()       # 0, not -0
    loss, grad, _ = binary_cross_entropy_with_logits(x, t, sample_weight=[1, 1] + [0] * 6, **options)
    assert loss == 0
    assert (grad[2:] == 0).all()


def test_edges_of_binary_probabilities():
    p = np.array([0.0, 1.0, 0.0, 1.0, NAN])
    loss, grad = binary_cross_entropy(p, [0, 1, 1, 0, 1], reduction="none", return_grad=True)
    assert loss.tolist()[:4] == [0, 0, INF, INF]
    assert grad.tolist()[:4] == [1, -1, -INF, INF]
    loss, grad = binary_cross_entropy(p[:4], [0, 1, 1, 0], eps=1e-7, reduction="none", return_grad=True)
    np.testing.assert_allclose(loss[2:], -math.log(1e-7), rtol=1e-8)
    assert (grad == 0).all()
    assert math.isnan(binary_cross_entropy_with_logits([], []))


ERRORS = [
    (r"proba\[1\] is 1.5; expected values from 0 to 1", lambda: binary_cross_entropy([0.5, 1.5], [0, 1])),
    (r"target\[1\] is -1; expected values from 0 to 1", lambda: binary_cross_entropy_with_logits([0.5, 1.5], [0, -1])),
    (r"pos_weight is nan; expected finite numbers", lambda: binary_cross_entropy_with_logits([0.5], [0], pos_weight=NAN)),
    (r"target has shape \(2,\); expected that of logits, \(1,\)", lambda: binary_cross_entropy_with_logits([0.5], [0, 1])),
    ("eps is 0.5; expected a number from 0 to below 0.5", lambda: binary_cross_entropy([0.5], [0], eps=0.5)),
]


@pytest.mark.parametrize(("message", "call"), ERRORS, ids=[m[:40] for m, _ in ERRORS])
def test_errors(message, call):
    with pytest.raises(ValueError, match=message):
        call()
