"""Sparse targets: what they mean, and that damaged ones end in a ValueError before anything reads through them."""

import math

import numpy as np
import pytest
import scipy.sparse

from xentc import categorical_cross_entropy, cross_entropy, kl_divergence, nll_loss

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 4))
DENSE = np.array([[0, 1, 0, 0], [0.5, 0, 0, 0.5], [0, 0, 0, 0], [0.25, 0.25, 0.5, 0], [0, 0, 0, 1]])
LOSSES = {
    "cross_entropy": lambda t: cross_entropy(X, t, return_grad=True),
    "smoothed": lambda t: cross_entropy(X, t, label_smoothing=0.1, return_grad=True),
    "focal": lambda t: cross_entropy(X, t, focal_gamma=2, return_hess=True),
    "kl_divergence": lambda t: kl_divergence(X, t, return_grad=True),
    "nll_loss": lambda t: nll_loss(-np.abs(X), t, return_grad=True),
    "categorical_cross_entropy": lambda t: categorical_cross_entropy(np.exp(-np.abs(X)), t, return_grad=True),
}


def csr(**changes):
    """DENSE in CSR, with arrays exchanged as no constructor would let through."""
    a = scipy.sparse.csr_array(DENSE)
    for name, value in changes.items():
        setattr(a, name, np.asarray(value))
    return a


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("container", ["csr", "csc", "coo", "bsr", "lil", "dok", "dia"])
def test_all_formats_mean_the_same(name, container):
    want = LOSSES[name](DENSE)
    for make in (scipy.sparse.csr_array, scipy.sparse.csr_matrix):
        for got, expected in zip(LOSSES[name](make(DENSE).asformat(container)), want, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-15, atol=1e-16)


def test_unsorted_entries_and_duplicates():
    indices, data = [3, 1, 1, 0], np.array([0.25, 0.125, 0.125, 0.5])
    flat = np.zeros((5, 4))
    flat[0] = [0.5, 0.25, 0, 0.25]
    twice = scipy.sparse.csr_array((data, indices, [0, 4, 4, 4, 4, 4]), shape=(5, 4))
    assert cross_entropy(X, twice) == pytest.approx(cross_entropy(X, flat), rel=1e-15)
    assert twice.nnz == 4                         # the caller's array is as it was
    assert cross_entropy(X, scipy.sparse.coo_array((data, ([0] * 4, indices)), shape=(5, 4))) == cross_entropy(X, twice)


def test_duplicates_are_summed_in_float64():
    twice = scipy.sparse.csr_array((np.array([200, 100], np.uint8), [1, 1], [0, 2, 2, 2, 2, 2]), shape=(5, 4))
    flat = np.zeros((5, 4))
    flat[0, 1] = 300
    assert cross_entropy(X, twice) == cross_entropy(X, flat)


def test_flags_of_scipy_are_not_believed():
    a = csr()
    assert a.has_canonical_format                 # looked at once, and remembered
    a.indices[1], a.indices[2] = a.indices[2], a.indices[1]
    assert cross_entropy(X, a) == cross_entropy(X, DENSE)


DAMAGED = {
    "indptr too short": (r"indptr of shape \(5,\); expected \(6,\)", {"indptr": [0, 1, 3, 3, 7]}),
    "indptr too long": (r"indptr of shape \(7,\); expected \(6,\)", {"indptr": [0, 1, 3, 3, 6, 7, 7]}),
    "indptr of two axes": (r"indptr of shape \(1, 6\)", {"indptr": [[0, 1, 3, 3, 6, 7]]}),
    "not from 0": ("indptr from 1 to 7; expected from 0 to the 7 entries", {"indptr": [1, 1, 3, 3, 6, 7]}),
    "not to the end": ("indptr from 0 to 6; expected from 0 to the 7 entries", {"indptr": [0, 1, 3, 3, 6, 6]}),
    "beyond the end": ("indptr from 0 to 9999", {"indptr": [0, 1, 3, 3, 6, 9999]}),
    "far below": ("indptr from 0 to -5", {"indptr": [0, 1, 3, 3, 6, -5]}),
    "not ascending": (r"indptr\[3\] = 2 after 3", {"indptr": [0, 1, 3, 2, 6, 7]}),
    "there and back": (r"indptr\[2\] = 1 after 10000", {"indptr": [0, 10**4, 1, 3, 6, 7]}),
    "class too high": (r"indices\[0\] = 4; expected indices from 0 to 3", {"indices": [4, 0, 3, 0, 1, 2, 3]}),
    "class far away": (r"indices\[2\] = 2147483647", {"indices": [1, 0, 2**31 - 1, 0, 1, 2, 3]}),
    "class below 0": (r"indices\[1\] = -1", {"indices": [1, -1, 3, 0, 1, 2, 3]}),
    "fewer values": (r"indices of shape \(7,\) for 3 values", {"data": [1.0, 1, 1]}),
    "more values": (r"indices of shape \(7,\) for 8 values", {"data": np.ones(8)}),
    "float indices": ("indices of float64; expected integers", {"indices": [1.0, 0, 3, 0, 1, 2, 3]}),
    "negative": (r"target\[1, 3\] is -0.5; expected probabilities >= 0", {"data": [1, 0.5, -0.5, 0.25, 0.25, 0.5, 1]}),
    "negative sum": (r"target\[1, 0\] is -1.0", {"indices": [1, 0, 0, 0, 1, 2, 3], "data": [1, 1, -2, 1, 1, 1, 1]}),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_arrays_are_value_errors(case):
    message, changes = DAMAGED[case]
    for loss in LOSSES.values():
        with pytest.raises(ValueError, match=message):
            loss(csr(**changes))


@pytest.mark.parametrize(
    ("container", "name", "value", "message"),
    [
        ("coo", "row", np.arange(3), r"row indices of shape \(3,\), column indices of shape \(7,\)"),
        ("coo", "data", np.ones(3), r"and values of shape \(3,\); expected as many of each"),
        ("csc", "indices", [9] * 7, r"indices\[0\] = 9; expected indices from 0 to 4"),
        ("csc", "indptr", [0, 2, 4, 9, 7], r"indptr\[4\] = 7 after 9"),
        ("bsr", "indices", [9] * 7, r"indices\[0\] = 9"),
        ("bsr", "data", np.ones(7), "expected blocks, of three axes"),
        ("coo", "row", np.full(7, 5), "an entry in row 5; expected rows from 0 to 4"),
        ("coo", "col", np.full(7, -1), "an entry in column -1; expected columns from 0 to 3"),
    ],
)
def test_damage_in_other_formats(container, name, value, message):
    a = scipy.sparse.csr_array(DENSE).asformat(container, copy=True)
    if container == "bsr":
        a = scipy.sparse.bsr_array(scipy.sparse.csr_array(DENSE), blocksize=(1, 1))
    try:
        setattr(a, name, np.asarray(value))
    except AttributeError:
        a.coords = tuple(np.asarray(value) if part == name else a.coords[i] for i, part in enumerate(("row", "col")))
    with pytest.raises(ValueError, match=message):
        cross_entropy(X, a)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_damage_in_the_number_of_index_arrays(n):
    a = scipy.sparse.coo_array(DENSE)
    a.coords = (a.coords[0],) * n
    with pytest.raises(ValueError, match=f"target has {n} index arrays; expected two, of rows and of columns"):
        cross_entropy(X, a)


def test_shape_and_axis():
    with pytest.raises(ValueError, match=r"target is sparse, of shape \(5, 3\); expected that of logits, \(5, 4\)"):
        cross_entropy(X, scipy.sparse.csr_array((5, 3)))
    with pytest.raises(ValueError, match="of two axes with the classes last"):
        cross_entropy(X, csr(), axis=0)


def test_the_gradient_must_not_go_into_the_target():
    target = csr(data=np.ones(20), indices=np.tile(np.arange(4), 5), indptr=np.arange(0, 24, 4))
    with pytest.raises(ValueError, match="out_grad shares memory with target's data"):
        cross_entropy(X, target, return_grad=True, out_grad=target.data.reshape(5, 4))


def test_sparse_targets_are_never_dense(rng):
    n, k = 3000, 2000
    x = np.broadcast_to(np.float32(0.5), (n, k))
    t = scipy.sparse.random_array((n, k), density=1e-3, format="csr", rng=np.random.default_rng(0))
    assert cross_entropy(x, t, reduction="sum") == pytest.approx(t.sum() * math.log(k), rel=1e-6)
    dense = t[:50].toarray()
    x = rng.standard_normal((50, k))
    np.testing.assert_array_equal(cross_entropy(x, t[:50], reduction="none"), cross_entropy(x, dense, reduction="none"))
    np.testing.assert_allclose(kl_divergence(x, t[:50]), kl_divergence(x, dense), rtol=1e-15)
    repeated = scipy.sparse.coo_array(([0.25, 0.25, 0.5], ([0, 0, 0], [1, 1, 0])), shape=(1, 3))
    assert cross_entropy([[1.0, 2.0, 3.0]], repeated) == cross_entropy([[1.0, 2.0, 3.0]], [[0.5, 0.5, 0.0]])


def test_sparse_targets_of_the_other_losses(rng):
    p = rng.dirichlet(np.ones(6), 12)
    t = rng.dirichlet(np.ones(6), 12) * (rng.random((12, 6)) < 0.5)
    for function, x in ((categorical_cross_entropy, p), (nll_loss, np.log(p)), (kl_divergence, np.log(p))):
        sparse, dense = (function(x, target, return_grad=True) for target in (scipy.sparse.csr_array(t), t))
        for a, b in zip(sparse, dense, strict=True):
            np.testing.assert_array_equal(a, b)
