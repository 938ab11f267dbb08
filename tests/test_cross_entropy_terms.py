"""The terms of cross_entropy, by one formula: smoothing, z-loss and focal loss; ignored rows; the Hessian."""

import math

import mpmath as mp
import numpy as np
import pytest
import scipy.sparse
import scipy.special
from depth import slow_but
from oracles import ROW_KINDS, Wide, rows_of, ulps

from xentc import cross_entropy

INF, NAN = np.inf, np.nan


class Exact:
    """sum_c a_c (1 - p_c)^g (-log p_c) + z logsumexp^2 of one row in mpmath, with the size of the terms it is made of."""

    def __init__(self, x, a, gamma=0.0, z=0.0):
        self.x, self.a = [mp.mpf(float(v)) for v in x], [mp.mpf(v) if isinstance(v, mp.mpf) else mp.mpf(float(v)) for v in a]
        self.gamma, self.z = mp.mpf(gamma), mp.mpf(z)

    def value(self, j=None, shift=0):
        x = list(self.x)
        if j is not None:
            x[j] += shift
        m = max(x)
        lse = m + mp.log(mp.fsum(mp.exp(v - m) for v in x))
        total = self.z * lse**2
        for a, v in zip(self.a, x, strict=True):
            if a:
                q = -mp.expm1(v - lse)
                total += a * (q**self.gamma if self.gamma else 1) * (lse - v)
        return total

    def derivatives(self, j):
        """The first and second derivative, and the largest term of each."""
        first = mp.diff(lambda s: self.value(j, s), 0)
        second = mp.diff(lambda s: self.value(j, s), 0, 2)
        m = max(self.x)
        lse = m + mp.log(mp.fsum(mp.exp(v - m) for v in self.x))
        p = [mp.exp(v - lse) for v in self.x]
        g, b, h = self.gamma, [], []
        for a, pc in zip(self.a, p, strict=True):
            q, minus_log = 1 - pc, -mp.log(pc)
            b.append(a * ((q**g if g else 1) + (g * q ** (g - 1) * pc * minus_log if g else 0)))
            h.append(a * g * pc * q ** (g - 2) * (q * (minus_log - 2) - (g - 1) * pc * minus_log) if g else mp.mpf(0))
        slope = mp.fsum(b) + 2 * self.z * lse
        parts = (abs(mp.fsum(b)) + abs(2 * self.z * lse)) * p[j]
        bend = mp.fsum(abs(v) for v in h) * p[j] ** 2
        second_terms = [parts * (1 - p[j]), abs(h[j]), bend, 2 * self.z * p[j] ** 2]
        return first, second, max(abs(slope) * p[j], parts, b[j]), max(second_terms)


def weights_of(target, k, class_weight, smoothing):
    t = np.eye(k)[target] if np.ndim(target) == 0 else np.asarray(target, float)
    w = np.ones(k) if class_weight is None else class_weight
    return [mp.mpf(float(wc)) * (mp.mpf(float(1 - smoothing)) * mp.mpf(float(tc)) + mp.mpf(float(smoothing / k)))
            for wc, tc in zip(w, t, strict=True)]


TERMS = [
    {}, {"label_smoothing": 0.1}, {"label_smoothing": 1.0}, {"z_loss": 0.01}, {"focal_gamma": 1.0}, {"focal_gamma": 2.0},
    {"focal_gamma": 0.5}, {"focal_gamma": 3.7}, {"label_smoothing": 0.2, "z_loss": 0.1, "focal_gamma": 2.0},
    {"z_loss": 1e-3, "focal_gamma": 1.5},
]


@pytest.mark.parametrize("terms", TERMS, ids=str)
@pytest.mark.parametrize("dtype", slow_but([np.float64], [np.float64, np.float32]))
@pytest.mark.parametrize("target", ["codes", "soft"])
@pytest.mark.parametrize("weighted", slow_but([True], [False, True]))
def test_terms_against_mpmath(terms, dtype, target, weighted, rng):
    for k, scale in ((2, 1.0), (4, 5.0), (5, 25.0)):
        x = (rng.standard_normal((3, k)) * scale).astype(dtype)
        t = rng.integers(0, k, 3) if target == "codes" else rng.dirichlet(np.ones(k), 3)
        w = np.round(rng.uniform(0.25, 3, k), 2) if weighted else None
        loss, grad, hess = cross_entropy(x, t, class_weight=w, reduction="none", return_hess=True, **terms)
        one_hot = target == "codes" and not terms.get("label_smoothing")
        for i in range(3):
            # A code's class weight is the row's: it multiplies the z-loss too.
            row_weight = w[t[i]] if weighted and target == "codes" else 1.0
            z = terms.get("z_loss", 0.0) * row_weight
            a = weights_of(t[i], k, w, terms.get("label_smoothing", 0.0))
            gamma = terms.get("focal_gamma", 0.0)
            exact = Exact(x[i], a, gamma, z)
            with mp.workprec(400):
                bound = 4 if gamma == int(gamma) else 8
                assert ulps(loss[i : i + 1], np.array([exact.value()], object)).max() <= (bound if terms or weighted else 3)
                for j in range(k):
                    first, second, first_size, second_size = exact.derivatives(j)
                    spacing = mp.mpf(float(np.spacing(dtype(float(first_size)))))
                    more = weighted * one_hot + (gamma != int(gamma)) * 4
                    assert abs(mp.mpf(float(grad[i, j])) - first) <= (4 + more) * spacing
                    spacing = mp.mpf(float(np.spacing(dtype(float(second_size)))))
                    assert abs(mp.mpf(float(hess[i, j])) - second) <= (4 + more) * spacing


@pytest.mark.parametrize("k", [2, 64, 65, 500])
@pytest.mark.parametrize("kind", ROW_KINDS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_hessian_against_extended_precision(k, kind, dtype, rng):
    x, y = rows_of(kind, 100, k, dtype)
    rows, top = np.arange(len(x)), x.argmax(axis=1)
    with np.errstate(over="ignore"):
        e = np.exp(x.astype(Wide) - x.max(axis=1, keepdims=True))
    rest = e.copy()
    rest[rows, top] = 0
    r = rest.sum(axis=1)
    p = e / (1 + r)[:, None]
    q = 1 - p
    q[rows, top] = r / (1 + r)
    t = rng.dirichlet(np.ones(k), len(x)).astype(dtype)
    w = np.round(rng.uniform(0.25, 3, k), 2)
    for target, options, mass in ((y, {}, 1), (t, {"class_weight": w}, (t.astype(Wide) * w).sum(axis=1, keepdims=True))):
        hess = cross_entropy(x, target, reduction="none", return_hess=True, **options)[2]
        assert ulps(hess, mass * p * q).max() <= 4 + bool(options)


def by_hand(x, y, w, e, s=None):
    """PyTorch's mean of smoothed, class-weighted, integer targets, over rows that are not ignored."""
    log_p, k = scipy.special.log_softmax(x, axis=1), x.shape[1]
    s = np.ones(len(y)) if s is None else s
    hard = -w[y] * log_p[np.arange(len(y)), y]
    even = -(w * log_p).sum(axis=1) / k
    return (((1 - e) * hard + e * even) * s).sum() / (w[y] * s).sum()


def test_smoothing_with_class_weights_divides_as_pytorch_does(rng):
    x, y, w = rng.standard_normal((50, 4)), rng.integers(0, 4, 50), rng.uniform(0.2, 2, 4)
    s = rng.uniform(0, 1, 50)
    assert cross_entropy(x, y, class_weight=w, label_smoothing=0.3) == pytest.approx(by_hand(x, y, w, 0.3), rel=1e-13)
    got = cross_entropy(x, y, class_weight=w, label_smoothing=0.3, sample_weight=s)
    assert got == pytest.approx(by_hand(x, y, w, 0.3, s), rel=1e-13)
    t = rng.dirichlet(np.ones(4), 50)
    want = -(w * (t * 0.7 + 0.3 / 4) * scipy.special.log_softmax(x, axis=1)).sum() / 50
    assert cross_entropy(x, t, class_weight=w, label_smoothing=0.3) == pytest.approx(want, rel=1e-13)


@pytest.mark.parametrize("terms", TERMS, ids=str)
@pytest.mark.parametrize("ignored", [-100, 2, 255])
def test_ignored_rows_are_as_if_they_were_not_there(terms, ignored, rng):
    x, y = rng.standard_normal((20, 5)), rng.integers(0, 5, 20)
    skip = rng.random(20) < 0.4
    y[skip] = ignored
    skip = y == ignored
    x[skip] = [NAN, INF, -INF, 1, 2]
    loss, grad, hess = cross_entropy(x, y, ignore_index=ignored, return_hess=True, **terms)
    want, want_grad, want_hess = cross_entropy(x[~skip], y[~skip], return_hess=True, **terms)
    assert loss == want
    np.testing.assert_array_equal(grad[~skip], want_grad)
    np.testing.assert_array_equal(hess[~skip], want_hess)
    assert (grad[skip] == 0).all()
    assert (hess[skip] == 0).all()
    rows = cross_entropy(x, y, ignore_index=ignored, reduction="none", **terms)
    assert (rows[skip] == 0).all()


@pytest.mark.parametrize("terms", TERMS, ids=str)
def test_one_hot_sparse_and_integer_targets_agree(terms, rng):
    x, y = rng.standard_normal((30, 9)) * 3, rng.integers(0, 9, 30)
    s = rng.uniform(0, 2, 30)
    one_hot = np.eye(9)[y]
    want = cross_entropy(x, y, sample_weight=s, return_hess=True, **terms)
    sparse = (kind(one_hot) for kind in (scipy.sparse.csr_array, scipy.sparse.coo_matrix, scipy.sparse.csc_array))
    for target in (one_hot, *sparse):
        got = cross_entropy(x, target, sample_weight=s, return_hess=True, **terms)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-16)


def test_masked_classes_with_smoothing_and_focal():
    x = np.array([[0.0, 1.0, -INF]])
    assert cross_entropy(x, [0], label_smoothing=0.1) == INF
    loss, grad, hess = cross_entropy(x, [0], focal_gamma=2.0, z_loss=0.1, return_hess=True)
    assert math.isfinite(loss)
    assert grad[0, 2] == hess[0, 2] == 0
    assert np.isfinite(grad).all()
    assert np.isfinite(hess).all()
    certain = cross_entropy([[1000.0, 0.0]], [0], focal_gamma=2.0, return_hess=True)
    assert certain[0] == 0
    assert (certain[1] == 0).all()
    assert (certain[2] == 0).all()


# ---- Messages.

X, Y, T = np.zeros((4, 3)), np.array([0, 1, 2, 0]), np.full((4, 3), 0.25)
ERRORS = [
    ("label_smoothing is 1.5; expected a finite number from 0 to 1", lambda: cross_entropy(X, Y, label_smoothing=1.5)),
    ("focal_gamma is -1; expected a finite number >= 0", lambda: cross_entropy(X, Y, focal_gamma=-1)),
    ("z_loss is inf; expected a finite number >= 0", lambda: cross_entropy(X, Y, z_loss=INF)),
    ("axis is 2, but logits have 2 axes", lambda: cross_entropy(X, Y, axis=2)),
    ("ignore_index is for integer targets", lambda: cross_entropy(X, T, ignore_index=0)),
    ("out_hess overlaps|out_hess shares memory with logits", lambda: cross_entropy(X, Y, return_hess=True, out_hess=X)),
    ("out_hess is given, but return_hess is False", lambda: cross_entropy(X, Y, out_hess=X.copy())),
]


@pytest.mark.parametrize(("message", "call"), ERRORS, ids=[m[:40] for m, _ in ERRORS])
def test_errors(message, call):
    with pytest.raises(ValueError, match=message):
        call()


def test_types():
    with pytest.raises(TypeError, match=r"ignore_index must be an integer, got 1\.5"):
        cross_entropy(X, Y, ignore_index=1.5)
    with pytest.raises(TypeError, match="label_smoothing must be a number, got 'a'"):
        cross_entropy(X, Y, label_smoothing="a")
    with pytest.raises(TypeError, match=r"axis must be an integer, got 0\.5"):
        cross_entropy(X, Y, axis=0.5)


@pytest.mark.parametrize("n", [1, 2, 3, 9, 100, 300])
@pytest.mark.parametrize("others", [0.0, -np.inf, np.inf])
def test_a_nan_anywhere_in_a_focal_row(n, others):
    x = np.where(np.eye(n, dtype=bool), np.nan, others)
    for target in (np.zeros(n, int), np.full((n, n), 1 / n)):
        for gamma in (0.5, 2.0):
            for a in (x, x.astype(np.float32), x.astype(np.float16)):
                results = cross_entropy(a, target, focal_gamma=gamma, reduction="none", return_hess=True)
                assert all(np.isnan(r).all() for r in results)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("place", [0, 16383, 16384, 32768, 39999])
def test_a_negative_probability_in_any_segment(dtype, place):
    """Long rows are summed in segments, and any may have it."""
    x, t = np.zeros((3, 40_000), dtype), np.zeros((3, 40_000), dtype)
    t[:, 5] = 1
    t[1, place] = -0.25
    for n_threads in (1, 2):
        with pytest.raises(ValueError, match=rf"target\[1, {place}\] is -0.25; expected probabilities >= 0"):
            cross_entropy(x, t, n_threads=n_threads)


@pytest.mark.parametrize("n", [1, 2, 3, 9, 100, 300, 20_000])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_without_a_target_is_still_undefined(n, bad):
    """Where all of a row's weights are 0, a NaN or +inf in it is no nothing."""
    target = np.zeros((3, n))
    target[[0, 2], 0] = 1
    for place in (0, n - 1):
        for dtype in (np.float64, np.float32, np.float16):
            x = np.zeros((3, n), dtype)
            x[1, place] = bad
            for t in (target, target.astype(dtype), scipy.sparse.csr_array(target)):
                for gamma in (0, 2) if n < 1000 else (0,):
                    loss = cross_entropy(x, t, reduction="none", focal_gamma=gamma)
                    assert np.isnan(loss[1])
                    assert np.isfinite(loss[[0, 2]]).all()
