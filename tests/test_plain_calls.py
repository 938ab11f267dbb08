"""Arguments that need no preparation take a short way to the loops. It gives what the long way gives, bit by bit, and the
same errors and warnings. Here the long way is that of `label_smoothing=0`, for the default is 0.0, and of
`normalize=np.True_`."""

import warnings

import ml_dtypes
import numpy as np
import pytest

from xentc import binary_cross_entropy_with_logits, cross_entropy, log_loss

LOSSES = {"classes": cross_entropy, "binary": binary_cross_entropy_with_logits}
SHAPES = [(), (1,), (3,), (1, 1), (5, 1), (100, 2), (100, 3), (9, 130), (2, 3, 4), (0, 3), (5, 0), (1000, 70)]


def outcome(loss, *args, **options):
    """What comes back, whose bits can be compared, or the error."""
    try:
        result = loss(*args, **options)
    except (TypeError, ValueError) as error:
        return type(error), str(error)
    arrays = [np.asarray(value) for value in (result if isinstance(result, tuple) else (result,))]
    return type(result), [(a.dtype, a.shape, a.strides, a.tobytes()) for a in arrays]


def assert_same(loss, *args, out_grad=None, **options):
    """The short way and the long way agree, in `out_grad` too."""
    outs = [None, None] if out_grad is None else [out_grad(), out_grad()]
    kept = [np.array(x) for x in args]
    short, long = (
        outcome(loss, *args, out_grad=out, **options, **smoothing)
        for out, smoothing in zip(outs, [{}, {"label_smoothing": 0}], strict=True)
    )
    assert short == long
    if out_grad is not None and not isinstance(short[1], str):
        assert outs[0].tobytes() == outs[1].tobytes()
    for x, before in zip(args, kept, strict=True):
        assert np.array(x).tobytes() == before.tobytes()
    return short


def arguments(rng, kind, shape, dtype):
    x = rng.normal(size=shape) * 5
    if kind == "binary":
        return np.asarray(x, dtype), np.asarray(rng.random(shape), dtype)
    n_classes = shape[-1] if shape else 1
    return np.asarray(x, dtype), np.asarray(rng.integers(0, max(n_classes, 1), shape[:-1]))


def unaligned(a):
    copy = np.empty(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    copy[:] = a
    return copy


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ">f8"])
@pytest.mark.parametrize("kind", LOSSES)
def test_both_ways_agree_on_every_shape(rng, kind, dtype, reduction):
    for shape in SHAPES:
        x, target = arguments(rng, kind, shape, dtype)
        for threads in None, 1, 2:
            for options in {}, {"return_grad": True}, {"return_grad": True, "out_grad": lambda x=x: np.empty_like(x)}:
                assert_same(LOSSES[kind], x, target, reduction=reduction, n_threads=threads, **options)


@pytest.mark.parametrize("kind", LOSSES)
def test_both_ways_agree_on_every_layout(rng, kind):
    x, target = arguments(rng, kind, (12, 10), np.float64)
    spread = np.empty((24, 20))[::2, ::2]
    spread[:] = x
    for logits in (x.copy(order="F"), spread, x[::-1, ::-1], np.broadcast_to(x[:1], x.shape), unaligned(x)):
        for options in {}, {"return_grad": True}:
            assert_same(LOSSES[kind], logits, target, **options)
            assert_same(LOSSES[kind], logits, target[::-1], reduction="none", **options)
            assert_same(LOSSES[kind], logits, unaligned(target), **options)


@pytest.mark.parametrize("kind", LOSSES)
def test_both_ways_agree_on_targets(rng, kind):
    x, target = arguments(rng, kind, (12, 10), np.float64)
    whole = np.asarray(target > 0.5, int) if kind == "binary" else target
    strange = [whole.astype(kind) for kind in ("i4", "u8", "?", ">i8", "f4", "f8", "c16", "O", "U1")]
    floats = [target.astype(np.float32), target.astype(np.float64), rng.random((12, 10))]
    others = [target.tolist(), target[:-1], target.T, np.ma.masked_array(target), target.astype("m8[s]"), None, 3, "a"]
    for given in strange + floats + others:
        for options in {}, {"return_grad": True}:
            assert_same(LOSSES[kind], x, given, **options)
            assert_same(LOSSES[kind], x.astype(np.float32), given, **options)


@pytest.mark.parametrize("bad", [-1, 10, -100, 2**62, -(2**63)])
@pytest.mark.parametrize("out_grad", [None, lambda: np.empty((12, 10))])
def test_codes_out_of_range_are_errors(rng, bad, out_grad):
    x, target = arguments(rng, "classes", (12, 10), np.float64)
    target[7] = bad
    kind, text = assert_same(cross_entropy, x, target, return_grad=True, out_grad=out_grad)
    assert kind is ValueError
    assert f"target[7] is {bad}" in text
    assert isinstance(assert_same(cross_entropy, x, target, reduction="none")[1], str)


@pytest.mark.parametrize("bad", [-1, 2, 1.5, np.inf, -1e-300])
def test_binary_targets_out_of_range_are_errors(rng, bad):
    x, target = arguments(rng, "binary", (12, 10), np.float64)
    target[7, 3] = bad
    for reduction in "mean", "none":
        kind, text = assert_same(binary_cross_entropy_with_logits, x, target, reduction=reduction, return_grad=True)
        assert kind is ValueError
        assert "target[7, 3] is" in text


@pytest.mark.parametrize("kind", LOSSES)
def test_infinite_and_undefined_logits_agree(rng, kind):
    for value in np.inf, -np.inf, np.nan, 1e308, -1e308:
        x, target = arguments(rng, kind, (12, 10), np.float64)
        x[3] = value
        x[5, 2] = value
        for reduction in "mean", "sum", "none":
            assert_same(LOSSES[kind], x, target, reduction=reduction, return_grad=True)


@pytest.mark.parametrize("kind", LOSSES)
def test_both_ways_agree_on_other_arguments(rng, kind):
    x, target = arguments(rng, kind, (12, 10), np.float32)
    read_only = np.empty_like(x)
    read_only.flags.writeable = False
    for out in (
        np.empty((12, 10), np.float16), np.empty((12, 10), ml_dtypes.bfloat16), np.empty((12, 10)),
        np.empty((12, 10), ">f4"), np.empty((10, 12), "f4").T,
        np.empty((12, 9)), np.empty((12, 10), int), np.broadcast_to(np.empty((1, 10), "f4"), x.shape), read_only, x[::-1],
        "out",
    ):
        assert_same(LOSSES[kind], x, target, return_grad=True, out_grad=lambda out=out: out)
    for options in (
        {"reduction": "average"}, {"reduction": None}, {"reduction": np.str_("mean")}, {"return_grad": 1},
        {"reduction": np.array(["mean", "sum"])}, {"return_grad": np.True_}, {"return_hess": True}, {"return_grad": None},
        {"out_grad": lambda: np.empty_like(x)}, {"out_hess": np.empty_like(x)}, {"sample_weight": 2.0},
        {"n_threads": 0}, {"n_threads": "2"}, {"n_threads": 10**9},
    ):
        assert_same(LOSSES[kind], x, target, **options)


def test_both_ways_agree_on_the_axis(rng):
    x, target = arguments(rng, "classes", (10, 10), np.float64)
    cube, codes = arguments(rng, "classes", (4, 4, 4), np.float64)
    for axis in (0, 1, 2, 3, -1, -2, -3, True, 1.0, np.int64(1), "1", None, [1]):
        for options in {}, {"return_grad": True}:
            assert_same(cross_entropy, x, target, axis=axis, **options)
            assert_same(cross_entropy, cube, codes, axis=axis, **options)
            assert_same(cross_entropy, x, np.zeros((10, 10), np.int64), axis=axis, **options)
    assert cross_entropy(x, target, axis=0) != cross_entropy(x, target, axis=1) == cross_entropy(x, target)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_gradient_may_take_the_place_of_the_logits(rng, kind):
    x, target = arguments(rng, kind, (12, 10), np.float64)
    loss, grad = LOSSES[kind](x.copy(), target, return_grad=True)
    place = x.copy()
    found, same = LOSSES[kind](place, target, return_grad=True, out_grad=place)
    assert same is place
    assert (found, place.tobytes()) == (loss, grad.tobytes())
    if kind == "classes":
        place[:] = x
        target[5] = 10
        with pytest.raises(ValueError, match=r"target\[5\] is 10"):
            cross_entropy(place, target, return_grad=True, out_grad=place)
        assert place.tobytes() == x.tobytes()


@pytest.mark.parametrize("kind", LOSSES)
def test_a_gradient_may_not_take_the_place_of_the_target(rng, kind):
    x, target = arguments(rng, kind, (12, 10), np.float64)
    memory = np.zeros((12, 10))
    place = memory if kind == "binary" else memory[:, 0].view(np.int64)
    place[...] = target
    with pytest.raises(ValueError, match="out_grad shares memory with target"):
        LOSSES[kind](x, place, return_grad=True, out_grad=memory)
    assert (place == target).all()


def test_terms_are_not_left_out(rng):
    """Each keyword alone changes the result."""
    x, target = arguments(rng, "classes", (12, 10), np.float64)
    plain = cross_entropy(x, target)
    for options in (
        {"class_weight": np.arange(10.0)}, {"sample_weight": np.arange(12.0)}, {"label_smoothing": 0.1}, {"z_loss": 0.1},
        {"focal_gamma": 1.0}, {"ignore_index": int(target[0])},
    ):
        assert cross_entropy(x, target, **options) != plain, options
    assert len(cross_entropy(x, target, return_hess=True)) == 3
    x, target = arguments(rng, "binary", (12, 10), np.float64)
    plain = binary_cross_entropy_with_logits(x, target)
    for options in (
        {"pos_weight": np.arange(10.0)}, {"sample_weight": np.arange(10.0)}, {"label_smoothing": 0.1}, {"focal_gamma": 1.0},
    ):
        assert binary_cross_entropy_with_logits(x, target, **options) != plain, options
    assert len(binary_cross_entropy_with_logits(x, target, return_hess=True)) == 3


# ---- log_loss.


def assert_same_log_loss(y_true, y_proba, **options):
    """The result, or the error; and the warnings."""
    found = []
    for normalize in True, np.True_:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            value = outcome(log_loss, y_true, y_proba, normalize=normalize, **options)
        found.append((value, [(str(warning.message), warning.category, warning.filename) for warning in told]))
    assert found[0] == found[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sums = [outcome(log_loss, y_true, y_proba, normalize=normalize, **options) for normalize in (False, np.False_)]
    assert sums[0] == sums[1]
    return found[0]


def probabilities(rng, n, k, dtype=np.float64):
    p = rng.random((n, k)) + 0.01
    return (p / p.sum(axis=1, keepdims=True)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ">f8"])
@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint64, np.bool_, np.float64, ">i8", object, str])
def test_log_loss_of_every_dtype(rng, kind, dtype):
    for n, k in [(1, 2), (2, 2), (100, 2), (100, 3), (90, 200)]:
        p, y = probabilities(rng, n, k, dtype), np.resize(rng.permutation(k), n).astype(kind)
        for threads in None, 1, 2:
            assert_same_log_loss(y, p, n_threads=threads)
        if k == 2:
            assert_same_log_loss(y, p[:, 1])
            assert_same_log_loss(y, p[:, 1:])


@pytest.mark.parametrize(
    "labels", [[0, 1, 2], [5, 6, 7], [-1, 0, 1], [0, 1, 3], [0, 2], [0, 1], [4], [0, 1, 2, 3], [0, 2**63 - 1, 1]]
)
def test_log_loss_of_labels(rng, labels):
    y, p = np.resize(labels, 50), probabilities(rng, 50, 3)
    assert_same_log_loss(y, p)
    assert_same_log_loss(y, p, labels=np.unique(labels))
    assert_same_log_loss(y, p, labels=[*np.unique(labels)[:-1], 100])
    assert_same_log_loss(y, np.ones((50, 1)))
    assert_same_log_loss(y, p[:, 0])
    assert_same_log_loss(y, p[:, :1])
    assert_same_log_loss(y, p, sample_weight=np.arange(50.0))


def test_log_loss_of_layouts(rng):
    y, p = np.resize([0, 1, 2], 50), probabilities(rng, 50, 3)
    for proba in p.copy(order="F"), p[::-1, ::-1], np.broadcast_to(p[:1], p.shape), unaligned(p), p.T, p[:40], p[:0], p[0]:
        assert_same_log_loss(y, proba)
        assert_same_log_loss(y, proba, from_logits=True)
        assert_same_log_loss(unaligned(y), proba)
        assert_same_log_loss(y[::-1], proba)
        assert_same_log_loss(y[:0], proba)
        assert_same_log_loss(y[:0], proba[:0])
        assert_same_log_loss(y[:, np.newaxis], proba)
        assert_same_log_loss(y[0], proba)
    for proba in p[:, :1, np.newaxis], p[0, 0]:
        assert_same_log_loss(y % 2, proba)


@pytest.mark.parametrize("value", [-0.1, 1.1, -1e-300, 1 + 2.0**-52, np.nan, np.inf, -np.inf, 0.5, 0.0, -0.0])
def test_log_loss_of_what_is_no_probability(rng, value):
    """0.5 and 0.0 are some: then the row does not sum to one."""
    y, p = np.resize([0, 1, 2], 50), probabilities(rng, 50, 3)
    p[17, 2] = value
    found, told = assert_same_log_loss(y, p)
    assert isinstance(found[1], str) or told
    single = p[:, 1].copy()
    single[17] = value
    assert_same_log_loss(np.resize([0, 1], 50), single)


def test_log_loss_of_a_given_name(rng):
    y, p = np.resize([0, 1, 2], 50), probabilities(rng, 50, 3)
    for options in {"y_pred": p}, {"y_pred": "other"}, {"from_logits": 1}, {"n_threads": 0}, {"sample_weight": "a"}:
        assert_same_log_loss(y, p, **options)
    with pytest.raises(ValueError, match="Cannot use both"):
        log_loss(y, p, y_pred=p)
    assert_same_log_loss(y, None, y_pred=p)
    for normalize in 1, None, "yes":
        with pytest.raises(ValueError, match="The 'normalize' parameter of log_loss"):
            log_loss(y, p, normalize=normalize)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_log_loss_where_labels_begin_to_be_guessed(rng, more):
    n = (1 << 17) + more
    y, p = rng.integers(0, 3, n), probabilities(rng, n, 3)
    assert_same_log_loss(y, p)
    y[-1] = 3
    assert isinstance(assert_same_log_loss(y, p)[0][1], str)
