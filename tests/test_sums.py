"""The sums of the C layer in rational numbers: lanes, the exact sum with its bins, and its state; pieces of units.c."""

from fractions import Fraction

import numpy as np
import pytest
from depth import slow_but
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


@pytest.mark.parametrize("n", [1, 15, 16, 127, 128, 1000])
@pytest.mark.parametrize("exponents", [(-21, 6), (-22, 6), (-21, 7), (-21, -20), (5, 6), (-31, 6), (-21, 14), (-149, 100)])
def test_blocks_of_float32_losses_are_summed_exactly(c, exponents, n):
    """Those from 2^-21 to 2^6 are added in float64, sixteen at a time; whatever is beside them goes into bins or chunks."""
    rng = np.random.default_rng(n)
    losses = np.ldexp(rng.uniform(1, 2, n).astype(np.float32), rng.integers(*exponents, n))
    ends = np.float32([2.0**-21, np.nextafter(np.float32(2**6), np.float32(0)), 2.0**6, 2.0**-22, 0.0])
    losses[: len(ends)] = ends[:n]
    total, total_share = np.zeros((2, CHUNKS + 4), np.int64)
    got, out = losses.copy(), np.empty_like(losses)
    assert not c.finish_single_blocks(got, n, out, total, total_share)
    assert got.tobytes() == out.tobytes() == losses.tobytes()
    assert value_of(total) == exactly(losses)
    assert value_of(total_share) == n


@pytest.mark.parametrize("place", [0, 17, 130])
def test_float32_losses_that_are_no_numbers(c, place):
    losses = np.full(133, 0.5, np.float32)
    losses[place] = -np.float32(np.nan)
    total, total_share = np.zeros((2, CHUNKS + 4), np.int64)
    out = np.empty_like(losses)
    assert c.finish_single_blocks(losses, len(losses), out, total, total_share)
    assert losses.tobytes() == out.tobytes()
    assert losses[place].tobytes() == np.float32(np.nan).tobytes()
    losses[place] = np.inf
    assert not c.finish_single_blocks(losses, len(losses), out, total, total_share)
    assert total[CHUNKS] == 1


# Values around every bound of the bins of groups, and all that no bin takes.
MOMENTS = {
    "usual": lambda rng, n: rng.exponential(1, n),
    "equal": lambda rng, n: np.full(n, 0.1),
    "tiny": lambda rng, n: rng.uniform(1, 2, n) * 2.0**-40,
    "at the first bins' end": lambda rng, n: rng.choice([2.0**16, 2.0**16 - 2.0**-37, 2.0**15, -(2.0**16), 0.0], n),
    "of all sizes": lambda rng, n: hard(rng, n, 60),
    "far out": lambda rng, n: hard(rng, n, 400),
    "powers of two": lambda rng, n: 2.0 ** rng.integers(0, 8, n),
    "tinier": lambda rng, n: rng.uniform(1, 2, n) * 2.0**-90,
    "largest in the first bin": lambda rng, n: np.full(n, 2.0**16 - 2.0**-35),
    "largest in the second bin": lambda rng, n: np.full(n, 2.0**-36 - 2.0**-86),
    "largest in the third bin": lambda rng, n: np.full(n, 2.0**-87 - 2.0**-137),
    "largest with large weights": lambda rng, n: rng.uniform(200, 256, n),
}


@pytest.mark.parametrize("weighted", slow_but([True], [False, True]))
@pytest.mark.parametrize("kind", MOMENTS)
@pytest.mark.parametrize("n_groups", slow_but([3], [1, 3, 50]))
def test_moments_of_groups_are_exact(c, n_groups, kind, weighted):
    """In bins that are emptied every 1024 rows of a group, and what does not fit there in chunks; nothing is lost."""
    rng, n = np.random.default_rng(5), 5003
    x = MOMENTS[kind](rng, n)
    w = rng.choice([-1.5, 0.0, 1.0, 0.3, 2.0**16 - 0.7, 2.0**20, 1e-9, 2.0**-88], n) if weighted else np.ones(n)
    code = rng.integers(0, n_groups, n) // rng.integers(1, 3, n)
    sums, counts = np.zeros((n_groups, 4, CHUNKS + 4), np.int64), np.zeros(n_groups, np.int64)
    c.add_moments(x, w if weighted else None, code, n, n_groups, sums, counts)
    np.testing.assert_array_equal(counts, np.bincount(code, minlength=n_groups))
    exact = [(Fraction(float(a)), Fraction(float(b))) for a, b in zip(x, w, strict=True)]
    for g in range(n_groups):
        rows = [exact[i] for i in np.flatnonzero(code == g)]
        want = [sum((b * a for a, b in rows), Fraction(0)), sum((b for _, b in rows), Fraction(0)),
                sum((b * a * a for a, b in rows), Fraction(0)), sum((b * b for _, b in rows), Fraction(0))]
        got = [value_of(s) for s in sums[g]]
        assert got[0::2] == want[0::2]
        assert got[1::2] == (want[1::2] if weighted else [0, 0])


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e200, -1e200])
def test_moments_without_a_finite_sum(c, value):
    """They spoil the sums of their own group alone; where the weight is 0, of none but a NaN."""
    x, code = np.ones(40), np.arange(40) % 4
    x[6] = value
    for weight in (None, np.ones(40), np.where(np.arange(40) == 6, 0.0, 1.0)):
        sums, counts = np.zeros((4, 4, CHUNKS + 4), np.int64), np.zeros(4, np.int64)
        c.add_moments(x, weight, code, 40, 4, sums, counts)
        spoilt = sums[..., CHUNKS:-1].any(axis=2)
        dropped = weight is not None and weight[6] == 0 and not np.isnan(value)
        assert not spoilt[[0, 1, 3]].any()
        np.testing.assert_array_equal(spoilt[2], [not dropped and not np.isfinite(value), False, not dropped, False])
