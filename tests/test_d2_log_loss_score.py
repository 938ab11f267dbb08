"""d2_log_loss_score: what it is of known frequencies, and where it is not defined; test_log_loss.py has more."""

import math
import sys

import numpy as np
import pytest
import sklearn.metrics

from xentc import LogLoss, d2_log_loss_score, log_loss
from xentc.metrics import UndefinedMetricWarning


def test_d2_of_the_frequencies_is_0():
    y = np.array([0, 1, 1, 2, 2, 2])
    w = np.array([1, 2, 3, 1, 2, 3.0])
    frequencies = np.bincount(y, w) / w.sum()
    assert d2_log_loss_score(y, np.tile(frequencies, (6, 1)), sample_weight=w) == pytest.approx(0, abs=1e-15)


def test_d2_of_one_sample_is_undefined():
    with pytest.warns(sklearn.exceptions.UndefinedMetricWarning, match="less than two samples"):
        assert math.isnan(d2_log_loss_score([0], [0.5]))


def test_without_scikit_learn_the_warning_is_our_own(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.exceptions", None)
    with pytest.warns(UndefinedMetricWarning, match="less than two samples"):
        assert math.isnan(d2_log_loss_score([0], [0.5]))


@pytest.mark.parametrize("n_classes", [2, 3, 1000, 1001])
def test_without_sums_by_class(n_classes):
    """Whether the pieces keep them or not: they do up to 1000 classes."""
    rng = np.random.default_rng(n_classes)
    p, y, w = rng.dirichlet(np.ones(n_classes), 300), rng.integers(0, n_classes, 300), rng.integers(0, 3, 300)
    metric, weighted = (LogLoss(range(n_classes), by_class=False) for _ in range(2))
    for part in (slice(0, 7), slice(7, 300)):
        metric.update(y[part], p[part], groups=y[part] % 2)
        weighted.update(y[part], p[part], sample_weight=w[part])
    kept = LogLoss(range(n_classes), by_class=True).update(y, p, groups=y % 2)
    assert metric.result() == kept.result() == log_loss(y, p, labels=range(n_classes))
    assert (metric.d2(), metric.standard_error(), metric.count) == (kept.d2(), kept.standard_error(), 300)
    assert str(metric.by_group()) == str(kept.by_group())
    assert weighted.result() == log_loss(y, p, sample_weight=w, labels=range(n_classes))
    assert weighted.weight_sum == w.sum()
    with pytest.raises(ValueError, match="rows had weights: d2 needs"):
        weighted.d2()
    with pytest.raises(ValueError, match="the sums of each class are not kept"):
        metric.by_class()
