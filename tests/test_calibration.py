"""fit_temperature and decompose_log_loss: against mpmath, plain formulas, scikit-learn and published numbers."""

import math
import sys

import mpmath as mp
import numpy as np
import pytest
from depth import slow_but
from ml_dtypes import bfloat16
from scipy.optimize import brentq
from scipy.special import xlogy
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from xentc import cross_entropy, d2_log_loss_score, decompose_log_loss, fit_temperature, log_loss
from xentc.special import softmax

LOWEST, HIGHEST = math.exp(-10), math.exp(10)


def sample(rng, n_rows, n_classes, temperature=1.7):
    """Logits, and labels that have the probabilities of the logits at this temperature."""
    x = 3 * rng.standard_normal((n_rows, n_classes))
    edges = softmax(x / temperature, axis=1).cumsum(axis=1)
    return x, (edges < rng.random((n_rows, 1))).sum(axis=1).clip(0, n_classes - 1)


def columns(x):
    """Logits of both classes, where there is one column."""
    x = np.asarray(x, np.float64).reshape(len(x), -1)
    return x if x.shape[1] > 1 else np.concatenate([np.zeros(x.shape), x], axis=1)


def slope(x, codes, weights, temperature):
    """The derivative of the mean loss in 1 / temperature, in plain NumPy."""
    rows = columns(x)
    p = softmax(rows / temperature, axis=1)
    finite = np.where(np.isneginf(rows), 0, rows)
    return np.average((p * finite).sum(axis=1) - finite[np.arange(len(rows)), codes], weights=weights)


def exact_temperature(x, codes, weights, near):
    """By mpmath, from a guess."""
    with mp.workdps(40):
        rows = [[mp.mpf(float(value)) for value in row] for row in columns(x)]

        def exact_slope(beta):
            total = mp.mpf(0)
            for row, code, weight in zip(rows, codes, weights, strict=True):
                finite = [value for value in row if value != -mp.inf]
                e = [mp.exp(beta * value) for value in finite]
                total += float(weight) * (mp.fdot(e, finite) / mp.fsum(e) - row[code])
            return total

        return float(1 / mp.findroot(exact_slope, 1 / mp.mpf(near)))


@pytest.mark.parametrize("dtype", slow_but([np.float64, bfloat16], [np.float64, np.float32, np.float16, bfloat16]))
@pytest.mark.parametrize("weighted", slow_but([True], [False, True]))
@pytest.mark.parametrize("shape", [(30,), (30, 1), (30, 2), (40, 3), (25, 20), (10, 300)])
def test_the_temperature_has_all_digits(rng, shape, weighted, dtype):
    n_classes = 2 if shape[1:] in ((), (1,)) else shape[1]
    x, y = sample(rng, shape[0], n_classes, temperature=0.7)
    if x.shape != shape:
        x = (x[:, 1] - x[:, 0]).reshape(shape)
    x = x.astype(dtype)
    options = {"sample_weight": rng.exponential(size=len(x)) if weighted else None, "labels": range(n_classes)}
    fit = fit_temperature(x, y, **options)
    weights = options["sample_weight"] if weighted else np.ones(len(x))
    assert fit.temperature == pytest.approx(exact_temperature(x, y, weights, fit.temperature), rel=1e-14)
    assert LOWEST < fit.temperature < HIGHEST
    assert abs(slope(x, y, weights, fit.temperature)) < 1e-14
    assert fit.log_loss_before == log_loss(y, x, from_logits=True, **options)
    x = x.astype(np.float64)
    assert fit.log_loss_after == log_loss(y, x / fit.temperature, from_logits=True, **options)
    assert fit.count == len(x)
    for other in (0.999, 1.001):
        assert log_loss(y, x / (fit.temperature * other), from_logits=True, **options) > fit.log_loss_after


@pytest.mark.parametrize("temperature", [1e-3, 0.05, 0.3, 0.99, 1.01, 4.0, 100.0, 5000.0])
def test_far_temperatures(rng, temperature):
    x, y = sample(rng, 500, 4)
    x *= temperature / fit_temperature(x, y).temperature
    fit = fit_temperature(x, y)
    assert fit.temperature == pytest.approx(temperature, rel=1e-13)
    assert abs(slope(x, y, None, fit.temperature)) < 1e-14 * temperature


@pytest.mark.parametrize("masked", slow_but([True], [False, True]))
def test_many_rows_in_pieces_layouts_and_threads(rng, masked):
    x, y = sample(rng, 300_000, 4)
    weights = rng.exponential(size=len(x))
    if masked:
        x[np.arange(0, len(x), 3), (y[::3] + 1) % 4] = -np.inf
    fit = fit_temperature(x, y, sample_weight=weights, n_threads=1)
    root = brentq(lambda t: slope(x, y, weights, t), 0.5, 5, xtol=1e-15, rtol=1e-15)
    assert fit.temperature == pytest.approx(root, rel=1e-12)
    scaled = x / fit.temperature
    assert fit.log_loss_after == cross_entropy(scaled, y, sample_weight=weights)
    if not masked:
        assert fit.log_loss_after == log_loss(y, scaled, sample_weight=weights, from_logits=True)
    assert fit_temperature(x, y, sample_weight=weights, n_threads=3) == fit
    for layout in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        assert fit_temperature(layout, y, sample_weight=weights) == fit


def test_logits_are_not_written_to(rng):
    x, y = sample(rng, 100, 3)
    before = x.copy()
    x.flags.writeable = False
    fit_temperature(x, y)
    np.testing.assert_array_equal(x, before)


def test_masked_classes(rng):
    x, y = sample(rng, 50, 5)
    masked = np.arange(5) == ((y + 2) % 5)[:, None]
    fit = fit_temperature(np.where(masked, -np.inf, x), y)
    assert fit.temperature == pytest.approx(exact_temperature(np.where(masked, -np.inf, x), y, np.ones(50), 1.7), rel=1e-14)
    assert fit.log_loss_before == cross_entropy(np.where(masked, -np.inf, x), y)
    # A whole column, and the same without it.
    assert fit_temperature(np.insert(x, 5, -np.inf, axis=1), y, labels=range(6)) == fit_temperature(x, y)
    # In one column it is a sure prediction of the first class.
    of_two = np.array([-1.0, 2.0, -np.inf, 0.5, -0.5])
    fit = fit_temperature(of_two, [0, 1, 0, 0, 1])
    assert fit.temperature == pytest.approx(exact_temperature(np.delete(of_two, 2), [0, 1, 0, 1], np.ones(4), 2), rel=1e-14)


def test_bounds():
    x = np.array([[4.0, 0.0, 1.0], [0.0, 4.0, 1.0], [0.5, 0.0, 3.0]])
    fit = fit_temperature(x, [0, 1, 2])
    assert fit.temperature == LOWEST
    assert fit.log_loss_after == 0
    fit = fit_temperature(x, [1, 2, 0])
    assert fit.temperature == HIGHEST
    assert math.log(3) < fit.log_loss_after < math.log(3) + 2e-4
    assert fit_temperature(x[:, 0] - 2, [1, 0, 0]).temperature == LOWEST
    assert fit_temperature(x[:, 0] - 2, [0, 1, 1]).temperature == HIGHEST


def test_no_temperature_is_better_than_one():
    assert fit_temperature(np.zeros((4, 3)), [0, 1, 2, 2]).temperature == 1
    assert fit_temperature([800.0, -800.0], [1, 0]).temperature == 1               # both losses are 0
    x = np.array([[math.log(3), 0.0]])
    assert fit_temperature(np.repeat(x, 4, axis=0), [0, 0, 0, 1]).temperature == pytest.approx(1, rel=1e-14)
    assert fit_temperature([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0, 1, 0]).temperature == HIGHEST


def test_weights_count_rows(rng):
    x, y = sample(rng, 40, 3)
    counts = rng.integers(0, 4, 40)
    repeated = fit_temperature(np.repeat(x, counts, axis=0), np.repeat(y, counts))
    weighted = fit_temperature(x, y, sample_weight=counts)
    assert weighted.temperature == pytest.approx(repeated.temperature, rel=1e-14)
    assert weighted.log_loss_after == pytest.approx(repeated.log_loss_after, rel=1e-15)
    # What a row of weight 0 holds is of no account.
    x[5, y[5]] = -np.inf
    counts[5] = 0
    assert math.isfinite(fit_temperature(x, y, sample_weight=counts).temperature)


def test_labels_of_any_kind(rng):
    x, y = sample(rng, 60, 3)
    fit = fit_temperature(x, y)
    assert fit_temperature(x.tolist(), np.array(["a", "b", "c"])[y]) == fit
    assert fit_temperature(x, y * 10 - 5) == fit
    assert fit_temperature(x, np.eye(3, dtype=int)[y]).temperature == pytest.approx(fit.temperature, rel=1e-14)
    present = y < 2
    assert fit_temperature(x[present], y[present], labels=[0, 1, 2]).count == present.sum()


def test_rows_of_several_classes(rng):
    x, y = sample(rng, 60, 4)
    several = np.eye(4, dtype=int)[y]
    several[::2, 1] = 1
    fit = fit_temperature(x, several)

    def several_slope(temperature):
        p = softmax(x / temperature, axis=1)
        return ((several.sum(axis=1, keepdims=True) * p - several) * x).sum()

    assert fit.temperature == pytest.approx(brentq(several_slope, 0.1, 100, xtol=1e-15, rtol=1e-15), rel=1e-13)
    assert fit.log_loss_after == log_loss(several, x / fit.temperature, from_logits=True)


def test_labels_that_come_late(rng):
    x, y = sample(rng, 140_000, 2)
    assert fit_temperature(x, 5 * y) == fit_temperature(x, y)
    y[-1] = 2
    with pytest.raises(ValueError, match="different number of classes: 3 vs 2"):
        fit_temperature(x, y)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_scikit_learns_temperature(n_classes):
    X, y = load_iris(return_X_y=True)
    X, y = X[y > 2 - n_classes, :2], y[y > 2 - n_classes] - (3 - n_classes)   # codes from 0
    model = LogisticRegression(C=100).fit(X[::5], y[::5])
    frozen = pytest.importorskip("sklearn.frozen")
    calibrated = CalibratedClassifierCV(frozen.FrozenEstimator(model), method="temperature").fit(X, y)
    fit = fit_temperature(model.decision_function(X), y)
    beta = calibrated.calibrated_classifiers_[0].calibrators[0].beta_
    # Of two classes scikit-learn's logits are twice as far apart.
    assert fit.temperature == pytest.approx(1 / beta / (2 if n_classes == 2 else 1), rel=1e-6)
    assert fit.log_loss_after == pytest.approx(log_loss(y, calibrated.predict_proba(X)), rel=1e-12)


def test_a_fit_reads_like_a_sentence():
    fit = fit_temperature([[4.0, 0.0], [5.0, 0.0], [0.0, 3.0], [2.0, 0.0]], [0, 0, 1, 1])
    assert repr(fit) == "A temperature of 2.04251 takes the log-loss from 0.550095 to 0.430046, over 4 rows."
    assert repr(fit_temperature([1.0], [1], labels=[0, 1])).endswith("over 1 row.")
    with pytest.raises(AttributeError):
        fit.temperature = 1.0


@pytest.mark.parametrize(
    ("logits", "y_true", "options", "message"),
    [
        ([[0, math.nan], [1, 0]], [0, 1], {}, "Input logits contains NaN"),
        ([[0, math.inf], [1, 0]], [0, 1], {}, "Input logits contains infinity"),
        ([[0, math.inf], [-math.inf, 0]], [0, 1], {}, "Input logits contains infinity"),
        ([[1, 0], [0, -math.inf]], [0, 1], {}, "the loss of row 1 is inf at any temperature; expected a finite"),
        ([[1, 0], [-math.inf, -math.inf]], [0, 1], {}, "the loss of row 1 is nan at any temperature"),
        ([[1, 0], [0, 1]], [0, 1], {"sample_weight": [1, -2]}, r"sample_weight\[1\] is -2.0; expected weights >= 0"),
        ([[1, 0], [0, 1]], [0, 1], {"sample_weight": [0, 0]}, "at least one non-zero"),
        ([[1, 0], [0, 1]], [0, 1, 1], {}, r"inconsistent numbers of samples: \[2, 3\]"),
        ([[1, 0, 0], [0, 1, 0]], [0, 1], {}, "y_true and logits contain different number of classes: 2 vs 3"),
        ([[1, 0], [0, 1]], [0, 0], {}, "only one label"),
        ([[1, 0], [0, 1]], [0, 2], {"labels": [0, 1]}, "not belonging to the passed labels"),
        (3.0, [0, 1], {}, "The 'logits' parameter of fit_temperature must be an array-like. Got 3.0 instead."),
        ([1.0, 2.0], "ab", {}, "The 'y_true' parameter of fit_temperature must be an array-like"),
        ([1.0, 2.0], [0, 1], {"sample_weight": 2.0}, "The 'sample_weight' parameter of fit_temperature"),
    ],
)
def test_errors_of_a_fit(logits, y_true, options, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(logits, y_true, **options)


@pytest.mark.parametrize(
    ("module", "message", "call"),
    [
        ("scipy.optimize", r'SciPy: pip install "xentc\[stats\]"', lambda: fit_temperature([1.0, 2.0], [0, 1])),
        ("scipy.optimize", "SciPy", lambda: decompose_log_loss([0, 1, 2], np.full((3, 3), 1 / 3))),
        ("sklearn.isotonic", r'scikit-learn: pip install "xentc\[sklearn', lambda: decompose_log_loss([0, 1], [0.1, 0.2])),
    ],
)
def test_without_what_they_need(monkeypatch, module, message, call):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=message):
        call()


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
    x, y = sample(rng, 500, 4, temperature=2.5)
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
