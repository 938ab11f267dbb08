"""Weights of any sign, and eps: sums that cancel, means over nothing, bounds in the probabilities' own type."""

import math

import ml_dtypes
import mpmath as mp
import numpy as np
import pytest
import scipy.sparse
from depth import slow_but
from oracles import ulps

from xentc import (
    ExactMean,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    categorical_cross_entropy,
    cross_entropy,
    nll_loss,
)

FLOATS = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]


def of_few_bits(rng, low, high, shape):
    """Multiples of 1/64: products of two of them are exact, so that a weight's rounding is no part of an error."""
    return rng.integers(int(low * 64), int(high * 64), shape) / 64


def signed(rng, shape):
    return of_few_bits(rng, 0.5, 2, shape) * rng.choice([-1, 1], shape)


def exact(x, a):
    """The loss of weights a of the classes, its gradient and its Hessian's diagonal, each with the largest of its terms."""
    with mp.workprec(200):
        lse = mp.log(mp.fsum(mp.exp(v) for v in map(mp.mpf, map(float, x))))
        costs = [lse - mp.mpf(float(v)) for v in x]
        p, a = [mp.exp(-cost) for cost in costs], [mp.mpf(float(v)) for v in a]
        total = mp.fsum(a)
        most = max(abs(total), *map(abs, a))
        terms = [c * cost for c, cost in zip(a, costs, strict=True)]
        grad = [(total * v - c, max(most * v, abs(c))) for c, v in zip(a, p, strict=True)]
        hess = [(total * v * (1 - v), most * v * (1 - v)) for v in p]
        return [np.array(pairs, float).T for pairs in ([(mp.fsum(terms), max(map(abs, terms)))], grad, hess)]


def assert_close(got, want, factor=1.0):
    """Within four units of the last place of the value or the largest term."""
    for array, (value, largest) in zip(got, want, strict=True):
        largest = np.maximum(largest, np.abs(value))
        assert (np.abs(array - factor * value) <= 4 * np.spacing((abs(factor) * largest).astype(array.dtype))).all()


@pytest.mark.parametrize("label_smoothing", [0.0, 0.25])
@pytest.mark.parametrize("dtype", slow_but([np.float32], [np.float64, np.float32]))
@pytest.mark.parametrize("kind", ["codes", "soft", "sparse"])
@pytest.mark.parametrize("k", [2, 16, 128, 256])
def test_negative_weights_of_classes_and_rows(k, kind, dtype, label_smoothing):
    rng = np.random.default_rng(k)
    x = rng.uniform(-3, 3, (4, k)).astype(dtype)
    codes, t = rng.integers(0, k, 4), of_few_bits(rng, 0, 1, (4, k))
    class_weight, sample_weight = signed(rng, k), np.array([-1.5, 2.0, -0.25, 1.0])
    if kind == "codes":
        t = np.eye(k)[codes]
    target = {"codes": codes, "soft": t, "sparse": scipy.sparse.csr_array(t)}[kind]
    loss, grad, hess = cross_entropy(x, target, class_weight=class_weight, sample_weight=sample_weight, reduction="none",
                                     label_smoothing=label_smoothing, return_hess=True)
    a = class_weight * ((1 - label_smoothing) * t + label_smoothing / k)
    for i in range(4):
        assert_close((loss[i], grad[i], hess[i]), exact(x[i], a[i]), sample_weight[i])


@pytest.mark.parametrize("seed", slow_but([0], range(3)))
def test_sums_of_many_classes_that_cancel(seed):
    """Of each three weights in a lane one is small, and two are large and nearly undo each other: a term is larger than the
    sum that it is added to, and what is rounded off then must not be lost. Class 0 has no weight but nearly all the
    probability: its gradient is the sum of the weights."""
    rng, shape = np.random.default_rng(seed), (104, 3, 16)
    weight, margin = rng.uniform(1, 1.25, shape), rng.uniform(10, 12, shape)
    weight[:, 0] *= rng.choice([-0.01, 0.01], (104, 16))
    weight[:, 2] = -weight[:, 1] * rng.uniform(1, 1.0001, (104, 16))
    margin[:, 2] = margin[:, 1]
    class_weight, x = (np.concatenate([[0], a.ravel()]) for a in (weight, -margin))
    target = np.ones((1, 4993))
    results = cross_entropy([x], target, class_weight=class_weight, reduction="none", return_hess=True)
    assert_close([result[0] for result in results], exact(x, class_weight))
    p = np.exp(x)
    for loss, of, log in ((nll_loss, x, mp.mpf), (categorical_cross_entropy, p, mp.log)):
        with mp.workprec(200):
            terms = [-mp.mpf(a) * log(v) for a, v in zip(map(float, class_weight), map(float, of), strict=True)]
            want = float(mp.fsum(terms)), float(max(map(abs, terms)))
        assert_close(loss([of], target, class_weight=class_weight, reduction="none"), [want])


@pytest.mark.parametrize("label_smoothing", [0.0, 0.25])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_negative_weights_of_binary_targets(dtype, label_smoothing):
    rng = np.random.default_rng(3)
    x, t = rng.uniform(-4, 4, 50).astype(dtype), of_few_bits(rng, 0, 1.02, 50)
    pos_weight, sample_weight = signed(rng, 50), signed(rng, 50)
    options = {"pos_weight": pos_weight, "sample_weight": sample_weight, "label_smoothing": label_smoothing,
               "reduction": "none"}
    results = binary_cross_entropy_with_logits(x, t, return_hess=True, **options)
    p = rng.uniform(0.1, 0.9, 50).astype(dtype)
    loss, grad = binary_cross_entropy(p, t, return_grad=True, **options)
    s = (1 - label_smoothing) * t + label_smoothing / 2
    for i, a in enumerate(np.stack([1 - s, pos_weight * s], axis=1)):
        (_, _), (_, grads), (_, hesses) = want = exact([0.0, x[i]], a)
        want = [want[0], (want[1][0][1], grads[1]), (want[2][0][1], hesses[1])]
        assert_close([result[i] for result in results], want, sample_weight[i])
        q = float(p[i])
        costs, slopes = np.array([-a[0] * math.log1p(-q), -a[1] * math.log(q)]), np.array([a[0] / (1 - q), -a[1] / q])
        pairs = [(terms.sum(), np.abs(terms).max()) for terms in (costs, slopes)]
        assert_close((loss[i], grad[i]), pairs, sample_weight[i])


def test_a_negative_weight_subtracts():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((3, 4)), np.array([0, 3, 1])
    for loss, of in ((cross_entropy, x), (nll_loss, -np.abs(x)), (categorical_cross_entropy, 1 / (1 + x**2))):
        first, second, third = loss(of, y, reduction="none")
        got = loss(of, y, sample_weight=[2, -1, 0.5], reduction="sum")
        assert got == pytest.approx(2 * first - second + third / 2, rel=1e-15)
        assert loss(of, y, sample_weight=[2, -1, 0.5]) == got / 1.5
        rows, grad = loss(of, y, class_weight=[-1, 1, 1, 1], reduction="none", return_grad=True)
        assert rows.tolist() == [-first, second, third]
        np.testing.assert_array_equal(grad[0], -loss(of, y, reduction="none", return_grad=True)[1][0])


def test_class_weight_as_a_mapping(rng):
    x, y = rng.standard_normal((9, 3)), rng.integers(0, 3, 9)
    assert cross_entropy(x, y, class_weight={1: 2.5}) == cross_entropy(x, y, class_weight=[1, 2.5, 1])
    with pytest.raises(ValueError, match="class_weight has the key 3; expected classes from 0 to 2"):
        cross_entropy(x, y, class_weight={3: 1.0})


# ---- Weights that sum to zero, or to more than float64 holds.

X = np.random.default_rng(5).uniform(0.1, 0.9, (4, 3))
Y = np.array([0, 1, 2, 1])
NO_MEAN = {
    "rows": (cross_entropy, Y, {"sample_weight": [1, -1, 0, 0]}, [1, 1, 0, 0]),
    "rows of soft targets": (cross_entropy, X, {"sample_weight": [1, 0, 2, -3]}, [1, 0, 1, 1]),
    "classes": (cross_entropy, Y, {"class_weight": [2, 0, -2]}, [1, 0, 1, 0]),
    "smoothed": (cross_entropy, Y, {"class_weight": [2, 0, -2], "label_smoothing": 0.1}, [1, 0, 1, 0]),
    "and ignored": (cross_entropy, Y, {"class_weight": [2, 5, -2], "ignore_index": 1}, [1, 0, 1, 0]),
    "nothing": (cross_entropy, Y, {"sample_weight": 0.0}, [0, 0, 0, 0]),
    "nll": (nll_loss, Y, {"sample_weight": [1, -1, 0, 0]}, [1, 1, 0, 0]),
    "proba": (categorical_cross_entropy, Y, {"class_weight": [2, 0, -2]}, [1, 0, 1, 0]),
    "soft proba": (categorical_cross_entropy, X, {"sample_weight": [1, 0, 2, -3]}, [1, 0, 1, 1]),
    "binary": (binary_cross_entropy_with_logits, X, {"sample_weight": [[1], [0], [2], [-3]]}, [1, 0, 1, 1]),
    "binary proba": (binary_cross_entropy, X, {"sample_weight": [[1], [0], [2], [-3]]}, [1, 0, 1, 1]),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("loss", "target", "options", "counts"), NO_MEAN.values(), ids=NO_MEAN)
def test_a_mean_over_weights_that_sum_to_zero(loss, target, options, counts, dtype):
    """It is NaN, with the derivatives of all rows that count; those of others are 0."""
    want = np.where(np.array(counts, bool)[:, None], np.nan, 0) * np.ones(3)
    for name in ["return_grad"] + ["return_hess"] * ("logits" in loss.__name__ or loss is cross_entropy):
        value, *derivatives = loss(X.astype(dtype), target, **options, **{name: True})
        assert math.isnan(value)
        for derivative in derivatives:
            np.testing.assert_array_equal(derivative, want)


def test_weights_whose_sum_overflows_have_no_mean():
    loss, grad = cross_entropy(X, Y, sample_weight=[1e308, 1e308, 0, 0], return_grad=True)
    assert np.isnan(loss)
    assert np.isnan(grad[:2]).all()
    assert (grad[2:] == 0).all()
    assert np.isnan(binary_cross_entropy([0.5, 0.5], [0, 1], sample_weight=[1e308, 1e308]))
    total = ExactMean()
    total.add([1.0, 1.0], [1e308, 1e308])
    assert np.isnan(total.mean())


# ---- eps.


def test_eps_of_keras():
    assert binary_cross_entropy(np.float32([1]), [0], eps=1e-7) == 15.942384719848633


@pytest.mark.parametrize("eps", [1e-7, 0.001, 0.1, 0.3])
@pytest.mark.parametrize("dtype", FLOATS)
def test_eps_is_rounded_to_the_type_of_the_probabilities(dtype, eps):
    least, most = dtype(eps), dtype(1 - eps)
    p = np.array([0, least, 0.5, most, 1], dtype)
    value = np.clip(p, least, most).astype(float)
    kept = np.array([least == 0, True, True, True, most == 1])
    with np.errstate(divide="ignore"):
        costs, others = -np.log(value), -np.log1p(-value)
        slopes, other_slopes = -1 / value, 1 / (1 - value)
    for target, want, slope in ((1, costs, slopes), (0, others, other_slopes)):
        loss, grad = binary_cross_entropy(p, np.full(5, target), eps=eps, reduction="none", return_grad=True)
        assert ulps(loss, want).max() <= 3
        assert ulps(grad[kept], slope[kept]).max() <= 4
        assert (grad[~kept] == 0).all()
    for k in (2, 300):
        rows = np.full((5, k), 0.5, dtype)
        rows[:, k - 1] = p
        for target in (np.full(5, k - 1), np.eye(k)[np.full(5, k - 1)]):
            loss, grad = categorical_cross_entropy(rows, target, eps=eps, reduction="none", return_grad=True)
            assert ulps(loss, costs).max() <= 3
            assert ulps(grad[kept, k - 1], slopes[kept]).max() <= 4
            assert (grad[~kept] == 0).all()
