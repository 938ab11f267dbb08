"""
Find the rows that make the loss
================================

A few rows often make most of a log-loss: hard ones, or wrong labels. Here 2 % of the labels are wrong; losses tell which.
"""

# %%
# A digit classifier's predictions by cross-validation, and labels of which some were changed.

import numpy as np
from matplotlib import pyplot
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xentc import log_loss, log_loss_per_sample
from xentc.plotting import LogLossDisplay

rng = np.random.default_rng(0)
x, y = load_digits(return_X_y=True)
wrong = rng.choice(len(y), len(y) // 50, replace=False)
labels = y.copy()
labels[wrong] = (y[wrong] + rng.integers(1, 10, len(wrong))) % 10
model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
proba = cross_val_predict(model, x, labels, cv=5, method="predict_proba")

# %%
# The worst rows, and how many of them are the ones that were changed.

worst = np.argsort(-log_loss_per_sample(labels, proba))[: len(wrong)]
found = np.isin(worst, wrong).mean()
print(f"log-loss {log_loss(labels, proba):.4f}; of the worst {len(worst)} rows {found:.0%} have a wrong label")

# %%
# Left, the share of the loss that the worst rows make; right, the mean of each digit with its interval.

LogLossDisplay.from_predictions(labels, proba, n_worst=len(wrong))
pyplot.show()

# %%
# The eight worst, as the pictures that they are.

figure, axes = pyplot.subplots(1, 8, figsize=(9, 1.6), layout="constrained")
for row, ax in zip(worst, axes, strict=False):
    ax.imshow(x[row].reshape(8, 8), cmap="gray_r")
    ax.set(xticks=[], yticks=[], title=f"label {labels[row]}")
pyplot.show()
