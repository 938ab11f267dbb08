"""The same rows give the same bits: hashes over threads, chunks, layouts and instruction sets.

The golden hashes are the same on every machine, so running this file on one instruction set after the other compares them.
A change of a golden hash is a change of results: it needs a line in CHANGELOG.md.
"""

import hashlib
import shutil
import subprocess

import numpy as np
import pytest
from native import CROSS, build_driver
from oracles import mixed

from xentc import (
    ExactMean,
    _core,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    categorical_cross_entropy,
    cross_entropy,
    kl_divergence,
    log_loss,
    log_loss_per_sample,
    nll_loss,
    special,
)

KINDS = ((300, 2), (300, 3), (300, 64), (200, 65), (40, 1000), (3, 33_000))


def inputs(dtype):
    """Logits of all sizes: near and far from zero, masked classes, rows of NaN."""
    for salt, (n, k) in enumerate(KINDS):
        x = mixed(n * k, salt).reshape(n, k) * 10
        x[::7] *= 100
        x[1::11] += 5000
        x[2::13, 0] = -np.inf
        x[3::50, k // 2] = np.nan
        y = ((mixed(n, salt + 90) + 1) / 2 * k).astype(np.int64)
        yield x.astype(dtype), y


def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()[:16]


def results(dtype, layout=np.ascontiguousarray, n_threads=1):
    parts = []
    for x, y in inputs(dtype):
        weight = mixed(len(x), 55) ** 2
        soft = (mixed(x.size, 7).reshape(x.shape) + 1).astype(dtype)
        for target in (y, layout(soft)):
            options = {"sample_weight": weight, "n_threads": n_threads}
            loss, grad = cross_entropy(layout(x), target, reduction="none", return_grad=True, **options)
            parts += [loss, grad]
            keep = np.isfinite(loss)
            parts.append(np.array([cross_entropy(layout(x[keep]), target[keep], n_threads=n_threads, reduction=r)
                                   for r in ("sum", "mean")]))
    return digest(*parts)


GOLDEN = {"float64": "391025e9a585fbb9", "float32": "d5869d529a08f5be"}


@pytest.mark.parametrize("dtype", GOLDEN)
def test_golden(dtype):
    assert results(dtype) == GOLDEN[dtype]


@pytest.mark.parametrize("dtype", GOLDEN)
@pytest.mark.parametrize("n_threads", [2, 3, 8])
def test_threads(dtype, n_threads):
    assert results(dtype, n_threads=n_threads) == GOLDEN[dtype]


LAYOUTS = {
    "F": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "reversed": lambda a: a[::-1].copy()[::-1],
}


@pytest.mark.parametrize("dtype", GOLDEN)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(dtype, layout):
    assert results(dtype, LAYOUTS[layout]) == GOLDEN[dtype]


@pytest.mark.parametrize("dtype", GOLDEN)
@pytest.mark.parametrize("shape", [(1, 1_100_000), (17, 40_000), (2, 16_385)])
def test_segments_of_long_rows(dtype, shape):
    """Few long rows are dealt to the threads in segments: near zero and far from it, whatever the layout."""
    x = mixed(shape[0] * shape[1], 8).reshape(shape).astype(dtype) * 10
    x[1::2] *= 100
    soft = (mixed(x.size, 7).reshape(shape) + 1).astype(dtype)
    y = (np.arange(shape[0]) + 16_380) % shape[1]
    seen = set()
    for layout in (np.ascontiguousarray, np.asfortranarray):
        a, t = layout(x), layout(soft)
        for n_threads in (1, 3):
            options = {"reduction": "none", "n_threads": n_threads}
            parts = [special.softmax(a, axis=1, n_threads=n_threads), special.log_softmax(a, axis=1, n_threads=n_threads),
                     special.logsumexp(a, axis=1, n_threads=n_threads)]
            parts += cross_entropy(a, y, return_grad=True, **options)
            parts += cross_entropy(a, y, label_smoothing=0.1, return_grad=True, **options)
            parts += kl_divergence(a, t, return_grad=True, **options)
            seen.add(digest(*parts))
    assert len(seen) == 1
    np.testing.assert_allclose(parts[2], np.logaddexp.reduce(x.astype(float), axis=1), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", GOLDEN)
@pytest.mark.parametrize("n_classes", [2, 3, 10, 100, 30_000])
@pytest.mark.parametrize("layout", ["C", "F", "classes reversed"])
@pytest.mark.skipif(
    _core.build_info()["instruction_sets"]["chosen"] == "portable", reason="the portable set has no stores past the caches"
)
def test_gradients_past_the_caches(dtype, n_classes, layout):
    """From 32 MB on derivatives are written past the caches: the bits are those of small pieces, wherever they begin."""
    size = np.dtype(dtype).itemsize
    n = 34_000_000 // size // n_classes
    order = "F" if layout == "F" else "C"
    x = np.asarray(mixed(n * n_classes, 9).reshape(n, n_classes) * 10, dtype, order=order)
    y = np.arange(n) % n_classes
    place = np.empty(n * n_classes + 1, dtype)[1:]
    out = place.reshape((n, n_classes), order=order)
    if layout == "classes reversed":
        out = out[:, ::-1]
    soft = np.abs(np.roll(x, 1, axis=0)) + 1
    for loss in (cross_entropy, categorical_cross_entropy):
        for target in (y, soft):
            loss(x, target, reduction="sum", return_grad=True, out_grad=out, n_threads=2)
            pieces = [loss(a, b, reduction="sum", return_grad=True)[1]
                      for a, b in zip(np.array_split(x, 5), np.array_split(target, 5), strict=True)]
            assert np.concatenate(pieces).tobytes() == np.ascontiguousarray(out).tobytes()
        x = soft / soft.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", GOLDEN)
@pytest.mark.parametrize("pieces", [2, 7, 100])
def test_chunks_merged_in_any_order(dtype, pieces):
    for x, y in inputs(dtype):
        w = mixed(len(x), 3) ** 2
        whole, whole_grad = cross_entropy(x, y, sample_weight=w, reduction="none", return_grad=True)
        total, grads = ExactMean(), []
        order = np.argsort(mixed(pieces, 5))
        splits = [np.array_split(a, pieces) for a in (x, y, w)]
        for i in order:
            a, b, c = (s[i] for s in splits)
            part = ExactMean()
            part.add(cross_entropy(a, b, reduction="none"), c)
            total.merge(part)
        for a, b, c in zip(*splits, strict=True):
            grads.append(cross_entropy(a, b, sample_weight=c, reduction="sum", return_grad=True)[1])
        assert np.concatenate(grads).tobytes() == whole_grad.tobytes()
        assert total.count == len(whole)
        np.testing.assert_equal(total.sum(), cross_entropy(x, y, sample_weight=w, reduction="sum"))
        np.testing.assert_equal(total.mean(), cross_entropy(x, y, sample_weight=w))


def test_log_loss_of_chunks():
    p = np.abs(mixed(50_000 * 4).reshape(-1, 4)) + 0.01
    p /= p.sum(axis=1, keepdims=True)
    y = np.arange(50_000) % 4
    rows = log_loss_per_sample(y, p)
    assert digest(rows) == GOLDEN_LOG_LOSS
    total = ExactMean()
    for chunk in np.array_split(np.random.default_rng(0).permutation(rows), 13):
        total.add(chunk)
    assert total.mean() == log_loss(y, p) == log_loss(y[::-1], np.asfortranarray(p[::-1]))


def family_results(dtype, layout=np.ascontiguousarray, n_threads=1):
    """Every loss, gradient and Hessian beside the plain cross-entropy."""
    parts = []
    for x, y in inputs(dtype):
        x, y = x[:40], y[:40]
        x = np.where(np.isnan(x), 1, x)
        soft = (mixed(x.size, 7).reshape(x.shape) + 1).astype(dtype)
        p = special.softmax(x, axis=1)
        options = {"reduction": "none", "n_threads": n_threads}
        a, t, q = layout(x), layout(soft), layout(p)
        parts += cross_entropy(a, y, return_hess=True, label_smoothing=0.1, z_loss=0.01, focal_gamma=2.0, **options)
        parts += cross_entropy(a, t, return_hess=True, focal_gamma=0.7, **options)
        parts += cross_entropy(a, y, return_hess=True, focal_gamma=1.5, ignore_index=1, **options)
        parts += kl_divergence(a, t, return_grad=True, **options)
        parts += cross_entropy(a, y, return_hess=True, **options)
        parts += cross_entropy(a, t, return_hess=True, **options)
        for target in (y, t):
            parts += categorical_cross_entropy(q, target, eps=1e-7, return_grad=True, **options)
            parts += categorical_cross_entropy(q, target, label_smoothing=0.1, return_grad=True, **options)
            parts += categorical_cross_entropy(q, target, normalize_rows=True, return_grad=True, **options)
            parts += nll_loss(a, target, return_grad=True, **options)
        parts += binary_cross_entropy_with_logits(a, layout(soft / 2), focal_gamma=2.0, return_hess=True, **options)
        parts += binary_cross_entropy_with_logits(a, layout(soft / 2), pos_weight=3.0, return_hess=True, **options)
        parts += binary_cross_entropy(q, layout(soft / 2), return_grad=True, **options)
        parts += [f(a, axis=1, n_threads=n_threads) for f in (special.softmax, special.log_softmax, special.logsumexp)]
    return digest(*parts)


GOLDEN_FAMILY = {"float64": "4c7e4a096ca12516", "float32": "05f45dd4e48b6c9c"}


@pytest.mark.parametrize("dtype", GOLDEN_FAMILY)
@pytest.mark.parametrize("change", [{}, {"n_threads": 3}, *({"layout": f} for f in LAYOUTS.values())])
def test_family(dtype, change):
    assert family_results(dtype, **change) == GOLDEN_FAMILY[dtype]


GOLDEN_LOG_LOSS = "7c44365d7dda91ed"


# ---- NEON, by a cross compiler and an emulator where they are installed: the kernels themselves, on the same bytes.

EMULATOR = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")


def driver_output(program, name, run, data, **options):
    build_driver(program, name, KINDS, "-O2", "-static", **options)
    return subprocess.run([*run, str(program)], input=data, check=True, capture_output=True).stdout


@pytest.mark.skipif(not (CROSS and EMULATOR), reason="needs aarch64-linux-gnu-gcc and qemu-aarch64")
@pytest.mark.skipif(_core.build_info()["instruction_sets"]["chosen"] != "portable", reason="done beside the portable set")
def test_neon(tmp_path):
    data = b"".join(x.tobytes() for dtype in ("f8", "f4", "f2") for x, _ in inputs(dtype))
    native = driver_output(tmp_path / "portable", "portable", [], data)
    neon = driver_output(tmp_path / "neon", "neon", [EMULATOR], data, cross=True)
    assert len(native) > 1_000_000
    assert neon == native
