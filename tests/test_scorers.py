"""The scorers in scikit-learn's pipelines."""

import importlib
import sys
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, cross_val_score

from xentc import scorers


def test_scorers_agree_with_scikit_learns_own():
    x, y = load_iris(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)  # converges in a few iterations
    model = LogisticRegression(max_iter=1000)
    for ours, theirs in ((scorers.neg_log_loss, "neg_log_loss"), (scorers.d2_log_loss, "d2_log_loss_score")):
        np.testing.assert_allclose(
            cross_val_score(model, x, y, scoring=ours), cross_val_score(model, x, y, scoring=theirs), rtol=1e-12
        )
    search = GridSearchCV(model, {"C": [0.1, 1.0]}, scoring=scorers.neg_log_loss).fit(x, y)
    assert search.best_params_ == {"C": 1.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about defaults that will change
        ours = LogisticRegressionCV(Cs=3, cv=3, max_iter=2000, scoring=scorers.neg_log_loss).fit(x, y)
        theirs = LogisticRegressionCV(Cs=3, cv=3, max_iter=2000, scoring="neg_log_loss").fit(x, y)
    np.testing.assert_allclose(ours.C_, theirs.C_)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    monkeypatch.delitem(sys.modules, "xentc.scorers")
    with pytest.raises(ImportError, match=r'xentc.scorers needs scikit-learn: pip install "xentc\[sklearn\]"'):
        importlib.import_module("xentc.scorers")
