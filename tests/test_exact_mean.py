"""ExactMean: against fractions and math.fsum, in any order and any number of pieces."""

import copy
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xentc import ExactMean

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def rounded(fraction):
    try:
        return fraction.numerator / fraction.denominator
    except OverflowError:
        return math.inf if fraction > 0 else -math.inf


@settings(max_examples=300, deadline=None)
@given(values=st.lists(FINITE, max_size=60), pieces=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_the_sum_is_correctly_rounded_in_any_order_and_pieces(values, pieces, seed):
    want = rounded(sum(map(Fraction, values), Fraction(0)))
    shuffled = np.random.default_rng(seed).permutation(np.array(values, float))
    total = ExactMean()
    for piece in np.array_split(shuffled, pieces):
        part = ExactMean()
        part.add(piece)
        total.merge(part)
    assert total.sum() == want
    assert total.count == len(values)


@settings(max_examples=200, deadline=None)
@given(pairs=st.lists(st.tuples(st.floats(-1e100, 1e100), st.floats(0, 1e100)), min_size=1, max_size=40))
def test_weights(pairs):
    # Products below 2^-969 lose what their low half cannot hold; the bound is that of the contract.
    pairs = [(x if abs(x) > 1e-100 else 0.0, w if w > 1e-100 else 0.0) for x, w in pairs]
    total = ExactMean()
    total.add([x for x, _ in pairs], weights=[w for _, w in pairs])
    product = sum((Fraction(x) * Fraction(w) for x, w in pairs), Fraction(0))
    weight = sum((Fraction(w) for _, w in pairs), Fraction(0))
    assert total.sum() == rounded(product)
    assert total.weight_sum() == rounded(weight)
    if weight:
        assert total.mean() == total.sum() / total.weight_sum()


def test_many_values():
    values = np.random.default_rng(0).standard_normal(300_000) * 10.0 ** np.random.default_rng(1).uniform(-300, 300, 300_000)
    total = ExactMean()
    total.add(values)
    assert total.sum() == math.fsum(values)
    same = ExactMean()
    same.add(np.full(100_000, 5e-324))
    assert same.sum() == 100_000 * 5e-324
    large = ExactMean()
    large.add(np.full(5_000, np.finfo(float).max))
    assert large.sum() == math.inf
    large.add(np.full(4_999, -np.finfo(float).max))
    assert large.sum() == np.finfo(float).max


def test_ties_round_to_even():
    for addend, want in ((2.0**-53, 1.0), (2.0**-53 + 2.0**-100, 1 + 2.0**-52), (3 * 2.0**-53, 1 + 2.0**-51)):
        total = ExactMean()
        total.add([1.0, addend])
        assert total.sum() == want


LARGEST, SMALLEST, TINY = np.finfo(float).max, np.finfo(float).tiny, 5e-324


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    "values",
    [
        [LARGEST, 2.0**970],  # the tie between the largest float64 and infinity
        [LARGEST, 2.0**970, -TINY],
        [LARGEST, 2.0**969],
        [2.0**1023, 2.0**1023],
        [LARGEST] * 3 + [-LARGEST],
        [SMALLEST, -TINY],
        [SMALLEST, TINY],
        [SMALLEST - TINY, TINY],
        [TINY] * 3,
        [1.0, -1.0],
        [1.0, -1.0, TINY],
        [2.0**31, -TINY],  # borrows through all chunks below
        [LARGEST, -TINY],
    ],
)
def test_rounding_at_the_edges(values, sign):
    total = ExactMean()
    total.add(np.array(values) * sign)
    want = rounded(sum((Fraction(v * sign) for v in values), Fraction(0)))
    assert (total.sum(), math.copysign(1, total.sum())) == (want, math.copysign(1, want))


def test_ties_at_every_exponent():
    for exponent in range(-1021, 1024):
        one = math.ldexp(1.0, exponent)
        for value in (one, one + math.ulp(one)):
            for part in (0.5, 0.25, 0.75, -0.25, -0.5):
                addend = math.ulp(one) * part
                total = ExactMean()
                total.add([value, addend])
                assert total.sum() == rounded(Fraction(value) + Fraction(addend))


@pytest.mark.parametrize(
    ("values", "want"),
    [([math.inf, 1], math.inf), ([-math.inf, 1], -math.inf), ([math.inf, -math.inf], math.nan), ([math.nan, 1], math.nan)],
)
def test_values_that_are_not_finite(values, want):
    total = ExactMean()
    total.add(values)
    assert total.sum() == pytest.approx(want, nan_ok=True)
    total.merge(total)
    assert total.mean() == pytest.approx(want, nan_ok=True)


def test_weight_of_zero():
    total = ExactMean()
    total.add([math.inf, 3.0], weights=[0.0, 2.0])
    assert total.sum() == 6
    total.add(math.nan, weights=0.0)
    assert math.isnan(total.sum())


def test_empty():
    total = ExactMean()
    assert (total.sum(), total.weight_sum(), total.count) == (0.0, 0.0, 0)
    assert math.isnan(total.mean())
    total.add([])
    total.add(np.empty((3, 0)))
    assert total.count == 0


@settings(max_examples=300, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.floats(-1e100, 1e100), st.floats(0, 1e30)), min_size=1, max_size=40),
    pieces=st.integers(1, 4),
    weighted=st.booleans(),
)
def test_variance_and_standard_error_are_correctly_rounded(pairs, pieces, weighted):
    """In any pieces: the one formula in fractions."""
    pairs = [(x if abs(x) > 1e-60 else 0.0, (w if w > 1e-60 else 0.0) if weighted else 1.0) for x, w in pairs]
    total = ExactMean(second_moment=True)
    for piece in np.array_split(np.array(pairs), pieces):
        total += ExactMean(piece[:, 0], piece[:, 1] if weighted else None, second_moment=True)
    exact = [(Fraction(x), Fraction(w)) for x, w in pairs]
    v1, v2 = sum(w for _, w in exact), sum(w * w for _, w in exact)
    if v1 * v1 == v2 or v1 == 0:
        assert math.isnan(total.variance())
        assert math.isnan(total.standard_error())
        return
    mean = sum(w * x for x, w in exact) / v1
    variance = sum(w * (x - mean) ** 2 for x, w in exact) / (v1 - v2 / v1)
    assert total.variance() == rounded(variance)
    assert total.standard_error() == math.sqrt(rounded(variance * v2 / v1**2))


def test_variance_is_numpys():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(1000) + 1e6, rng.random(1000)
    assert ExactMean(x, second_moment=True).variance() == pytest.approx(np.var(x, ddof=1), rel=1e-9)
    assert ExactMean(x, w, second_moment=True).variance() == pytest.approx(np.cov(x, aweights=w), rel=1e-9)
    assert ExactMean(x, second_moment=True).standard_error() == pytest.approx(np.std(x, ddof=1) / 1000**0.5, rel=1e-9)
    assert ExactMean(np.full(999, 0.1), second_moment=True).variance() == 0.0


def test_variance_of_what_is_none():
    for values in ([], [1.0], [1.0, math.inf], [1.0, math.nan], [1e300, 1.0]):
        total = ExactMean(values, second_moment=True)
        assert math.isnan(total.variance())
        assert math.isnan(total.standard_error())
    assert math.isnan(ExactMean([1.0, 2.0], [1.0, -0.5], second_moment=True).variance())  # V1^2 < V2
    with pytest.raises(ValueError, match=r"has no second moment; make it with ExactMean\(second_moment=True\)"):
        ExactMean([1.0, 2.0]).variance()


def test_operators():
    parts = [ExactMean([0.1 * i, 1e300, -1e300], [i, 1, 1]) for i in range(1, 5)]
    before = [copy.copy(part) for part in parts]
    whole = sum(parts)
    assert parts == before
    assert whole == parts[3] + parts[1] + (parts[0] + parts[2])
    assert float(whole) == whole.mean()
    assert whole.count == 12
    other = ExactMean().add([1.0]).add([2.0]).merge(ExactMean(3.0))
    assert (other.sum(), other.count) == (6.0, 3)
    same = other
    other += ExactMean([1])
    assert same is other
    assert other == ExactMean([1, 1, 2, 3])
    assert other != ExactMean([1, 1, 2, 4])
    assert other != ExactMean([1, 1, 2, 3, 0])
    assert other != ExactMean([1, 1, 2, 3], second_moment=True)
    assert other != 7.0
    with pytest.raises(TypeError, match="unsupported operand"):
        other + 1.0
    with pytest.raises(TypeError, match="unsupported operand"):
        1 + other
    with pytest.raises(ValueError, match="one of two ExactMeans to merge has second moments, the other has none"):
        other.merge(ExactMean(second_moment=True))
    with pytest.raises(ValueError, match="weights are given, but no values"):
        ExactMean(weights=[1.0])
    with pytest.raises(TypeError, match="unhashable"):
        hash(other)


def test_arrays_of_any_shape_and_kind():
    x = np.arange(24.0).reshape(2, 3, 4)
    total = ExactMean()
    total.add(x[:, ::-1, ::2], weights=np.array([[1], [2], [3]]))
    assert total.sum() == (x[:, ::-1, ::2] * np.array([[1], [2], [3]])).sum()
    total.add([1, 2, 3])
    total.add(np.float32(0.5))
    assert total.count == 16


def test_pickles_and_copies():
    total = ExactMean()
    total.add([0.1, 1e300, -1e300], weights=[1, 2, 2])
    for twin in (pickle.loads(pickle.dumps(total)), copy.copy(total), copy.deepcopy(total)):
        assert (twin.sum(), twin.weight_sum(), twin.count) == (0.1, 5.0, 3)
        twin.add(1.0)
        assert total.count == 3
    state = total.__getstate__()
    with pytest.raises(ValueError, match="saved in format 99"):
        ExactMean().__setstate__({**state, "version": 99})


def test_errors():
    total = ExactMean()
    with pytest.raises(ValueError, match=r"weights has shape \(2,\); expected one that broadcasts to \(3,\)"):
        total.add([1, 2, 3], weights=[1, 2])
    with pytest.raises(TypeError, match="values has dtype <U1; expected real numbers"):
        total.add(["a"])
    with pytest.raises(TypeError, match="other must be an ExactMean, got float"):
        total.merge(1.0)
    assert total.count == 0


@pytest.mark.parametrize("scale", [2.0**20, 2.0**14 - 1, 2.0**13, 1.0, 2.0**-27, 2.0**-51, 2.0**-67, 2.0**-96, 2.0**-130])
def test_sums_of_very_many(scale):
    """More than any bin takes before it must be emptied."""
    values = np.random.default_rng(0).uniform(0.9, 1.0, 300_000) * scale
    total = ExactMean()
    total.add(values)
    assert total.sum() == math.fsum(values)


@pytest.mark.parametrize("exponent", range(-150, 30, 10))
def test_sums_that_cancel(exponent):
    """Nothing of a value is lost on the way: what is left of a sum that all but cancels would show it."""
    rng = np.random.default_rng(exponent + 200)
    values = np.ldexp(rng.uniform(0.5, 1.0, 200_000), exponent)
    total = ExactMean()
    total.add(values)
    total.add(-rng.permutation(values))
    assert total.sum() == 0
