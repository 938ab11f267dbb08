"""The sums of the C layer in rational numbers: lanes, the exact sum with its bins, and its state; pieces of units.c."""

from fractions import Fraction

import numpy as np
import pytest
from units import F32, F64


def exactly(*arrays):
    return sum((Fraction(float(v)) for a in arrays for v in np.ravel(a)), Fraction(0))


def hard(rng, shape, spread=300):
    """Of any size and sign, so that most of a sum cancels."""
    return rng.uniform(1, 2, shape) * 2.0 ** rng.integers(-spread, spread, shape) * rng.choice([-1, 1], shape)


@pytest.mark.parametrize("seed", range(20))
def test_lanes_come_together(c, seed):
    """Within the last bits of twice the precision, and a row's sum is the same wherever it stands among eight."""
    rng = np.random.default_rng(seed)
    high = hard(rng, (8, 16), 20)
    low = high * rng.uniform(-(2.0**-53), 2.0**-53, high.shape)
    totals = np.empty((2, 8))
    c.totals_of_rows(high, low, *totals)
    for i in range(8):
        size = sum(map(abs, map(Fraction, high[i])))
        assert abs(exactly(totals[:, i]) - exactly(high[i], low[i])) <= size * Fraction(1, 2**100)
        one = np.empty(1)
        c.total_of_a_row(high[i], low[i], one)
        want = exactly(high[i, :8], low[i, :8])
        assert abs(Fraction(one[0]) - want) <= abs(want) * Fraction(1, 2**52) + size * Fraction(1, 2**100)
    turned = np.empty((2, 8))
    c.totals_of_rows(np.roll(high, 3, axis=0), np.roll(low, 3, axis=0), *turned)
    np.testing.assert_array_equal(turned, np.roll(totals, 3, axis=1))


def test_infinite_lanes(c):
    out = np.empty(1)
    for value, want in ((np.inf, np.inf), (-np.inf, -np.inf), (np.nan, np.nan)):
        c.total_of_a_row(np.array([1.0, value, 2, 3, 4, 5, 6, 7]), np.zeros(8), out)
        np.testing.assert_equal(out[0], want)


CHUNKS = 67


def value_of(state):
    """Chunks are 2^32 apart, in units of 2^-1075."""
    return sum(int(chunk) * 2 ** (32 * i) for i, chunk in enumerate(state[:CHUNKS])) * Fraction(1, 2**1075)


@pytest.mark.parametrize("n", [1, 3, 999, 1000, 1001, 5000])
def test_the_state_of_a_sum_is_exact(c, n):
    """Not only what it is rounded to: whatever is lost would come to light after something else cancels."""
    rng = np.random.default_rng(n)
    tiny, largest = 5e-324, np.finfo(float).max
    for values in (hard(rng, n, 1000), rng.standard_normal(n), np.full(n, tiny), np.full(n, -largest),
                   rng.choice([tiny, -tiny, largest, -largest, 2.0**-1022, 1.0, -(2.0**31)], n)):
        state, other = np.zeros((2, CHUNKS + 4), np.int64)
        got = c.add_all(state, values, n)
        want = exactly(values)
        assert value_of(state) == want
        assert got == float_of(want)
        assert state[-1] < 1000
        c.add_all(other, values, n // 2)
        assert c.merged(state, other) == float_of(want + value_of(other))
        assert ((state[: CHUNKS - 1] >= 0) & (state[: CHUNKS - 1] < 2**32)).all()  # carried


def float_of(fraction):
    try:
        return fraction.numerator / fraction.denominator
    except OverflowError:
        return np.inf if fraction > 0 else -np.inf


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("element", [F64, F32])
@pytest.mark.parametrize("kind", ["usual", "tiny", "large", "of all sizes"])
def test_blocks_of_losses_are_summed_exactly(c, kind, element, weighted):
    """Losses to the precision of their type, times weights in two halves: in bins, and what does not fit there in chunks."""
    rng, n = np.random.default_rng(3), 1000
    scale = {"usual": 1.0, "tiny": 2.0**-120, "large": 2.0**30, "of all sizes": 2.0 ** rng.integers(-140, 40, n)}[kind]
    loss = rng.uniform(1, 2, n) * scale
    weight, share = (rng.uniform(0.5, 2, n) * rng.choice([1, 1, -1, 0], n) for _ in range(2))
    total, total_share = np.zeros((2, CHUNKS + 4), np.int64)
    losses = loss.copy()
    c.finish_blocks(losses, weight if weighted else None, share, n, element, total, total_share)
    np.testing.assert_array_equal(losses, loss if element == F64 else loss.astype(np.float32))
    pairs = zip(losses, weight if weighted else np.ones(n), strict=True)
    assert value_of(total) == sum((Fraction(float(v)) * Fraction(float(w)) for v, w in pairs), Fraction(0))
    assert value_of(total_share) == (exactly(share) if weighted else n)
