"""compare_log_loss: against SciPy's paired t-test of the row losses, in fractions, and its errors."""

import dataclasses
import math
import pickle
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xentc import _log_loss, compare_log_loss, log_loss, log_loss_per_sample


def data(n, k, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(k, 0.7), n)
    y = np.array([rng.choice(k, p=row) for row in p])
    q = p * rng.uniform(0.5, 2, p.shape)
    return y, p, q / q.sum(axis=1, keepdims=True), rng.uniform(0.1, 2, n)


@pytest.mark.parametrize("k", [2, 3, 30])
@pytest.mark.parametrize("n", [2, 3, 50, 3000])
def test_it_is_the_paired_t_test(n, k, monkeypatch):
    y, p, q, _ = data(n, k)
    labels = range(k)
    got = compare_log_loss(y, p, q, labels=labels, level=0.9)
    a, b = (log_loss_per_sample(y, x, labels=labels) for x in (p, q))
    test = stats.ttest_rel(b, a)
    want = test.confidence_interval(0.9)
    assert got.log_loss_a == log_loss(y, p, labels=labels)
    assert got.log_loss_b == log_loss(y, q, labels=labels)
    assert got.difference == pytest.approx((b - a).mean(), rel=1e-10)
    assert got.standard_error == pytest.approx(stats.sem(b - a), rel=1e-10)
    assert got.p_value == pytest.approx(test.pvalue, rel=1e-9)
    np.testing.assert_allclose((got.low, got.high), want, rtol=1e-9)
    assert (got.level, got.count) == (0.9, n)
    monkeypatch.setattr(_log_loss, "PIECE", 1)
    assert compare_log_loss(y, p, q, labels=labels, level=0.9, n_threads=3) == got      # in pieces, on threads
    order = np.random.default_rng(1).permutation(n)
    assert compare_log_loss(y[order], p[order], q[order], labels=labels, level=0.9) == got
    back = compare_log_loss(y, q, p, labels=labels, level=0.9)
    assert (back.difference, back.p_value, back.low) == (-got.difference, got.p_value, -got.high)


def test_weights():
    y, p, q, w = data(60, 3)
    got = compare_log_loss(y, p, q, sample_weight=w)
    d = log_loss_per_sample(y, q) - log_loss_per_sample(y, p)
    x, v = [[Fraction(float(a)) for a in array] for array in (d, w)]
    v1, v2 = sum(v), sum(a * a for a in v)
    total = sum(a * b for a, b in zip(x, v, strict=True))
    variance = sum(b * (a - total / v1) ** 2 for a, b in zip(x, v, strict=True)) / (v1 - v2 / v1)
    assert got.difference == float(total) / float(v1)
    assert got.standard_error == math.sqrt(float(variance * v2 / v1**2))
    n = float(v1**2 / v2)
    assert got.p_value == pytest.approx(2 * stats.t.sf(abs(got.difference) / got.standard_error, n - 1), rel=1e-9)
    assert got.log_loss_a == log_loss(y, p, sample_weight=w)
    equal = compare_log_loss(y, p, q, sample_weight=np.full(60, 0.25))
    assert equal.p_value == pytest.approx(compare_log_loss(y, p, q).p_value, rel=1e-12)
    doubled = compare_log_loss(y, p, q, sample_weight=2 * w)
    assert dataclasses.replace(doubled) == got


def test_forms_of_input():
    y, p, q, _ = data(40, 2)
    words = np.array(["no", "yes"])[y]
    want = compare_log_loss(y, p, q)
    for a, b in ((p[:, 1], q[:, 1]), (p[:, 1:], q), (pd.DataFrame(p), q.tolist())):
        got = compare_log_loss(words, a, b, labels=["no", "yes"])
        assert got.difference == pytest.approx(want.difference, rel=1e-9)
    logits = [np.log(x) for x in (p, q)]
    assert compare_log_loss(y, *logits, from_logits=True).p_value == pytest.approx(want.p_value, rel=1e-9)
    narrow = compare_log_loss(y, p[:, 1].astype(np.float32), q)
    assert narrow.log_loss_a == log_loss(y, p[:, 1].astype(np.float32))
    indicator = np.eye(2, dtype=int)[y]
    assert compare_log_loss(indicator, p, q) == want


def test_the_sentence():
    y, p, _, _ = data(500, 3)
    worse = np.full((500, 3), 1 / 3)
    better = compare_log_loss(y, worse, p)
    assert repr(better).startswith(f"B is better than A: its log-loss of {better.log_loss_b:.6g} is lower than 1.09861 by ")
    assert repr(better).endswith(f"p = {better.p_value:.3g} in a paired t-test over 500 rows).")
    assert "95 % interval" in repr(better)
    assert repr(compare_log_loss(y, p, worse)).startswith("B is worse than A: its log-loss of 1.09861 is higher than ")
    same = compare_log_loss(y, p, p)
    assert (same.difference, same.p_value, same.low, same.high) == (0.0, 1.0, 0.0, 0.0)
    assert "is not shown to differ from A's" in repr(same)
    one = compare_log_loss([0], [0.1], [0.2], labels=[0, 1])
    assert math.isnan(one.p_value)
    assert math.isnan(one.low)
    assert repr(one) == "B's log-loss is 0.223144 and A's 0.105361, over 1 row."
    with pytest.raises(dataclasses.FrozenInstanceError):
        same.p_value = 0.0
    assert pickle.loads(pickle.dumps(better)) == better


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"proba_a": [[0.5, 1.5]] * 2}, ValueError, "proba_a contains values greater than 1: 1.5"),
        ({"proba_b": [[0.5, -1.5]] * 2}, ValueError, "proba_b contains values lower than 0: -1.5"),
        ({"proba_b": [[0.5, math.nan]] * 2}, ValueError, "Input proba_b contains NaN"),
        ({"proba_b": [0.5]}, ValueError, r"inconsistent numbers of samples: \[2, 1, 2\]"),
        ({"proba_b": [[0.2, 0.3, 0.5]] * 2}, ValueError, "different number of classes: 2 vs 3"),
        ({"proba_a": 0.5}, ValueError, "proba_a is 0.5; expected an array or a list"),
        ({"y_true": [0, 0]}, ValueError, "y_true contains only one label"),
        ({"y_true": [0, 3], "labels": [0, 1]}, ValueError, "y_true contains values .* not belonging to the passed labels"),
        ({"level": 2}, ValueError, "level"),
        ({"level": "high"}, TypeError, "level"),
        ({"sample_weight": [1.0, -1.0]}, ZeroDivisionError, "Weights sum to zero"),
        ({"sample_weight": [0.0, 0.0]}, ValueError, "must contain at least one non-zero number"),
        ({"proba_b": np.ma.array([0.1, 0.2], mask=[0, 1])}, ValueError, "proba_b is a masked array"),
    ],
)
def test_errors(change, error, message):
    arguments = {"y_true": [0, 1], "proba_a": [0.2, 0.7], "proba_b": [0.1, 0.9], **change}
    with pytest.raises(error, match=message):
        compare_log_loss(**arguments)


def test_warnings():
    with pytest.warns(UserWarning, match="proba_b values do not sum to one") as told:
        compare_log_loss([0, 1], [0.2, 0.7], [[0.1, 0.8], [0.1, 0.9]])
    assert told[0].filename == __file__
    with pytest.warns(UserWarning, match=r"proba_a has the columns \['yes', 'no'\]"):
        compare_log_loss(["yes", "no"], pd.DataFrame({"yes": [0.1, 0.9], "no": [0.9, 0.1]}), [0.2, 0.7])


def test_labels_that_are_guessed_wrong():
    """More than the first of many integers show."""
    n = 200_000
    y, p = np.zeros(n, int), np.full((n, 3), 1 / 3)
    y[:10], y[-1] = 1, 2
    q = p.copy()
    q[:, 0] = 1 / 3
    assert compare_log_loss(y, p, q).count == n
    assert compare_log_loss(y, p, q).log_loss_b == log_loss(y, q)
