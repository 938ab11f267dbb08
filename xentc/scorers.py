"""Python layer: scorers for scikit-learn's ``scoring=``.

Use ``neg_log_loss`` and ``d2_log_loss`` in ``cross_val_score``, ``GridSearchCV`` or ``LogisticRegressionCV``. Needs
scikit-learn.

Examples
--------
>>> from sklearn.datasets import load_iris
>>> from sklearn.linear_model import LogisticRegression
>>> from sklearn.model_selection import cross_val_score
>>> from xentc.scorers import neg_log_loss
>>> X, y = load_iris(return_X_y=True)
>>> bool((cross_val_score(LogisticRegression(max_iter=1000), X, y, scoring=neg_log_loss) > -0.5).all())
True
"""

from __future__ import annotations

try:
    from sklearn.metrics import make_scorer
except ImportError as error:
    raise ImportError('xentc.scorers needs scikit-learn: pip install "xentc[sklearn]"') from error

from xentc.metrics import d2_log_loss_score, log_loss

__all__ = ["d2_log_loss", "neg_log_loss"]

neg_log_loss = make_scorer(log_loss, greater_is_better=False, response_method="predict_proba")
d2_log_loss = make_scorer(d2_log_loss_score, response_method="predict_proba")
