"""perplexity: the exponential of the mean cross-entropy."""

import math

import numpy as np
import pytest

from xentc import cross_entropy, perplexity


def test_perplexity(rng):
    x, y = rng.standard_normal((2, 9, 11)), rng.integers(0, 11, (2, 9))
    y[0, 3:] = -100
    want = math.exp(cross_entropy(x, y, ignore_index=-100))
    assert perplexity(x, y, ignore_index=-100) == pytest.approx(want, rel=1e-15)
    assert perplexity([[0.0, 1e6]], [0]) == np.inf
    assert math.isnan(perplexity(np.empty((0, 3)), []))
