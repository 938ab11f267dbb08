"""softmax, log_softmax and logsumexp: over any axes, beside SciPy and in extended precision."""

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import ulps

from xentc import special

INF, NAN = np.inf, np.nan


@settings(max_examples=100, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=st.integers(0, 99), axes=st.sets(st.integers(0, 3)),
    keepdims=st.booleans(), single=st.booleans(), order=st.sampled_from("CF"), none=st.booleans(),
)
def test_special_against_scipy(shape, seed, axes, keepdims, single, order, none):
    x = np.asarray(np.random.default_rng(seed).standard_normal(shape) * 5, np.float32 if single else np.float64, order=order)
    axis = None if none else tuple(a for a in axes if a < len(shape))
    tolerance = 2e-6 if single else 1e-13
    if axis != ():
        want = scipy.special.logsumexp(x, axis=axis, keepdims=keepdims)
        got = special.logsumexp(x, axis=axis, keepdims=keepdims)
        assert np.shape(got) == np.shape(want)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
        for ours, theirs in ((special.softmax, scipy.special.softmax), (special.log_softmax, scipy.special.log_softmax)):
            if axis is not None and len(axis) > 1 and theirs is scipy.special.log_softmax:
                continue
            np.testing.assert_allclose(ours(x, axis=axis), theirs(x, axis=axis), rtol=tolerance, atol=tolerance)


def test_special_edges():
    x = np.array([[-INF, -INF], [INF, 0.0], [NAN, 0.0], [0.0, -INF], [NAN, -INF], [INF, NAN]])
    lse = special.logsumexp(x, axis=1)
    np.testing.assert_array_equal(lse, [-INF, INF, NAN, 0.0, NAN, NAN])
    p = special.softmax(x, axis=1)
    assert np.isnan(p[[0, 1, 2, 4, 5]]).all()
    assert p[3].tolist() == [1, 0]
    assert special.log_softmax(x, axis=1)[3].tolist() == [0, -INF]
    assert special.logsumexp(np.empty((2, 0)), axis=1).tolist() == [-INF, -INF]
    assert special.logsumexp([]) == -INF
    with pytest.raises(ValueError, match="has no elements"):
        special.softmax(np.empty((2, 0)), axis=1)
    with pytest.raises(ValueError, match="axis is 3, but the array has 2 axes"):
        special.logsumexp(x, axis=3)
    with pytest.raises(ValueError, match=r"axis \(0, 0\) names an axis twice"):
        special.logsumexp(x, axis=(0, 0))


def test_special_out(rng):
    x = rng.standard_normal((5, 6, 7))
    out = np.empty((5, 1, 7))
    assert special.logsumexp(x, axis=1, keepdims=True, out=out) is out
    np.testing.assert_array_equal(out[:, 0], special.logsumexp(x, axis=1))
    with pytest.raises(ValueError, match=r"out has shape \(5, 1, 7\); expected \(5, 7\)"):
        special.logsumexp(x, axis=1, out=out)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_special_accuracy(dtype, rng):
    x = (rng.standard_normal((50, 30)) * 10).astype(dtype)
    wide = x.astype(np.longdouble)
    m = wide.max(axis=1, keepdims=True)
    e = np.exp(wide - m)
    e[np.arange(50), x.argmax(axis=1)] = 0
    r = e.sum(axis=1, keepdims=True)
    lse = m + np.log1p(r)
    assert ulps(special.softmax(x, axis=1), np.exp(wide - m) / (1 + r)).max() <= 4
    assert ulps(special.log_softmax(x, axis=1), (wide - m) - np.log1p(r)).max() <= 2
    size = np.maximum(np.abs(m), np.log1p(r)).astype(dtype)
    assert (np.abs(special.logsumexp(x, axis=1).astype(np.longdouble) - lse[:, 0]) <= 2 * np.spacing(size[:, 0])).all()


@pytest.mark.parametrize("axis", [1, None, (0, 1)])
def test_results_too_large_for_a_narrow_output(axis):
    """They are infinite, and nothing is said of it, over one axis and over several."""
    x = np.array([[0, 2**63, 2**63]], np.uint64)
    out = np.empty((1, 3), np.float16)
    special.log_softmax(x, axis=axis, out=out)
    np.testing.assert_array_equal(out, np.array([[-np.inf, -np.log(2), -np.log(2)]], np.float16))
