"""The scorers in scikit-learn's pipelines."""

import copy
import importlib
import pickle
import sys
import warnings

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import get_scorer
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xentc import d2_log_loss_score, log_loss, scorers

X, Y = load_iris(return_X_y=True)  # sorted by class
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
FOLDS = KFold(10)  # each of a single class
BOTH = {"log_loss": scorers.neg_log_loss, "d2": scorers.d2_log_loss}


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


# ---- Folds that lack classes.


class CountingNB(GaussianNB):
    calls = 0

    def predict_proba(self, X):
        type(self).calls += 1
        return super().predict_proba(X)


def probabilities(fitted, x):
    """What a scorer hands on: of two classes the second column."""
    proba = fitted.predict_proba(x)
    return proba[:, 1] if len(fitted.classes_) == 2 else proba


@pytest.mark.parametrize("y", [Y, Y - 1, Y == 2, Y == 0, NAMES, NAMES.astype(object)], ids=lambda y: f"{y.dtype} {y[0]}")
def test_folds_of_a_single_class(y):
    model = make_pipeline(StandardScaler(), CountingNB())
    CountingNB.calls = 0
    scores = cross_validate(model, X, y, cv=FOLDS, scoring=BOTH, error_score="raise")
    assert CountingNB.calls == 10, "both scorers share the probabilities"
    for i, (train, test) in enumerate(FOLDS.split(X)):
        fitted = clone(model).fit(X[train], y[train])
        proba, labels = probabilities(fitted, X[test]), fitted.classes_
        assert scores["test_log_loss"][i] == -log_loss(y[test], proba, labels=labels)
        assert scores["test_d2"][i] == d2_log_loss_score(y[test], proba, labels=labels)
        theirs = sklearn.metrics.d2_log_loss_score(y[test], proba, labels=labels)
        assert scores["test_d2"][i] == pytest.approx(theirs, rel=1e-12), "whose null loss is that of eps"
        for name, scorer in BOTH.items():
            assert scorer(fitted, X[test], y[test]) == scores[f"test_{name}"][i]
            assert scorer(fitted, X[test], y[test].reshape(-1, 1)) == scores[f"test_{name}"][i]
    np.testing.assert_array_equal(
        cross_val_score(model, X, y, cv=FOLDS, scoring=scorers.neg_log_loss), scores["test_log_loss"]
    )


def test_searches_over_folds_of_a_single_class():
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 10.0]}, cv=FOLDS, scoring=scorers.neg_log_loss)
    search.fit(X, NAMES)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_ == {"var_smoothing": 1e-9}
    assert search.score(X[:9], NAMES[:9]) == -log_loss(NAMES[:9], search.predict_proba(X[:9]), labels=search.classes_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about defaults that will change
        model = LogisticRegressionCV(Cs=2, cv=FOLDS, max_iter=2000, scoring=scorers.neg_log_loss).fit(X, NAMES)
    assert all(np.isfinite(scores).all() for scores in model.scores_.values())


def test_a_fold_with_a_class_that_the_estimator_has_not_seen():
    fitted = GaussianNB().fit(X[:100], NAMES[:100])
    for scorer in BOTH.values():
        with pytest.raises(ValueError, match=r"y_true contains values .*'virginica'.* not belonging to the passed labels"):
            scorer(fitted, X, NAMES)


def test_sample_weights():
    w = np.linspace(0.5, 2, len(X))
    fitted = GaussianNB().fit(X, NAMES)
    want = -log_loss(NAMES[:9], fitted.predict_proba(X[:9]), labels=fitted.classes_, sample_weight=w[:9])
    assert scorers.neg_log_loss(fitted, X[:9], NAMES[:9], sample_weight=w[:9]) == want
    with sklearn.config_context(enable_metadata_routing=True):
        unweighted = cross_val_score(GaussianNB(), X, NAMES, scoring=scorers.neg_log_loss, cv=FOLDS)
        scoring = {name: copy.deepcopy(scorer).set_score_request(sample_weight=True) for name, scorer in BOTH.items()}
        model = GaussianNB().set_fit_request(sample_weight=False)
        weighted = cross_validate(model, X, NAMES, scoring=scoring, params={"sample_weight": w}, cv=FOLDS)
        # Labels that are passed go before those of the estimator.
        scorer = copy.deepcopy(scorers.neg_log_loss).set_score_request(labels=True)
        with pytest.raises(ValueError, match="not belonging to the passed labels"):
            scorer(fitted, X, NAMES, labels=["setosa", "versicolor"])
    for i, (train, test) in enumerate(FOLDS.split(X)):
        fitted = GaussianNB().fit(X[train], NAMES[train])
        of_fold = NAMES[test], fitted.predict_proba(X[test])
        assert unweighted[i] == -log_loss(*of_fold, labels=fitted.classes_)
        assert weighted["test_log_loss"][i] == -log_loss(*of_fold, labels=fitted.classes_, sample_weight=w[test])
        assert weighted["test_d2"][i] == d2_log_loss_score(*of_fold, labels=fitted.classes_, sample_weight=w[test])


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "clone": lambda scorer: clone(scorer, safe=False),
    "pickle": lambda scorer: pickle.loads(pickle.dumps(scorer)),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_copies(copied):
    fitted = GaussianNB().fit(X, Y)
    for scorer in BOTH.values():
        twin = copied(scorer)
        assert repr(twin) == repr(scorer)
        assert twin(fitted, X[:9], Y[:9]) == scorer(fitted, X[:9], Y[:9])


def outcome(scorer, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rows that do not sum to one
        try:
            return scorer(*args)
        except Exception as error:
            return type(error), str(error)


MULTILABEL = np.random.default_rng(0).integers(0, 2, (len(X), 3))


@pytest.mark.parametrize(
    ("model", "y"),
    [
        (KNeighborsClassifier(), MULTILABEL),                # classes_ and predict_proba are lists
        (KNeighborsClassifier(), np.column_stack([Y, Y])),
        (MLPClassifier(max_iter=1000, tol=0.1), MULTILABEL),  # they are arrays
        (GaussianMixture(3, random_state=0), Y),              # no classes_
    ],
    ids=["multilabel", "multiclass outputs", "array of multilabel", "no classes"],
)
def test_without_classes_all_is_as_with_scikit_learns_own(model, y):
    model.fit(X, y)
    for ours, theirs in ((scorers.neg_log_loss, "neg_log_loss"), (scorers.d2_log_loss, "d2_log_loss_score")):
        want = outcome(get_scorer(theirs), model, X, y)
        got = outcome(ours, model, X, y)
        assert got == (pytest.approx(want, rel=1e-12) if isinstance(want, float) else want)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    monkeypatch.delitem(sys.modules, "xentc.scorers")
    with pytest.raises(ImportError, match=r'xentc.scorers needs scikit-learn: pip install "xentc\[sklearn\]"'):
        importlib.import_module("xentc.scorers")
