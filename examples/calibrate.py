"""
Calibrate a model that is too sure
==================================

Naive Bayes takes its features to be independent. Where they are not, it counts the same evidence several times and is far
too sure. One number mends most of it: a temperature, which divides the logits.
"""

# %%
# Three parts of the data: one trains the model, one fits the temperature, one evaluates.

from matplotlib import pyplot
from sklearn.datasets import make_classification
from sklearn.naive_bayes import GaussianNB

import xentc
from xentc.plotting import ReliabilityDisplay

x, y = make_classification(30_000, 20, n_informative=6, n_redundant=8, flip_y=0.05, random_state=0)
train, fit, test = slice(0, 10_000), slice(10_000, 20_000), slice(20_000, 30_000)
model = GaussianNB().fit(x[train], y[train])

# %%
# What is its log-loss made of? Miscalibration is what recalibration can take away.

before = model.predict_proba(x[test])
print(xentc.decompose_log_loss(y[test], before))

# %%
# The temperature of the least log-loss, and what is left of the miscalibration on rows that it has not seen.

found = xentc.fit_temperature(model.predict_joint_log_proba(x[fit]), y[fit])
print(found)
after = xentc.special.softmax(model.predict_joint_log_proba(x[test]) / found.temperature, axis=1)
print(xentc.decompose_log_loss(y[test], after))

# %%
# Before, of the rows with 10 % many more than 10 % are of class 1. After, the points lie on the diagonal.

figure, axes = pyplot.subplots(2, 2, figsize=(9, 5.5), layout="constrained", sharex=True, height_ratios=(3, 1))
ReliabilityDisplay.from_predictions(y[test], before, ax=axes[:, 0])
ReliabilityDisplay.from_predictions(y[test], after, ax=axes[:, 1])
axes[0, 0].set_title("as naive Bayes says")
axes[0, 1].set_title(f"at a temperature of {found.temperature:.1f}")
pyplot.show()
