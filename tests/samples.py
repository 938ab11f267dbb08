"""Predictions, and labels that have their probabilities."""

import numpy as np

from xentc.special import softmax


def sample_logits(rng, n_rows, n_classes, temperature=1.7):
    """Logits, and labels that have the probabilities of the logits at this temperature."""
    x = 3 * rng.standard_normal((n_rows, n_classes))
    return x, sample_labels(rng, softmax(x / temperature, axis=1))


def sample_classes(rng, n_rows, n_classes):
    """Labels and their probabilities."""
    proba = rng.dirichlet(np.ones(n_classes), n_rows)
    return sample_labels(rng, proba), proba


def sample_labels(rng, proba):
    n_rows, n_classes = proba.shape
    return (proba.cumsum(axis=1) < rng.random((n_rows, 1))).sum(axis=1).clip(0, n_classes - 1)
