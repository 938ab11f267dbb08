"""How results are rounded where they are stored: once, to the nearest, ties to even, in vectors and one by one.

The gradient of nll_loss is the target's negative, to the last bit: so any number can be stored.
"""


import ml_dtypes
import numpy as np
import pytest

from xentc import cross_entropy, nll_loss, special

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


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_every_half(dtype):
    """Each of the 65,536 float16 and bfloat16 values as a logit is what its float32 is, in vectors and one by one."""
    halves = np.stack([np.arange(1 << 16, dtype=np.uint16).view(dtype), np.ones(1 << 16, dtype)], axis=1)
    y = np.arange(1 << 16) % 2
    want = cross_entropy(halves.astype(np.float32), y, reduction="none")
    np.testing.assert_array_equal(cross_entropy(halves, y, reduction="none"), want)
    np.testing.assert_array_equal(cross_entropy(halves[:, ::-1], 1 - y, reduction="none"), want)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("n_classes", [2, 3, 16, 50, 300])
def test_gradients_in_halves(dtype, n_classes):
    """Gradients from below the least subnormal to beyond the largest half are rounded once, as NumPy rounds them."""
    rng = np.random.default_rng(n_classes)
    x = rng.normal(0, 4, (200, n_classes)).astype(np.float32)
    x[7, 0] = np.nan
    x[9, 0] = np.inf
    options = {"reduction": "none", "sample_weight": 10.0 ** rng.uniform(-12, 9, 200), "return_grad": True}
    y = rng.integers(0, n_classes, 200)
    grad = cross_entropy(x, y, **options)[1]
    with np.errstate(over="ignore"):
        want = grad.astype(dtype)
    for out in (np.empty(x.shape, dtype), np.empty(x.shape[::-1], dtype).T, np.empty((200, 2 * n_classes), dtype)[:, ::2]):
        got = cross_entropy(x, y, **options, out_grad=out)[1]
        np.testing.assert_array_equal(got.astype(float), want.astype(float))
        np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


@pytest.mark.parametrize("dtype", HALVES)
def test_results_that_are_copied_into_halves(dtype):
    values = numbers(dtype, np.float64)
    rows = np.stack([values, np.full(len(values), -np.inf)], axis=1)         # whose logsumexp is the value
    np.testing.assert_array_equal(special.logsumexp(rows, axis=1), values)
    for sign in (1, -1):
        out = np.empty(len(values), dtype)
        special.logsumexp(np.copysign(rows, [[sign, -1]]), axis=1, out=out)
        np.testing.assert_array_equal(np.abs(out).view(np.uint16), nearest(values, dtype))


def test_log_softmax_of_several_axes_is_rounded_once():
    x = np.array([[0.0, -3688.00005], [-3688.00005, -3688.00005]])           # float32 rounds that to a tie of bfloat16
    out = np.empty((2, 2), ml_dtypes.bfloat16)
    special.log_softmax(x, out=out)
    np.testing.assert_array_equal(out.astype(float), [[0, -3696], [-3696, -3696]])
