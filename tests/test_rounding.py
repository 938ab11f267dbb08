"""How results are rounded where they are stored: once, to the nearest, ties to even, in vectors and one by one.

The gradient of nll_loss is the target's negative, to the last bit: so any number can be stored.
"""

import math

import ml_dtypes
import numpy as np
import pytest

from xentc import ExactMean, cross_entropy, nll_loss

HALVES = np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)


def numbers(dtype, wide):
    """All halves >= 0, what lies halfway between two of them, and its neighbours; exactly, in the wider dtype."""
    bits = np.arange(0x7C00 if dtype == np.float16 else 0x7F80, dtype=np.uint16)
    halves = bits.view(dtype).astype(np.float64)
    ends = np.append(halves[1:], 2 * halves[-1] - halves[-2])  # the last is where infinity begins
    middles = ((halves + ends) / 2).astype(wide)
    with np.errstate(over="ignore"):
        around = [np.nextafter(middles, wide(0)), np.nextafter(middles, wide(np.inf))]
    return np.concatenate([halves.astype(wide), middles, *around])


def nearest(values, dtype):
    """By integers: the bits of the nearest half, of two the even one."""
    bits = np.arange((0x7C00 if dtype == np.float16 else 0x7F80) + 1, dtype=np.uint16)
    halves = bits.view(dtype).astype(np.float64)
    halves[-1] = 2 * halves[-2] - halves[-3]
    above = np.searchsorted(halves, values.astype(np.float64)).clip(1, len(halves) - 1)
    below = above - 1
    # Differences of neighbours are exact.
    down, up = values - halves[below], halves[above] - values
    return np.where((down < up) | ((down == up) & (below % 2 == 0)), below, above).astype(np.uint16)


@pytest.mark.parametrize("wide", [np.float64, np.float32])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("step", [1, 2])
def test_halves(dtype, wide, step):
    values = numbers(dtype, wide)[: -3 if step == 2 else None]
    out = np.empty(step * len(values), dtype)[None, ::step]
    for sign in (1, -1):
        options = {"sample_weight": [-sign], "reduction": "sum", "return_grad": True, "out_grad": out}
        nll_loss(np.zeros((1, len(values)), wide), values[None], **options)
        want = nearest(values, dtype) | (0x8000 if sign < 0 else 0)
        assert np.array_equal(np.ascontiguousarray(out[0]).view(np.uint16)[values > 0], want[values > 0])


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4"])
def test_the_first_code_that_is_none(kind):
    for n_classes in (1, 2, 5, 100):
        x = np.zeros((20, n_classes))
        target = np.zeros(20, kind)
        target[17] = n_classes
        with pytest.raises(ValueError, match=rf"target\[17\] is {n_classes}, but logits have {n_classes} classes"):
            cross_entropy(x, target)
        with pytest.raises(ValueError, match=rf"target\[17\] is {n_classes}"):
            cross_entropy(x, target[::-1][::-1].repeat(2)[::2])


def test_codes_that_no_int64_holds_are_not_negative():
    with pytest.raises(ValueError, match=r"target\[0\] is 18446744073709551615"):
        cross_entropy(np.zeros((1, 3)), np.array([2**64 - 1], np.uint64), ignore_index=-1)


@pytest.mark.parametrize("scale", [2.0**20 - 1, 2.0**19, 1.0, 2.0**-21, 2.0**-45, 2.0**-90, 2.0**-130])
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
