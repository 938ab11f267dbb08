"""Evaluate and train a classifier of digits
=========================================

Cross-validation, the hardest rows, training with the gradient, and time beside scikit-learn, on the handwritten digits that
scikit-learn brings along.
"""

# sphinx_gallery_thumbnail_path = "pictures/digits.svg"

import time
import warnings

import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.model_selection import cross_val_predict, cross_validate, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xentc
from xentc.scorers import neg_log_loss


def cross_validation(model, x, y):
    print("1. Cross-validation: our scorer beside scikit-learn's\n")
    scores = cross_validate(model, x, y, cv=5, scoring={"xentc": neg_log_loss, "sklearn": "neg_log_loss"})
    print("   fold        xentc      scikit-learn   difference")
    for fold, (ours, theirs) in enumerate(zip(scores["test_xentc"], scores["test_sklearn"], strict=True), 1):
        print(f"   {fold}     {-ours:.10f}   {-theirs:.10f}   {abs(ours - theirs):10.1e}")


def hardest_digits(model, x, y):
    print("\n2. The digits that the classifier finds hardest\n")
    proba = cross_val_predict(model, x, y, cv=5, method="predict_proba")
    losses = xentc.log_loss_per_sample(y, proba)
    print("   row    it is   predicted   P(it is)    loss")
    for row in np.argsort(-losses)[:5]:
        p, truth = proba[row], y[row]
        print(f"   {row:4d}     {truth}    {p.argmax()} ({p.max():6.1%})   {p[truth]:8.2e}   {losses[row]:5.2f}")
    worst = np.sort(losses)[::-1]
    print(f"   The worst 1% of the rows make {worst[: len(worst) // 100].sum() / worst.sum():.0%} of the whole loss.")


def train(x, y):
    print("\n3. A softmax classifier, trained with the gradient\n")
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    scaler = StandardScaler().fit(x_train)
    x_train, x_test = scaler.transform(x_train), scaler.transform(x_test)
    shape = (x.shape[1] + 1, 10)
    steps = []

    def logits(weights, x):
        weights = weights.reshape(shape)
        return x @ weights[:-1] + weights[-1]

    def objective(weights):
        loss, grad = xentc.cross_entropy(logits(weights, x_train), y_train, return_grad=True)
        penalty = 1e-3 * weights @ weights
        return loss + penalty, np.vstack([x_train.T @ grad, grad.sum(axis=0)]).ravel() + 2e-3 * weights

    def report(weights):
        steps.append(xentc.cross_entropy(logits(weights, x_train), y_train))
        if len(steps) in (1, 2, 5, 10, 20, 40):
            print(f"   step {len(steps):3d}   training loss {steps[-1]:.4f}")

    start = np.zeros(shape).ravel()
    print(f"   start      training loss {xentc.cross_entropy(logits(start, x_train), y_train):.4f}   (log 10)")
    result = minimize(objective, start, jac=True, method="L-BFGS-B", callback=report, options={"maxiter": 100})
    x_logits = logits(result.x, x_test)
    print(f"   step {len(steps):3d}   training loss {steps[-1]:.4f}")
    print(f"   Held out: accuracy {(x_logits.argmax(axis=1) == y_test).mean():.1%}, "
          f"log-loss {xentc.log_loss(y_test, x_logits, from_logits=True):.4f}")


def timing():
    print("\n4. Time on 1,000,000 predictions of 10 classes (best of 3)\n")
    rng = np.random.default_rng(0)
    proba = rng.random((1_000_000, 10))
    proba /= proba.sum(axis=1, keepdims=True)
    labels = rng.integers(0, 10, len(proba))

    def best(function):
        times = []
        for _ in range(3):
            start = time.perf_counter()
            value = function(labels, proba)
            times.append(time.perf_counter() - start)
        return value, min(times) * 1e3

    theirs, their_time = best(sklearn_log_loss)
    ours, our_time = best(xentc.log_loss)
    print(f"   scikit-learn  {their_time:7.1f} ms   {theirs!r}")
    print(f"   xentc         {our_time:7.1f} ms   {ours!r}   ({their_time / our_time:.0f} times as fast)")


def main():
    x, y = load_digits(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    print(f"xentc {xentc.__version__} on {len(y)} handwritten digits of {x.shape[1]} pixels\n")
    with warnings.catch_warnings(action="error"):
        cross_validation(model, x, y)
        hardest_digits(model, x, y)
        train(x, y)
        timing()


if __name__ == "__main__":
    main()
