"""decompose_log_loss: against plain formulas, scikit-learn and published numbers."""

import math
import sys

import numpy as np
import pytest
from ml_dtypes import bfloat16
from samples import sample_logits
from scipy.special import xlogy
from sklearn.isotonic import IsotonicRegression

from xentc import d2_log_loss_score, decompose_log_loss, fit_temperature, log_loss
from xentc.special import softmax


def parts(decomposition):
    return decomposition.miscalibration, decomposition.discrimination, decomposition.uncertainty


def plain_decomposition(y, p, weights=None):
    """As model-diagnostics, with scikit-learn's isotonic regression."""

    if weights is not None:
        y, p, weights = y[weights > 0], p[weights > 0], weights[weights > 0]

    def score(p):
        return np.average(-xlogy(y, p) - xlogy(1 - y, 1 - p), weights=weights)

    recalibrated = IsotonicRegression().fit(p, y, sample_weight=weights).predict(p).clip(0, 1)
    marginal = np.average(y, weights=weights)
    return score(p) - score(recalibrated), score(marginal) - score(recalibrated), score(marginal)


def test_published_numbers():
    # R's reliabilitydiag 0.2.0 with a log-loss, as in the tests of model-diagnostics.
    result = decompose_log_loss([0, 0, 0, 1, 1, 1], [0.4, 0.3, 0.2, 0.1, 0.5, 0.9])
    assert parts(result) == pytest.approx((0.3237327, 0.3182571, 0.6931472), abs=5e-8)
    assert result.log_loss == pytest.approx(0.6986228, abs=5e-8)
    assert result.recalibration == "isotonic"


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("digits", [1, 2, 15])
@pytest.mark.parametrize("n_rows", [3, 30, 5000])
def test_two_classes(rng, n_rows, digits, weighted):
    p = rng.beta(0.7, 0.9, n_rows).round(digits).clip(1e-3, 1 - 1e-3)
    y = (rng.random(n_rows) < p**1.5).astype(int)
    y[:2] = [0, 1]
    weights = rng.exponential(size=n_rows) if weighted else None
    if weighted:
        weights[::7] = 0
        weights[:2] = 1
    want = plain_decomposition(y, p, weights)
    result = decompose_log_loss(y, p, sample_weight=weights)
    assert parts(result) == pytest.approx(want, rel=1e-12, abs=1e-15)
    assert result.log_loss == log_loss(y, p, sample_weight=weights)
    total = result.miscalibration - result.discrimination + result.uncertainty
    assert total == pytest.approx(result.log_loss, rel=1e-14)
    assert result.miscalibration > -1e-15
    assert result.discrimination > -1e-15
    score = d2_log_loss_score(y, p, sample_weight=weights)
    assert (result.discrimination - result.miscalibration) / result.uncertainty == pytest.approx(score, rel=1e-12, abs=1e-13)
    # Other forms of the same.
    assert decompose_log_loss(y, p[:, None], sample_weight=weights) == result
    both = np.stack([1 - p, p], axis=1)
    indicator = np.stack([1 - y, y], axis=1)
    for labels in (y, np.array(["no", "yes"])[y], y * 7 - 3, indicator, y.astype(bool), y.astype(np.uint64)):
        assert parts(decompose_log_loss(labels, both, sample_weight=weights)) == pytest.approx(want, rel=1e-12, abs=1e-15)
    # On a grid, so that those of equal probabilities are equal.
    logits = (np.log(both) * 2**40).round() / 2**40 + rng.integers(-3, 4, (n_rows, 1))
    for x in (logits, logits[:, 1] - logits[:, 0]):
        result = decompose_log_loss(y, x, sample_weight=weights, from_logits=True)
        assert parts(result) == pytest.approx(want, rel=1e-9, abs=1e-11)
        assert result.log_loss == log_loss(y, x, sample_weight=weights, from_logits=True)


def test_the_order_of_rows_is_of_no_account(rng):
    p = rng.random(1000).round(2)
    y = (rng.random(1000) < p).astype(int)
    order = rng.permutation(1000)
    assert decompose_log_loss(y[order], p[order]) == decompose_log_loss(y, p)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, bfloat16])
def test_narrow_probabilities(rng, dtype):
    p = rng.random(200).astype(dtype)
    y = (rng.random(200) < p.astype(float)).astype(int)
    result = decompose_log_loss(y, p)
    assert result.log_loss == log_loss(y, p)
    assert parts(result)[1:] == parts(decompose_log_loss(y, p.astype(float)))[1:]


def test_calibrated_forecasts():
    # Of each forecast k/10 the share k/10 comes true.
    p = np.repeat(np.arange(11) / 10, 10)
    y = (np.tile(np.arange(10), 11) < np.repeat(np.arange(11), 10)).astype(int)
    result = decompose_log_loss(y, p)
    assert result.miscalibration == pytest.approx(0, abs=1e-15)
    assert result.discrimination > 0.2


def test_constant_forecasts(rng):
    y = (rng.random(1000) < 0.3).astype(int)
    weights = rng.exponential(size=1000)
    for w in (None, weights):
        result = decompose_log_loss(y, np.full(1000, np.average(y, weights=w)), sample_weight=w)
        assert result.discrimination == 0
        assert result.miscalibration == pytest.approx(0, abs=1e-15)
        assert decompose_log_loss(y, np.full(1000, 0.9), sample_weight=w).discrimination == 0


def test_nothing_of_the_recalibrated_is_clipped():
    y = np.array([0, 0, 0, 1, 1])
    p = np.array([0.1, 0.2, 0.2, 0.3, 0.4])                    # recalibrated: 0 and 1, whose loss is 0
    for x in (p, p.astype(np.float32)):
        result = decompose_log_loss(y, x)
        assert result.discrimination == result.uncertainty
        assert result.miscalibration == result.log_loss == log_loss(y, x)
    result = decompose_log_loss(y, p, sample_weight=[1e-300, 1e-8, 1, 1e8, 1e-300])
    assert result.discrimination == result.uncertainty
    # Surely wrong predictions are clipped, as in log_loss.
    result = decompose_log_loss([0, 1, 1], [1.0, 0.0, 1.0])
    assert result.log_loss == log_loss([0, 1, 1], [1.0, 0.0, 1.0])
    assert all(map(math.isfinite, parts(result)))
    # One class alone is certain.
    result = decompose_log_loss([1, 1], [0.5, 0.25], labels=[0, 1])
    assert parts(result) == (result.log_loss, 0, 0)
    assert math.copysign(1, result.uncertainty) == 1


@pytest.mark.parametrize("weighted", [False, True])
def test_more_classes(rng, weighted):
    x, y = sample_logits(rng, 500, 4, temperature=2.5)
    p = softmax(x, axis=1)
    weights = rng.exponential(size=500) if weighted else None
    shares = np.bincount(y, weights) / (500 if weights is None else weights.sum())
    fit = fit_temperature(x, y, sample_weight=weights)
    for form, from_logits in ((x, True), (p, False)):
        result = decompose_log_loss(y, form, sample_weight=weights, from_logits=from_logits)
        assert result.recalibration == "temperature"
        assert result.log_loss == log_loss(y, form, sample_weight=weights, from_logits=from_logits)
        assert result.uncertainty == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-14)
        assert result.miscalibration == pytest.approx(fit.log_loss_before - fit.log_loss_after, rel=1e-12)
        assert result.discrimination == pytest.approx(result.uncertainty - fit.log_loss_after, rel=1e-12)
        total = result.miscalibration - result.discrimination + result.uncertainty
        assert total == pytest.approx(result.log_loss, rel=1e-14)
    calibrated = decompose_log_loss(y, x / fit.temperature, sample_weight=weights, from_logits=True)
    assert calibrated.miscalibration == pytest.approx(0, abs=1e-15)
    indicator = np.eye(4, dtype=int)[y]
    for form, from_logits in ((x, True), (p, False)):
        of_codes, of_indicator = (
            decompose_log_loss(labels, form, sample_weight=weights, from_logits=from_logits) for labels in (y, indicator)
        )
        assert parts(of_indicator) == pytest.approx(parts(of_codes), rel=1e-14)


def test_sure_predictions_of_more_classes():
    y = [0, 1, 2, 2, 2]
    p = np.eye(3)[[0, 1, 2, 2, 0]]
    result = decompose_log_loss(y, p)
    assert result.log_loss == log_loss(y, p)
    assert result.log_loss - result.miscalibration < 1
    # Predictions that say nothing: a temperature makes no frequencies of them.
    result = decompose_log_loss(y, np.full((5, 3), 1 / 3))
    assert result.miscalibration == pytest.approx(0, abs=1e-15)
    assert result.discrimination < 0


def test_a_decomposition_reads_like_a_line():
    result = decompose_log_loss([0, 1, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.6, 0.9])
    assert repr(result) == (
        "Log-loss 0.533081 = miscalibration 0.302032 - discrimination 0.405465 + uncertainty 0.636514 "
        "(isotonic recalibration)."
    )


@pytest.mark.parametrize(
    ("y_true", "y_proba", "options", "message"),
    [
        ([[1, 1], [0, 1]], [0.1, 0.2], {}, r"y_true\[0\] has 2 classes; expected one class a row"),
        ([[1, 0, 0], [0, 0, 0]], [[1, 0, 0], [0, 1, 0]], {}, r"y_true\[1\] has 0 classes"),
        ([0, 1], [0.1, 0.2], {"sample_weight": [1, -1e-3]}, r"sample_weight\[1\] is -0.001; expected weights >= 0"),
        ([0, 1], [0.1, 1.2], {}, "y_prob contains values greater than 1: 1.2"),
        ([0, 1], [0.1, math.nan], {}, "Input contains NaN"),
        ([0, 0], [0.1, 0.2], {}, "only one label"),
        ([0, 1], 0.1, {}, "The 'y_proba' parameter of decompose_log_loss must be an array-like"),
    ],
)
def test_errors_of_a_decomposition(y_true, y_proba, options, message):
    with pytest.raises(ValueError, match=message):
        decompose_log_loss(y_true, y_proba, **options)


def test_from_logits_is_a_flag():
    with pytest.raises(TypeError, match="from_logits"):
        decompose_log_loss([0, 1], [0.1, 0.2], from_logits="yes")


@pytest.mark.parametrize(
    ("module", "message", "call"),
    [
        ("scipy.optimize", "SciPy", lambda: decompose_log_loss([0, 1, 2], np.full((3, 3), 1 / 3))),
        ("sklearn.isotonic", r'scikit-learn: pip install "xentc\[sklearn', lambda: decompose_log_loss([0, 1], [0.1, 0.2])),
    ],
)
def test_without_what_they_need(monkeypatch, module, message, call):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=message):
        call()
