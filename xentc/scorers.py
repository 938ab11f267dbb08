"""Python layer: scorers for scikit-learn's ``scoring=``.

Use ``neg_log_loss`` and ``d2_log_loss`` in ``cross_val_score``, ``GridSearchCV`` or ``LogisticRegressionCV``. Needs
scikit-learn.

They take the classes from the fitted estimator, so a fold may lack some of them, or hold a single one. Of a single class
``d2_log_loss`` is 0 for perfect predictions and hugely negative for others, as ``sklearn.metrics.d2_log_loss_score`` with
``labels`` is: predicting the frequencies is perfect too, but for the eps that clips them.

Examples
--------
>>> from sklearn.datasets import load_iris
>>> from sklearn.linear_model import LogisticRegression
>>> from sklearn.model_selection import KFold, cross_val_score
>>> from xentc.scorers import neg_log_loss
>>> X, y = load_iris(return_X_y=True)
>>> bool((cross_val_score(LogisticRegression(max_iter=1000), X, y, scoring=neg_log_loss) > -0.5).all())
True
>>> bool((cross_val_score(LogisticRegression(max_iter=1000), X, y, scoring=neg_log_loss, cv=KFold(10)) > -0.5).all())
True
"""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    from sklearn.metrics import make_scorer
except ImportError as error:
    raise ImportError('xentc.scorers needs scikit-learn: pip install "xentc[sklearn]"') from error

from xentc.metrics import d2_log_loss_score, log_loss

__all__ = ["d2_log_loss", "neg_log_loss"]

# No public way leads from an estimator to its metric: the function of make_scorer sees labels and predictions only. A plain
# callable instead shares no predict_proba with other scorers, has no set_score_request, and gets no labels from
# LogisticRegressionCV. So this is make_scorer's own class but for `_score`, through which all calls of a scorer go, the
# same from scikit-learn 1.5 to 1.9.
_Base: Any = type(make_scorer(log_loss, response_method="predict_proba"))


class _ClassesScorer(_Base):
    """A scorer that tells the metric the classes of the estimator."""

    def _score(self, method_caller: Any, estimator: Any, X: Any, y_true: Any, **kwargs: Any) -> float:
        classes = getattr(estimator, "classes_", None)
        # A list has the classes of several outputs; several columns of y_true are an indicator, which is its own labels.
        if not isinstance(classes, list) and np.shape(y_true)[1:] in ((), (1,)):
            kwargs = {"labels": classes, **kwargs}
        return super()._score(method_caller, estimator, X, y_true, **kwargs)


#: Minus the :func:`xentc.log_loss` of ``predict_proba``: the larger, the better.
neg_log_loss = _ClassesScorer(log_loss, -1, {}, "predict_proba")
#: The :func:`xentc.d2_log_loss_score` of ``predict_proba``: the fraction of log-loss explained.
d2_log_loss = _ClassesScorer(d2_log_loss_score, 1, {}, "predict_proba")
