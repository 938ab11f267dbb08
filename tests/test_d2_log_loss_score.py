"""d2_log_loss_score: what it is of known frequencies, and where it is not defined; test_log_loss.py has more."""

import math
import sys

import numpy as np
import pytest
import sklearn.metrics

from xentc import d2_log_loss_score
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
