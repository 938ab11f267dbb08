"""The memory that linear_cross_entropy takes: less than all logits would."""

import tracemalloc

import numpy as np
import pytest

from xentc import linear_cross_entropy


@pytest.mark.thread_unsafe
@pytest.mark.parametrize(("n", "d", "k"), [(2000, 16, 30_000), (400_000, 16, 20)])
def test_logits_are_never_stored(n, d, k):
    # All would take 240 and 32 MB.
    hidden, weight, target = np.zeros((n, d), np.float32), np.zeros((k, d), np.float32), np.zeros(n, int)
    out = (np.zeros_like(hidden), np.zeros_like(weight))
    linear_cross_entropy(hidden[:2], weight, target[:2])
    tracemalloc.start()
    linear_cross_entropy(hidden, weight, target, return_grad=True, out_grad=out, n_threads=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < (64 << 20 if k > 100 else 8 << 20)
    tracemalloc.start()
    linear_cross_entropy(hidden, weight, target, n_threads=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < (16 << 20 if k > 100 else 8 << 20)
