"""log_loss_per_sample: each row to the last bits, and that log_loss is the exact mean of them."""

import warnings

import mpmath as mp
import numpy as np
import pytest
from oracles import log_loss_rows, random_proba, ulps

from xentc import ExactMean, log_loss, log_loss_per_sample


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_rows_within_2_ulp_and_the_exact_mean(dtype):
    rng = np.random.default_rng(0)
    for trial in range(60):
        n, k = int(rng.integers(1, 20)), int(rng.integers(2, 8))
        p = random_proba(rng, n, k, dtype, trial % 2)
        if k == 2 and trial % 3:
            p = p[:, 1]
        codes = rng.integers(0, k, n)
        w = rng.uniform(0.1, 3, n)
        rows = log_loss_per_sample(codes, p, labels=range(k))
        assert rows.dtype == np.float64
        assert ulps(rows, log_loss_rows(codes, p)).max() <= 2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weighted = log_loss(codes, p, labels=range(k), sample_weight=w)
            total = log_loss(codes, p, labels=range(k), sample_weight=w, normalize=False)
        mean = ExactMean()
        mean.add(rows, w)
        assert weighted == mean.mean()
        assert total == mean.sum()


def test_small_probabilities_of_class_1_cost_exactly_log1p():
    p = np.array([1e-12, 3e-9, 1e-5])
    rows = log_loss_per_sample([0, 0, 0], p, labels=[0, 1])
    assert ulps(rows, log_loss_rows([0, 0, 0], p)).max() <= 2


def test_binary_logits_are_the_decision_function():
    x = np.array([-800.0, -40.0, -0.5, 0.0, 3.0, 40.0, 700.0])
    for y in (np.zeros(7, int), np.ones(7, int)):
        rows = log_loss_per_sample(y, x, labels=[0, 1], from_logits=True)
        exact = [mp.log1p(mp.exp(-mp.mpf(v) if c else mp.mpf(v))) for c, v in zip(y, x, strict=True)]
        assert ulps(rows, np.array(exact, object)).max() <= 3
        single = log_loss_per_sample(y, x.astype(np.float32)[:, None], labels=[0, 1], from_logits=True)
        assert single.dtype == np.float64
        assert ulps(single, np.array(exact, object)).max() <= 3
