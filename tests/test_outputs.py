"""Arrays that results go into: which are taken, what may overlap what, and what stays as it was."""

import warnings

import numpy as np
import pytest

from xentc import categorical_cross_entropy, cross_entropy, perplexity, special

X = np.random.default_rng(0).standard_normal((3, 4))
Y = np.array([0, 3, 1])


def test_outputs_of_integers():
    for out in (np.empty((), int), np.empty((), "c16"), np.empty((), bool)):
        with pytest.raises(TypeError, match=r"out has dtype .*; expected a floating-point one"):
            special.logsumexp([0.5, 1.0], out=out)


def test_outputs_that_are_read_only():
    for function, shape in ((special.logsumexp, ()), (special.softmax, (2,)), (special.log_softmax, (2,))):
        with pytest.raises(ValueError, match="out is read-only"):
            function([0.5, 1.0], out=np.broadcast_to(0.0, shape))


def test_outputs_that_overlap_themselves():
    memory = np.zeros(20)
    for strides in ((8, 8), (16, 8), (0, 8), (8, 0), (4, 16)):
        out = np.lib.stride_tricks.as_strided(memory, (3, 4), strides)
        with pytest.raises(ValueError, match=r"out_grad has strides .*: its elements share memory"):
            cross_entropy(X, Y, return_grad=True, out_grad=out)
    want = cross_entropy(X, Y, return_grad=True)[1]
    for strides in ((32, 8), (8, 24), (40, 8), (8, 32), (-32, 8)):
        start = memory[12:] if strides[0] < 0 else memory
        out = np.lib.stride_tricks.as_strided(start, (3, 4), strides)
        assert np.array_equal(cross_entropy(X, Y, return_grad=True, out_grad=out)[1], want)


def test_no_warning_where_a_result_is_too_large():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dtype in ("f2", ">f2", ">f4", np.longdouble):
            out = np.empty(2, dtype)
            special.log_softmax([0.0, 1e39], out=out)
            assert out[1] == 0
            assert out[0] == (-1e39 if dtype is np.longdouble else -np.inf)
            grad = np.empty((1, 2), dtype)
            cross_entropy([[0.0, 1.0]], [0], sample_weight=[1e39], reduction="sum", return_grad=True, out_grad=grad)
            assert np.isinf(grad).all() == (dtype is not np.longdouble)
        assert perplexity([[0.0, 5000.0]], [0]) == np.inf
        assert special.logsumexp([1e39], out=np.empty((), "f2")) == np.inf


def test_neighbouring_columns_of_one_array_do_not_overlap():
    both = np.concatenate([X, X], axis=1)
    _, want = cross_entropy(X, Y, return_grad=True)
    cross_entropy(both[:, :4], Y, return_grad=True, out_grad=both[:, 4:])
    np.testing.assert_array_equal(both[:, 4:], want)
    np.testing.assert_array_equal(both[:, :4], X)


def test_partial_overlap_is_an_error():
    memory = np.zeros((4, 4))
    with pytest.raises(ValueError, match="out_grad overlaps logits partly"):
        cross_entropy(memory[:-1], Y, return_grad=True, out_grad=memory[1:])
    with pytest.raises(ValueError, match="out_grad shares memory with target"):
        cross_entropy(X, memory[1:], return_grad=True, out_grad=memory[1:])


@pytest.mark.parametrize(
    ("function", "x", "target", "message"),
    [
        (cross_entropy, [[1.0, 2.0], [3.0, 4.0]], [[np.nan, 1.0], [-1.0, 1.0]], r"target\[1, 0\] is -1.0"),
        (categorical_cross_entropy, [[0.5, 0.5], [0.5, 2.0]], [0, 1], r"proba\[1, 1\] is 2.0"),
    ],
)
def test_nothing_is_overwritten_that_an_error_would_lose(function, x, target, message):
    x = np.array(x)
    kept = x.copy()
    with pytest.raises(ValueError, match=message):
        function(x, np.array(target), return_grad=True, out_grad=x)
    np.testing.assert_array_equal(x, kept)
