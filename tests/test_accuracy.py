"""Row losses and gradients against exact values, over rows that are hard in every way known to us."""

import numpy as np
import pytest
from depth import slow_but
from oracles import ROW_KINDS, Wide, bulk_softmax_loss, rows_of, soft_loss, softmax_loss, ulps

from xentc import binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy

CLASSES = (2, 3, 5, 10, 31, 63, 64, 65, 100, 127, 1000, 3000)


def n_rows(k):
    return 150 if k <= 127 else 40


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", ROW_KINDS)
def test_losses_within_3_ulp_and_gradients_within_4(kind, dtype):
    for k in CLASSES:
        x, y = rows_of(kind, n_rows(k), k, dtype)
        loss, grad = cross_entropy(x, y, reduction="none", return_grad=True)
        exact_loss, exact_grad = bulk_softmax_loss(x, y)
        assert loss.dtype == grad.dtype == dtype
        assert ulps(loss, exact_loss).max() <= 3
        assert ulps(grad, exact_grad).max() <= 4


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("k", [5_003, 32_000, 128_256])
def test_many_classes(k, dtype):
    for kind in ("plain", "equal", "one over equals", "margin 30", "offset 1e6"):
        x, y = rows_of(kind, 3, k, dtype)
        loss, grad = cross_entropy(x, y, reduction="none", return_grad=True)
        exact_loss, exact_grad = bulk_softmax_loss(x, y)
        assert ulps(loss, exact_loss).max() <= 3
        assert ulps(grad, exact_grad).max() <= 4


@pytest.mark.parametrize("dtype", slow_but([np.float32], [np.float64, np.float32]))
@pytest.mark.parametrize("kind", ROW_KINDS)
def test_against_mpmath(kind, dtype):
    for k in (2, 7, 70):
        x, y = rows_of(kind, 4, k, dtype, seed=1)
        loss, grad = cross_entropy(x, y, reduction="none", return_grad=True)
        exact = [softmax_loss(*row) for row in zip(x, y, strict=True)]
        assert ulps(loss, np.array([e[0] for e in exact], object)).max() <= 3
        assert ulps(grad, np.array([e[1] for e in exact], object)).max() <= 4


@pytest.mark.parametrize("dtype", slow_but([np.float64], [np.float64, np.float32]))
@pytest.mark.parametrize("kind", ROW_KINDS)
def test_soft_targets_against_mpmath(kind, dtype):
    rng = np.random.default_rng(3)
    for k in (2, 9, 80):
        x, y = rows_of(kind, 4, k, dtype, seed=2)
        t = rng.dirichlet(np.ones(k), 4)
        t[0] = 0
        t[0, y[0]] = 1
        loss, grad = cross_entropy(x, t, reduction="none", return_grad=True)
        exact = [soft_loss(*row) for row in zip(x, t, strict=True)]
        assert ulps(loss, np.array([e[0] for e in exact], object)).max() <= 3
        # A gradient entry is a difference: its error is measured by the larger of its two terms.
        got, want = grad.astype(float), np.array([[float(v) for v in e[1]] for e in exact])
        largest = np.maximum(np.abs(want + t), t).astype(dtype)
        assert (np.abs(got - want) <= 4 * np.spacing(largest)).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weight", [1e-30, 0.3, 7.0, 1e20])
def test_weighted_gradients_within_5_ulp(weight, dtype):
    x, y = rows_of("plain", 200, 20, dtype)
    _, grad = cross_entropy(x, y, sample_weight=weight, reduction="sum", return_grad=True)
    _, exact = bulk_softmax_loss(x, y)
    assert ulps(grad, exact * np.longdouble(weight)).max() <= 5


def softplus(z):
    """Its value and its slope, in extended precision."""
    r = np.exp(-np.abs(z))
    return np.maximum(z, 0) + np.log1p(r), np.where(z > 0, 1, r) / (1 + r)


@pytest.mark.parametrize("target", [0, 1])
def test_float32_logits_of_all_sizes(target):
    """Binary logits of every 4099th bit pattern, subnormal and huge ones, with losses down to the smallest subnormals."""
    x = np.arange(0, 2**32, 4099, np.uint64).astype(np.uint32).view(np.float32)
    x = x[np.isfinite(x)]
    targets = np.full(len(x), target, np.int8)
    loss, grad, hess = binary_cross_entropy_with_logits(x, targets, reduction="none", return_hess=True)
    exact, slope = softplus(-x.astype(Wide) if target else x.astype(Wide))
    assert ulps(loss, exact).max() <= 2
    assert ulps(grad, -slope if target else slope).max() <= 2
    _, p = softplus(-np.abs(x.astype(Wide)))                   # p (1 - p) is a difference: p - p^2
    assert (np.abs(hess - p * (1 - p)) <= 2 * np.spacing(p.astype(np.float32))).all()


def test_float32_logits_and_soft_targets():
    x = np.tile(np.geomspace(1e-4, 100, 999, dtype=np.float32), 2)
    x[::2] *= -1
    of_float32 = [np.float32(0.3), np.float32(1e-9), np.nextafter(np.float32(1), np.float32(0))]
    for t in (*of_float32, 0.3, 1e-60, 1 - 2.0**-40):
        loss, grad = binary_cross_entropy_with_logits(x, np.full(len(x), t), reduction="none", return_grad=True)
        low, p = softplus(-np.abs(x.astype(Wide)))
        unlikely = np.where(x > 0, 1 - Wide(t), Wide(t))       # what the class weighs whose probability p is
        assert ulps(loss, low + unlikely * np.abs(x.astype(Wide))).max() <= 3
        wide = binary_cross_entropy_with_logits(x, np.full(len(x), float(t)), reduction="none", return_grad=True)
        np.testing.assert_array_equal(wide, (loss, grad))      # the same of a float64
        largest = np.maximum(p, unlikely).astype(np.float32)
        assert (np.abs(grad - (p - unlikely) * -np.sign(x)) <= 2 * np.spacing(largest)).all()


def test_differences_of_two_float32_logits():
    """Most have no float32 that they are: what rounding takes is in the exponential."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((300_000, 2)).astype(np.float32)
    x[:, 1] += np.linspace(-110, 110, len(x), dtype=np.float32)
    y = np.arange(len(x)) % 2
    loss, grad = cross_entropy(x, y, reduction="none", return_grad=True)
    wide = x.astype(Wide)
    exact, slope = softplus(np.where(y, wide[:, 0] - wide[:, 1], wide[:, 1] - wide[:, 0]))
    assert ulps(loss, exact).max() <= 2
    assert ulps(grad[np.arange(len(x)), 1 - y], slope).max() <= 2
    np.testing.assert_array_equal(grad[:, 0], -grad[:, 1])


def test_smallest_losses_and_probabilities():
    # e^-744.4 is the smallest positive float64: nothing before it is lost.
    for margin in (1.0, 40.0, 300.0, 700.0, 740.0, 744.4):
        loss, grad = cross_entropy([[0.0, margin]], [1], reduction="sum", return_grad=True)
        want, want_grad = softmax_loss([0.0, margin], 1)
        assert ulps(np.array([loss]), np.array([want], object)).max() <= 3
        assert ulps(grad[0], np.array(want_grad, object)).max() <= 4


def check_differences(got, first, second):
    """Errors of the difference of two terms, measured by the larger one."""
    largest = np.maximum(first, second)
    keep = largest < np.finfo(got.dtype).max
    spacing = np.spacing(largest[keep].astype(got.dtype))
    assert (np.abs(got[keep].astype(Wide) - (first[keep] - second[keep])) <= 4 * spacing).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("hard", [True, False])
def test_binary_logits_densely(dtype, hard):
    rng = np.random.default_rng(7)
    largest = 740 if dtype == np.float64 else 103
    x = np.concatenate([rng.standard_normal(40_000) * 4, rng.uniform(-largest, largest, 20_000),
                        10.0 ** rng.uniform(-30, 0, 10_000), np.linspace(-2, 2, 20_001)]).astype(dtype)
    t = rng.integers(0, 2, x.shape).astype(dtype) if hard else rng.random(x.shape).astype(dtype)
    loss, grad, hess = binary_cross_entropy_with_logits(x, t, reduction="none", return_hess=True)
    size, of1 = np.abs(x.astype(Wide)), t.astype(Wide)
    r, of0 = np.exp(-size), 1 - of1
    likely, unlikely = np.where(x < 0, of0, of1), np.where(x < 0, of1, of0)
    assert ulps(loss, unlikely * size + np.log1p(r)).max() <= 3
    check_differences(np.where(x < 0, -grad, grad), unlikely / (1 + r), likely * r / (1 + r))
    assert ulps(hess, r / (1 + r) ** 2).max() <= 4


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("eps", [0.0, 1e-7])
def test_binary_probabilities_densely(dtype, hard, eps):
    rng = np.random.default_rng(8)
    least = -300 if dtype == np.float64 else -44
    p = np.concatenate([rng.random(40_000), 10.0 ** rng.uniform(least, 0, 20_000), 1 - 10.0 ** rng.uniform(-17, 0, 20_000),
                        [0.5, np.sqrt(0.5), 1 - np.sqrt(0.5)]]).astype(dtype)
    t = rng.integers(0, 2, p.shape).astype(dtype) if hard else rng.random(p.shape).astype(dtype)
    loss, grad = binary_cross_entropy(p, t, eps=eps, reduction="none", return_grad=True)
    value, of1 = np.clip(p, dtype(eps), dtype(1 - eps)).astype(Wide), t.astype(Wide)
    with np.errstate(divide="ignore", invalid="ignore"):
        losses = np.where(of1 > 0, -of1 * np.log(value), 0) + np.where(of1 < 1, -(1 - of1) * np.log1p(-value), 0)
        up, down = np.where(of1 > 0, of1 / value, 0), np.where(of1 < 1, (1 - of1) / (1 - value), 0)
    assert ulps(loss, losses).max() <= 3
    kept = value == p
    check_differences(grad[kept], down[kept], up[kept])
    assert (grad[~kept] == 0).all()
