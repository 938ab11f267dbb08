"""Where linear_cross_entropy puts its gradients: they are written or added, in any layout, and after an error not at all."""

import itertools

import ml_dtypes
import numpy as np
import pytest
from layers import data, eighths

from xentc import linear_cross_entropy


@pytest.mark.parametrize("out_dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ">f8"])
def test_gradients_add_up(rng, cut, out_dtype):
    hidden, weight, target, _ = data(rng, 60, 8, 100)
    bias = eighths(rng, 100, float)
    wanted = linear_cross_entropy(hidden, weight, target, bias=bias, return_grad=True)[1]
    out = tuple(np.full(x.shape, 2, out_dtype) for x in (hidden, weight, bias))
    returned = linear_cross_entropy(hidden, weight, target, bias=bias, return_grad=True, out_grad=out)[1]
    for mine, given in zip(returned, out, strict=True):
        assert mine is given
    eps = float(ml_dtypes.finfo(np.dtype(out_dtype).newbyteorder("=")).eps)
    np.testing.assert_allclose(out[0].astype(float), wanted[0], rtol=eps, atol=1e-7)   # written over
    np.testing.assert_allclose(out[1].astype(float), wanted[1] + 2, rtol=4 * eps)      # added to
    np.testing.assert_allclose(out[2].astype(float), wanted[2] + 2, rtol=4 * eps)


def test_batches_add_up_to_one_call(rng, cut):
    hidden, weight, target, _ = data(rng, 64, 5, 90)
    loss, (d_hidden, d_weight) = linear_cross_entropy(hidden, weight, target, reduction="sum", return_grad=True)
    total, d_sum = 0.0, np.zeros_like(weight)
    for rows in np.split(np.arange(64), 4):
        part, (d_rows, same) = linear_cross_entropy(
            hidden[rows], weight, target[rows], reduction="sum", return_grad=True, out_grad=(None, d_sum))
        assert same is d_sum
        np.testing.assert_allclose(d_rows, d_hidden[rows], rtol=1e-13, atol=1e-15)
        total += part
    assert total == pytest.approx(loss, rel=1e-14)
    np.testing.assert_allclose(d_sum, d_weight, rtol=1e-12, atol=1e-14)


def test_only_some_gradients_have_a_place(rng, cut):
    hidden, weight, target, _ = data(rng, 60, 8, 100)
    bias = eighths(rng, 100, float)
    want = linear_cross_entropy(hidden, weight, target, bias=bias, return_grad=True)[1]
    for given in itertools.product([False, True], repeat=3):
        out = tuple(np.zeros(x.shape) if has else None for has, x in zip(given, (hidden, weight, bias), strict=True))
        grads = linear_cross_entropy(hidden, weight, target, bias=bias, return_grad=True, out_grad=out)[1]
        for grad, of in zip(grads, want, strict=True):
            np.testing.assert_array_equal(grad, of)


@pytest.mark.parametrize("order", ["C", "F"])
def test_gradients_go_into_any_layout(rng, cut, order):
    hidden, weight, target, _ = data(rng, 40, 6, 70, np.float32)
    want = linear_cross_entropy(hidden, weight, target, return_grad=True)[1]
    d_hidden = np.zeros((40, 12), np.float32, order=order)[:, ::2]
    d_weight = np.zeros((70, 12), np.float32, order=order)[:, ::2]
    linear_cross_entropy(hidden, weight, target, return_grad=True, out_grad=[d_hidden, d_weight])
    np.testing.assert_array_equal(d_hidden, want[0])
    np.testing.assert_array_equal(d_weight, want[1])


def test_two_outputs_that_are_one():
    square, target = np.ones((4, 4)), np.arange(4)
    out = np.zeros((4, 4))
    with pytest.raises(ValueError, match=r"out_grad\[1\] shares memory with out_grad\[0\]"):
        linear_cross_entropy(square, square.copy(), target, return_grad=True, out_grad=(out, out))


@pytest.mark.parametrize("target", [np.array([0, 1, 9]), np.array([[0.5, 0.5], [0.5, 0.5], [0.5, -0.5]])])
def test_nothing_is_added_after_an_error(cut, target):
    out = (np.full((3, 2), 7.0), np.full((2, 2), 7.0))
    with pytest.raises(ValueError, match="target"):
        linear_cross_entropy(np.ones((3, 2)), np.eye(2), target, return_grad=True, out_grad=out)
    assert (out[0] == 7).all()
    assert (out[1] == 7).all()
