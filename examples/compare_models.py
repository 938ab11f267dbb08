"""Compare two models
==================

Which of two classifiers is better, how sure that is, where the loss comes from, and pictures of it.

``python examples/compare_models.py [FOLDER]``: pictures go into FOLDER, log_loss_pictures if not given.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, cross_val_score, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xentc
from xentc.plotting import ComparisonDisplay, LogLossDisplay, ReliabilityDisplay
from xentc.scorers import neg_log_loss


def indented(text):
    return "\n".join(f"   {line}" for line in str(text).split("\n"))


def digits(folder):
    """Two models of handwritten digits, by the quadrant of the picture that holds the most ink."""
    x, y = load_digits(return_X_y=True)
    ink = x.reshape(-1, 2, 4, 2, 4).sum(axis=(2, 4)).reshape(len(x), 4)
    quadrant = np.array(["top left", "top right", "bottom left", "bottom right"])[ink.argmax(axis=1)]
    models = {"logistic": make_pipeline(StandardScaler(), LogisticRegression()),
              "forest": RandomForestClassifier(200, min_samples_leaf=2, random_state=0)}
    proba = {name: cross_val_predict(model, x, y, cv=5, method="predict_proba") for name, model in models.items()}

    print("1. Digits: each model, with the standard error of its loss\n")
    for name, p in proba.items():
        metric = xentc.LogLoss(range(10)).update(y, p)
        low, high = metric.confidence_interval()
        print(f"   {name:9} {metric.result():.4f} +- {metric.standard_error():.4f}   95 % interval {low:.4f} to {high:.4f}"
              f"   D2 {metric.d2():.4f}")

    print("\n2. Is the forest better? Row by row, on the same rows\n")
    print(indented(xentc.compare_log_loss(y, proba["logistic"], proba["forest"])))

    print("\n3. Where the forest's loss comes from\n")
    metric = xentc.LogLoss(range(10)).update(y, proba["forest"], groups=quadrant)
    print(indented(metric.by_class()), "\n")
    print(indented(metric.by_group()))

    print("\n4. Folds that lack a digit have a score: cross-validation over the sorted digits\n")
    order = np.argsort(y, kind="stable")
    scores = -cross_val_score(models["forest"], x[order], y[order], cv=8, scoring=neg_log_loss)
    print("   " + "  ".join(f"{score:.3f}" for score in scores))

    LogLossDisplay.from_predictions(y, proba["forest"]).figure_.savefig(folder / "digits_loss.png", dpi=120)
    ReliabilityDisplay.from_predictions(y, proba["forest"], pos_label=8).figure_.savefig(folder / "digits_8.png", dpi=120)
    ComparisonDisplay.from_predictions(
        y, proba["logistic"], proba["forest"], groups=quadrant, names=("logistic", "forest")
    ).figure_.savefig(folder / "digits_comparison.png", dpi=120)


def calibration(folder):
    """A model that is far too sure of itself, on a larger set of two classes."""
    x, y = make_classification(60_000, 20, n_informative=6, n_redundant=8, flip_y=0.05, random_state=0)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.5, random_state=0)
    model = GaussianNB().fit(x_train, y_train)
    proba, logits = model.predict_proba(x_test), model.predict_joint_log_proba(x_test)

    print(f"\n5. What the loss of naive Bayes is made of, on {len(y_test):,} rows of two classes\n")
    print(indented(xentc.decompose_log_loss(y_test, proba)))
    fit = xentc.fit_temperature(model.predict_joint_log_proba(x_train), y_train)
    print(indented(fit))
    mended = xentc.log_loss(y_test, logits / fit.temperature, from_logits=True)
    print(f"   On the rows that it was not fitted to: {xentc.log_loss(y_test, proba):.4f} before, {mended:.4f} after.")

    print("\n6. The same rows in a thousand pieces, as from a file, and merged in another order\n")
    pieces = [xentc.LogLoss([0, 1]).update(y_test[rows], proba[rows])
              for rows in np.array_split(np.random.default_rng(0).permutation(len(y_test)), 1000)]
    whole = xentc.LogLoss([0, 1]).update(y_test, proba)
    print(f"   {sum(pieces)}\n   {whole}\n   all statistics equal, to the last bit: {sum(pieces) == whole}")

    ReliabilityDisplay.from_predictions(y_test, proba).figure_.savefig(folder / "bayes_reliability.png", dpi=120)
    LogLossDisplay.from_predictions(y_test, proba).figure_.savefig(folder / "bayes_loss.png", dpi=120)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "log_loss_pictures")
    folder.mkdir(parents=True, exist_ok=True)
    digits(folder)
    calibration(folder)
    print(f"\n7. Pictures in {folder}/: " + ", ".join(sorted(path.name for path in folder.glob("*.png"))))
