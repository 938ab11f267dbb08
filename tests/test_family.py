"""The whole family of losses: values, gradients and Hessians against mpmath, one formula for all of them."""

import math
import zlib

import mpmath as mp
import numpy as np
import pytest
import scipy.sparse
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import ROW_KINDS, Wide, rows_of, ulps

import xentc
from xentc import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    categorical_cross_entropy,
    cross_entropy,
    kl_divergence,
    nll_loss,
    perplexity,
    special,
)

INF, NAN = np.inf, np.nan


@pytest.fixture
def rng(request):
    """Random numbers of a test's own: it sees the same ones whichever other tests run."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


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
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("target", ["codes", "soft"])
@pytest.mark.parametrize("weighted", [False, True])
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


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 0.7, 5.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_binary_logits_against_mpmath(gamma, dtype):
    x = np.array([-700.0, -90.0, -30.0, -3.3, -0.01, 0.0, 1e-30, 0.7, 12.0, 40.0, 85.0, 700.0]).astype(dtype)
    for t, pos in ((1.0, 1.0), (0.0, 1.0), (0.3, 1.0), (0.75, 3.0)):
        loss, grad, hess = binary_cross_entropy_with_logits(
            x, np.full(len(x), t), pos_weight=pos, focal_gamma=gamma, reduction="none", return_hess=True
        )
        for i, value in enumerate(x):
            with mp.workprec(1100):  # probabilities of e^-700, that is 2^-1010, and 53 bits of them
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


def test_categorical_against_mpmath(rng):
    p = rng.dirichlet(np.ones(6), 20)
    t = rng.dirichlet(np.ones(6), 20)
    y = rng.integers(0, 6, 20)
    for target in (t, y):
        loss, grad = categorical_cross_entropy(p, target, reduction="none", return_grad=True)
        one = t if target is t else np.eye(6)[y]
        exact = [mp.fsum(-mp.mpf(a) * mp.log(mp.mpf(v)) for a, v in zip(*row, strict=True) if a)
                 for row in zip(one, p, strict=True)]
        assert ulps(loss, np.array(exact, object)).max() <= 3
        np.testing.assert_allclose(grad, -one / p, rtol=1e-15)


def rows_of_probabilities(rng, n, k, dtype):
    """Probabilities from near 1 to subnormal ones, and targets of all kinds with their weights."""
    x = rng.standard_normal((n, k)) * rng.choice([0.5, 5, 20], (n, 1))
    p = np.maximum(special.softmax(x, axis=1), 1e-40).astype(dtype)
    dense = rng.dirichlet(np.ones(k), n).astype(dtype)
    dense[::3, k // 2] = 0
    p[::3, k // 2] = 0
    codes = np.where(p[np.arange(n), np.arange(n) % k] > 0, np.arange(n) % k, p.argmax(axis=1))
    return p, {"codes": (codes, np.eye(k)[codes]), "dense": (dense, dense), "wider": (dense.astype(float), dense),
               "sparse": (scipy.sparse.csr_array(dense), dense)}


@pytest.mark.parametrize("k", [3, 64, 65, 1000])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_of_probabilities_against_extended_precision(k, dtype, weighted, rng):
    n = 40 if k > 100 else 300
    p, kinds = rows_of_probabilities(rng, n, k, dtype)
    w = np.round(rng.uniform(0.25, 3, k), 2) if weighted else None
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_p = np.log(p.astype(Wide))
        given = np.log(np.maximum(p, dtype(1e-37)))
        for target, weights in kinds.values():
            a = weights.astype(Wide) * (1 if w is None else w.astype(Wide))
            loss, grad = categorical_cross_entropy(p, target, class_weight=w, reduction="none", return_grad=True)
            assert ulps(loss, np.where(a > 0, -a * log_p, 0).sum(axis=1)).max() <= 3 + weighted
            want = np.where(a > 0, -a / p.astype(Wide), 0)
            finite = np.abs(want) < np.finfo(dtype).max
            assert ulps(grad[finite], want[finite]).max() <= 4
            loss, grad = nll_loss(given, target, class_weight=w, reduction="none", return_grad=True)
            assert ulps(loss, (-a * given.astype(Wide)).sum(axis=1)).max() <= 3
            assert ulps(grad, -a).max() <= 1


@pytest.mark.parametrize("k", [3, 64, 65, 300])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("eps", [0.0, 1e-7, 0.01])
def test_normalized_and_clipped_gradients(k, dtype, eps, rng):
    p, kinds = rows_of_probabilities(rng, 60, k, dtype)
    p = (p * rng.uniform(0.5, 2, (60, 1))).astype(dtype)
    total = p.astype(Wide).sum(axis=1, keepdims=True)
    kept = (p / total >= eps) & (p / total <= 1 - Wide(eps))
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


def test_kl_divergence(rng):
    x, t = rng.standard_normal((30, 7)) * 4, rng.dirichlet(np.ones(7), 30)
    t[0] = np.eye(7)[3]
    log_p = scipy.special.log_softmax(x, axis=1)
    with np.errstate(all="ignore"):
        terms = np.where(t > 0, t * (np.log(t) - log_p), 0)
    size = np.where(t > 0, t * (np.abs(np.log(np.where(t > 0, t, 1))) + np.abs(log_p)), 0).sum(axis=1)
    loss, grad = kl_divergence(x, t, reduction="none", return_grad=True)
    assert (np.abs(loss - terms.sum(axis=1)) <= 4 * np.spacing(size)).all()
    np.testing.assert_array_equal(grad, cross_entropy(x, t, reduction="none", return_grad=True)[1])
    assert kl_divergence(log_p, np.exp(log_p)) == pytest.approx(0, abs=1e-15)
    with pytest.raises(ValueError, match=r"target has shape \(30,\); expected probabilities"):
        kl_divergence(x, np.zeros(30, int))


def test_nll_loss(rng):
    x, y = rng.standard_normal((40, 5)), rng.integers(0, 5, 40)
    log_p = special.log_softmax(x, axis=1)
    w, s = rng.uniform(0, 2, 5), rng.uniform(0, 2, 40)
    loss, grad = nll_loss(log_p, y, class_weight=w, sample_weight=s, return_grad=True)
    assert loss == pytest.approx(cross_entropy(x, y, class_weight=w, sample_weight=s), rel=1e-14)
    np.testing.assert_allclose(grad, -np.eye(5)[y] * (w[y] * s)[:, None] / (w[y] * s).sum(), rtol=1e-14)
    assert nll_loss([[-INF, 0.0]], [1]) == 0
    assert nll_loss([[-INF, 0.0]], [0]) == INF


def test_perplexity(rng):
    x, y = rng.standard_normal((2, 9, 11)), rng.integers(0, 11, (2, 9))
    y[0, 3:] = -100
    want = math.exp(cross_entropy(x, y, ignore_index=-100))
    assert perplexity(x, y, ignore_index=-100) == pytest.approx(want, rel=1e-15)
    assert perplexity([[0.0, 1e6]], [0]) == INF
    assert math.isnan(perplexity(np.empty((0, 3)), []))


# ---- Denominators and keywords.


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
    for function in (cross_entropy,):
        loss, grad, hess = function(x, y, ignore_index=ignored, return_hess=True, **terms)
        want, want_grad, want_hess = function(x[~skip], y[~skip], return_hess=True, **terms)
        assert loss == want
        np.testing.assert_array_equal(grad[~skip], want_grad)
        np.testing.assert_array_equal(hess[~skip], want_hess)
        assert (grad[skip] == 0).all()
        assert (hess[skip] == 0).all()
    rows = cross_entropy(x, y, ignore_index=ignored, reduction="none", **terms)
    assert (rows[skip] == 0).all()


def test_ignored_rows_of_probabilities(rng):
    p = rng.dirichlet(np.ones(4), 6)
    p[2] = [NAN, 7, -1, 0]
    y = np.array([0, 1, -1, 3, 2, 0])
    loss, grad = categorical_cross_entropy(p, y, ignore_index=-1, return_grad=True)
    keep = y >= 0
    assert loss == categorical_cross_entropy(p[keep], y[keep])
    assert (grad[2] == 0).all()


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


def test_sparse_targets_are_never_dense(rng):
    n, k = 3000, 2000
    x = np.broadcast_to(np.float32(0.5), (n, k))
    t = scipy.sparse.random_array((n, k), density=1e-3, format="csr", rng=np.random.default_rng(0))
    assert cross_entropy(x, t, reduction="sum") == pytest.approx(t.sum() * math.log(k), rel=1e-6)
    dense = t[:50].toarray()
    x = rng.standard_normal((50, k))
    np.testing.assert_array_equal(cross_entropy(x, t[:50], reduction="none"), cross_entropy(x, dense, reduction="none"))
    np.testing.assert_allclose(kl_divergence(x, t[:50]), kl_divergence(x, dense), rtol=1e-15)
    repeated = scipy.sparse.coo_array(([0.25, 0.25, 0.5], ([0, 0, 0], [1, 1, 0])), shape=(1, 3))
    assert cross_entropy([[1.0, 2.0, 3.0]], repeated) == cross_entropy([[1.0, 2.0, 3.0]], [[0.5, 0.5, 0.0]])


def test_sparse_targets_of_the_other_losses(rng):
    p = rng.dirichlet(np.ones(6), 12)
    t = rng.dirichlet(np.ones(6), 12) * (rng.random((12, 6)) < 0.5)
    for function, x in ((categorical_cross_entropy, p), (nll_loss, np.log(p)), (kl_divergence, np.log(p))):
        sparse, dense = (function(x, target, return_grad=True) for target in (scipy.sparse.csr_array(t), t))
        for a, b in zip(sparse, dense, strict=True):
            np.testing.assert_array_equal(a, b)


def test_class_weight_as_a_mapping(rng):
    x, y = rng.standard_normal((9, 3)), rng.integers(0, 3, 9)
    assert cross_entropy(x, y, class_weight={1: 2.5}) == cross_entropy(x, y, class_weight=[1, 2.5, 1])
    with pytest.raises(ValueError, match="class_weight has the key 3; expected classes from 0 to 2"):
        cross_entropy(x, y, class_weight={3: 1.0})


# ---- Edges of the binary losses.


def test_binary_edges():
    x = np.array([INF, -INF, -INF, INF, NAN, 0.0])
    t = np.array([1.0, 0.0, 1.0, 0.0, 1.0, NAN])
    loss, grad = binary_cross_entropy_with_logits(x, t, reduction="none", return_grad=True)
    assert loss.tolist()[:4] == [0, 0, INF, INF]
    assert np.isnan(loss[4:]).all()
    assert grad.tolist()[:4] == [0, 0, -1, 1]
    weightless = binary_cross_entropy_with_logits(x, t, sample_weight=[1, 1, 0, 0, 0, 0], return_grad=True)
    assert weightless[0] == 0
    assert (weightless[1][2:] == 0).all()
    p = np.array([0.0, 1.0, 0.0, 1.0, NAN])
    loss, grad = binary_cross_entropy(p, [0, 1, 1, 0, 1], reduction="none", return_grad=True)
    assert loss.tolist()[:4] == [0, 0, INF, INF]
    assert grad.tolist()[:4] == [1, -1, -INF, INF]
    loss, grad = binary_cross_entropy(p[:4], [0, 1, 1, 0], eps=1e-7, reduction="none", return_grad=True)
    np.testing.assert_allclose(loss[2:], -math.log(1e-7), rtol=1e-8)
    assert (grad == 0).all()
    assert math.isnan(binary_cross_entropy_with_logits([], []))


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
    ("target is sparse, of shape", lambda: cross_entropy(X, scipy.sparse.csr_array(T[:2]))),
    (r"target\[0, 1\] is -1.0; expected prob", lambda: cross_entropy(X[:1], scipy.sparse.csr_array([[0, -1.0, 0]]))),
    (r"proba\[1, 2\] is 1.5; expected probabilities", lambda: categorical_cross_entropy([[0, 0, 1], [0, 0, 1.5]], [0, 0])),
    (r"proba\[0, 0\] is -0.5", lambda: categorical_cross_entropy([[-0.5, 2]], [0], normalize_rows=True)),
    (r"proba\[1\] is 1.5; expected values from 0 to 1", lambda: binary_cross_entropy([0.5, 1.5], [0, 1])),
    (r"target\[1\] is -1; expected values from 0 to 1", lambda: binary_cross_entropy_with_logits([0.5, 1.5], [0, -1])),
    (r"pos_weight is nan; expected finite numbers", lambda: binary_cross_entropy_with_logits([0.5], [0], pos_weight=np.nan)),
    (r"target has shape \(2,\); expected that of logits, \(1,\)", lambda: binary_cross_entropy_with_logits([0.5], [0, 1])),
    ("eps is 0.5; expected a number from 0 to below 0.5", lambda: binary_cross_entropy([0.5], [0], eps=0.5)),
    ("out_hess overlaps|out_hess shares memory with logits", lambda: cross_entropy(X, Y, return_hess=True, out_hess=X)),
    ("out_hess is given, but return_hess is False", lambda: cross_entropy(X, Y, out_hess=X.copy())),
    (r"log_proba\S* of shape \(2, 0\) have no classes", lambda: nll_loss(np.empty((2, 0)), [0, 0])),
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


# ---- softmax, log_softmax, logsumexp.


@settings(max_examples=100, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=st.integers(0, 99), axes=st.sets(st.integers(0, 3)),
    keepdims=st.booleans(), single=st.booleans(), order=st.sampled_from("CF"), none=st.booleans(),
)
def test_special_against_scipy(shape, seed, axes, keepdims, single, order, none):
    x = np.asarray(np.random.default_rng(seed).standard_normal(shape) * 5, np.float32 if single else np.float64, order=order)
    axis = None if none else tuple(a for a in axes if a < len(shape))
    tolerance = 2e-6 if single else 1e-13
    if axis != ():
        want = scipy.special.logsumexp(x, axis=axis, keepdims=keepdims)
        got = special.logsumexp(x, axis=axis, keepdims=keepdims)
        assert np.shape(got) == np.shape(want)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
        for ours, theirs in ((special.softmax, scipy.special.softmax), (special.log_softmax, scipy.special.log_softmax)):
            if axis is not None and len(axis) > 1 and theirs is scipy.special.log_softmax:
                continue
            np.testing.assert_allclose(ours(x, axis=axis), theirs(x, axis=axis), rtol=tolerance, atol=tolerance)


def test_special_edges():
    x = np.array([[-INF, -INF], [INF, 0.0], [NAN, 0.0], [0.0, -INF], [NAN, -INF], [INF, NAN]])
    lse = special.logsumexp(x, axis=1)
    np.testing.assert_array_equal(lse, [-INF, INF, NAN, 0.0, NAN, NAN])
    p = special.softmax(x, axis=1)
    assert np.isnan(p[[0, 1, 2, 4, 5]]).all()
    assert p[3].tolist() == [1, 0]
    assert special.log_softmax(x, axis=1)[3].tolist() == [0, -INF]
    assert special.logsumexp(np.empty((2, 0)), axis=1).tolist() == [-INF, -INF]
    assert special.logsumexp([]) == -INF
    with pytest.raises(ValueError, match="has no elements"):
        special.softmax(np.empty((2, 0)), axis=1)
    with pytest.raises(ValueError, match="axis is 3, but the array has 2 axes"):
        special.logsumexp(x, axis=3)
    with pytest.raises(ValueError, match=r"axis \(0, 0\) names an axis twice"):
        special.logsumexp(x, axis=(0, 0))


def test_special_out(rng):
    x = rng.standard_normal((5, 6, 7))
    out = np.empty((5, 1, 7))
    assert special.logsumexp(x, axis=1, keepdims=True, out=out) is out
    np.testing.assert_array_equal(out[:, 0], special.logsumexp(x, axis=1))
    with pytest.raises(ValueError, match=r"out has shape \(5, 1, 7\); expected \(5, 7\)"):
        special.logsumexp(x, axis=1, out=out)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_special_accuracy(dtype, rng):
    x = (rng.standard_normal((50, 30)) * 10).astype(dtype)
    wide = x.astype(np.longdouble)
    m = wide.max(axis=1, keepdims=True)
    e = np.exp(wide - m)
    e[np.arange(50), x.argmax(axis=1)] = 0
    r = e.sum(axis=1, keepdims=True)
    lse = m + np.log1p(r)
    assert ulps(special.softmax(x, axis=1), np.exp(wide - m) / (1 + r)).max() <= 4
    assert ulps(special.log_softmax(x, axis=1), (wide - m) - np.log1p(r)).max() <= 2
    size = np.maximum(np.abs(m), np.log1p(r)).astype(dtype)
    assert (np.abs(special.logsumexp(x, axis=1).astype(np.longdouble) - lse[:, 0]) <= 2 * np.spacing(size[:, 0])).all()


def test_public_names():
    assert set(xentc.__all__) <= set(dir(xentc))
