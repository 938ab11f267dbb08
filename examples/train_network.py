"""
Train a network in NumPy
========================

Two layers, backpropagation by hand, and momentum. The loss and the gradient at the logits come from one call; the rest is
the chain rule.
"""

# %%
# Handwritten digits, a third of them held out.

import numpy as np
from matplotlib import pyplot
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from xentc import cross_entropy

rng = np.random.default_rng(0)
x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x / 16, y, test_size=1 / 3, random_state=0, stratify=y)

# %%
# The forward pass keeps what the backward pass needs. Label smoothing is a keyword of the loss.

weights = [rng.normal(0, np.sqrt(2 / 64), (64, 100)), rng.normal(0, np.sqrt(1 / 100), (100, 10))]
biases = [np.zeros(100), np.zeros(10)]


def forward(x):
    hidden = np.maximum(x @ weights[0] + biases[0], 0)
    return hidden, hidden @ weights[1] + biases[1]


def gradients(x, y):
    hidden, logits = forward(x)
    loss, slope = cross_entropy(logits, y, label_smoothing=0.05, return_grad=True)
    below = (slope @ weights[1].T) * (hidden > 0)
    return loss, [x.T @ below, hidden.T @ slope], [below.sum(axis=0), slope.sum(axis=0)]


# %%
# Stochastic gradient descent with momentum.

velocity = [np.zeros_like(parameter) for parameter in weights + biases]
curves = {"training": [], "held out": []}
for _ in range(40):
    for rows in np.array_split(rng.permutation(len(y_train)), 40):
        _, of_weights, of_biases = gradients(x_train[rows], y_train[rows])
        for parameter, speed, gradient in zip(weights + biases, velocity, of_weights + of_biases, strict=True):
            speed *= 0.9
            speed -= 0.05 * gradient
            parameter += speed
    curves["training"].append(cross_entropy(forward(x_train)[1], y_train))
    curves["held out"].append(cross_entropy(forward(x_test)[1], y_test))

accuracy = (forward(x_test)[1].argmax(axis=1) == y_test).mean()
print(f"Held out: log-loss {curves['held out'][-1]:.4f}, accuracy {accuracy:.1%}")

# %%
# Both losses without smoothing, after each pass over the data.

figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
for name, curve in curves.items():
    axes.plot(range(1, len(curve) + 1), curve, label=name)
axes.set(yscale="log", xlabel="passes over the data", ylabel="log-loss")
axes.legend(frameon=False)
pyplot.show()
