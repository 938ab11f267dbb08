"""The threads of linear_cross_entropy and of BLAS: no number of them changes a bit, and limits stay as they are."""

import threading

import numpy as np
import pytest
from layers import blas_threads, data
from threadpoolctl import threadpool_limits

from xentc import linear_cross_entropy


def test_bits_do_not_depend_on_threads(rng, cut):
    hidden, weight = rng.standard_normal((300, 40), np.float32), rng.standard_normal((700, 40), np.float32)
    target = rng.integers(0, 700, 300)
    results = [linear_cross_entropy(hidden, weight, target, return_grad=True, n_threads=n) for n in (1, 2, 5, 16)]
    for loss, grads in results[1:]:
        assert loss == results[0][0]
        for grad, of in zip(grads, results[0][1], strict=True):
            np.testing.assert_array_equal(grad, of)


def test_limits_of_blas_are_as_before(rng):
    before = blas_threads()
    hidden, weight, target, _ = data(rng, 40, 6, 70)
    linear_cross_entropy(hidden, weight, target)
    assert blas_threads() == before
    with pytest.raises(ValueError, match="target"):
        linear_cross_entropy(hidden, weight, target + 70)
    assert blas_threads() == before


@pytest.mark.thread_unsafe
def test_limits_of_others_change_no_bit(rng):
    # threadpoolctl lets the thread that set a limit change it, and no other one.
    hidden, weight = rng.standard_normal((300, 40), np.float32), rng.standard_normal((700, 40), np.float32)
    target = rng.integers(0, 700, 300)
    results = []

    def work():
        results.append(linear_cross_entropy(hidden, weight, target, return_grad=True))

    work()
    for limit in (1, 2):
        with threadpool_limits(limit, user_api="blas"):
            inside = blas_threads()
            work()
            assert blas_threads() == inside
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            assert blas_threads() == inside
    for loss, grads in results[1:]:
        assert loss == results[0][0]
        for grad, of in zip(grads, results[0][1], strict=True):
            np.testing.assert_array_equal(grad, of)


@pytest.mark.thread_unsafe
def test_calls_of_several_threads(rng):
    before = blas_threads()
    hidden, weight, target, _ = data(rng, 200, 20, 800, np.float32)
    want = linear_cross_entropy(hidden, weight, target, return_grad=True)
    results = []

    def work():
        for _ in range(5):
            results.append(linear_cross_entropy(hidden, weight, target, return_grad=True, n_threads=2))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 20
    for loss, grads in results:
        assert loss == want[0]
        for grad, of in zip(grads, want[1], strict=True):
            np.testing.assert_array_equal(grad, of)
    assert blas_threads() == before
