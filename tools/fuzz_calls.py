"""The calls of fuzz.py: every public function, with random arguments that mean something and with such as mean nothing."""

import copy
import pickle
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import scipy.sparse

import xentc
from xentc import special

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import plain
from fuzz_values import odd, output, spoilt

FLOATS = [np.dtype(kind) for kind in ("f8", "f8", "f8", "f4", "f4", "f2", ml_dtypes.bfloat16)]
EPS = {8: 2.0**-52, 4: 2.0**-23, 2: 2.0**-23}  # of what is computed from elements of so many bytes
SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 24, 31, 33, 64, 95, 96, 97, 100, 127, 129, 192, 193, 255, 256, 257, 300]


# ---- Arrays that mean something, in layouts that do not matter.


def lay(rng, a):
    """The same values with other strides, byte order, alignment and flags."""
    kind = rng.integers(10)
    if kind == 0 and a.ndim:
        axes = rng.permutation(a.ndim)
        a = np.ascontiguousarray(a.transpose(axes)).transpose(np.argsort(axes))
    elif kind == 1 and a.ndim:
        steps = tuple(slice(None, None, int(s)) for s in rng.choice([1, -1, 2, 3, -2], a.ndim))
        big = np.zeros([n * abs(s.step) for n, s in zip(a.shape, steps, strict=True)], a.dtype)[steps]
        big[...] = a
        a = big
    elif kind == 2 and a.dtype.isbuiltin == 1:
        a = a.astype(a.dtype.newbyteorder())
    elif kind == 3:
        memory = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype) if a.nbytes else a.ravel()
        memory = memory.reshape(a.shape)
        memory[...] = a
        a = memory
    elif kind == 4:
        a = a.copy()
        a.flags.writeable = False
    elif kind == 5 and a.dtype == np.float64 and a.size:
        maker = rng.integers(4)
        if a.ndim == 2:
            makers = a.tolist, lambda: pd.DataFrame(a), lambda: pl.from_numpy(a), lambda: a.astype(object)
            return makers[maker]()
        if a.ndim == 1:
            return [a.tolist, lambda: pd.Series(a), lambda: pl.Series(a), lambda: pa.array(a)][maker]()
    return a


def poison(rng, x, proba=False):
    """Values that stay in their rows; which rows have none. Of probabilities only NaN may be there."""
    clean = np.ones(len(x), bool)
    if rng.random() < 0.3 and x.size:
        with np.errstate(all="ignore"):
            values = np.array([np.nan, np.inf, -np.inf, 1e300, -1e300, 1e-310, 5e-324, 65504]).astype(x.dtype)
        for row in rng.integers(0, len(x), 3):
            x[row, rng.integers(x.shape[1])] = values[0 if proba else rng.integers(len(values))]
            clean[row] = False
    return clean


def usual(rng):
    """A call of a loss, and what it must give: (function, arguments, keywords, check)."""
    name = rng.choice(["cross_entropy"] * 4 + ["categorical_cross_entropy", "nll_loss", "kl_divergence",
                       "binary_cross_entropy_with_logits", "binary_cross_entropy", "special", "log_loss"])
    k, n, dtype = int(rng.choice(SIZES)), int(rng.choice([0, 1, 2, 3, 5, 8, 9, 17])), FLOATS[rng.integers(len(FLOATS))]
    if name == "log_loss":
        return usual_log_loss(rng, max(n, 1), max(k, 2), dtype)
    if name.startswith("binary"):
        return usual_binary(rng, name, n, k, dtype)
    scale = rng.choice([1.0, 1.0, 20.0])
    x = rng.standard_normal((n, k)) * scale
    if name == "categorical_cross_entropy":
        x = rng.uniform(0.05, 0.95, (n, k))
    if name == "nll_loss":
        x = -np.abs(x)
    x = x.astype(dtype)
    clean = poison(rng, x, name == "categorical_cross_entropy")
    wide = x.astype(float)
    wide[~clean] = 0.5
    if name == "special":
        return usual_special(rng, x, wide, clean)
    options, weight = {}, np.ones(n)
    kind = rng.choice(["soft", "sparse"] if name == "kl_divergence" else ["codes", "codes", "soft", "sparse"])
    codes = rng.integers(0, k, n)
    soft = rng.uniform(0, 1, (n, k)) * (rng.random((n, k)) < 0.6)
    class_weight, smoothing = None, 0.0
    if rng.random() < 0.4:
        options["sample_weight"] = weight = rng.uniform(-1, 2, n) * (rng.random(n) < 0.8)
    if name != "kl_divergence":
        if rng.random() < 0.4:
            options["class_weight"] = class_weight = rng.uniform(-1, 2, k)
        if kind == "codes" and rng.random() < 0.3:
            ignored = rng.random(n) < 0.3
            options["ignore_index"], weight = -100, weight * ~ignored
    if name in ("cross_entropy", "categorical_cross_entropy") and rng.random() < 0.4:
        options["label_smoothing"] = smoothing = float(rng.choice([0.1, 0.5, 1.0]))
    a, share = plain.target_weights(codes if kind == "codes" else soft, k, class_weight, smoothing)
    spread = 0.0
    if name in ("cross_entropy", "kl_divergence"):
        z = gamma = 0.0
        if name == "cross_entropy" and rng.random() < 0.2:
            options["z_loss"] = z = 0.01
        if name == "cross_entropy" and rng.random() < 0.2:
            options["focal_gamma"] = gamma = float(rng.choice([0.5, 1, 2, 3.5]))
        s = plain.softmax(wide)
        rows, spread = plain.cross_entropy(s, a, z * share, gamma, name == "kl_divergence"), s.spread
        rows = rows._replace(hess=rows.hess)
    elif name == "nll_loss":
        rows = plain.nll_loss(wide, a)
    else:
        divide = bool(rng.random() < 0.3)
        options["normalize_rows"], limits = divide, (0.0, 1.0)
        if rng.random() < 0.5:
            options["eps"] = eps = 0.1 / k
            limits = tuple(np.array([eps, 1 - eps]).astype(dtype).astype(float))
        rows = plain.categorical_cross_entropy(wide, a, limits, divide)
    reduction = rng.choice(["none", "mean", "sum"]) if clean.all() else "none"
    options["reduction"] = str(reduction)
    derivatives = rng.integers(3 if name == "cross_entropy" else 2)
    if derivatives:
        options["return_hess" if derivatives == 2 else "return_grad"] = True
    want = plain.reduced(rows, weight, share * weight, reduction)
    target = np.where(ignored, -100, codes) if "ignore_index" in options else codes
    if kind == "soft":
        target = lay(rng, soft.astype(rng.choice(["f8", "f8"])))
    if kind == "sparse":
        target = scipy.sparse.csr_array(soft).asformat(rng.choice(["csr", "csc", "coo"]))
    x = lay(rng, x)
    function = getattr(xentc, name)
    if name == "cross_entropy" and derivatives < 2 and rng.random() < 0.2:
        function, options["block_rows"] = identity_layer, [None, 1, 5][rng.integers(3)]
    return function, [x, target], threaded(rng, options), comparison(want, dtype, spread, clean, reduction)


def identity_layer(x, target, **options):
    """Whose logits are x, and whose gradient of x is that of the logits, both exactly."""
    result = xentc.linear_cross_entropy(x, np.eye(np.shape(x)[1], dtype=np.asarray(x).dtype), target, **options)
    return (result[0], result[1][0]) if isinstance(result, tuple) else result


def usual_binary(rng, name, n, k, dtype):
    shape = (n, min(k, 9))
    logits = name.endswith("logits")
    x = (rng.standard_normal(shape) * 3 if logits else rng.uniform(0.05, 0.95, shape)).astype(dtype)
    t, wide, options, e = rng.random(shape), x.astype(float).ravel(), {}, 0.0
    weight = np.ones(x.size)
    if rng.random() < 0.4:
        options["label_smoothing"] = e = float(rng.choice([0.1, 1.0]))
    a = np.stack([(1 - e) * (1 - t.ravel()) + e / 2, (1 - e) * t.ravel() + e / 2], axis=1)
    if rng.random() < 0.4:
        options["pos_weight"] = w = rng.uniform(-1, 2, shape[1:])
        a[:, 1] *= np.broadcast_to(w, shape).ravel()
    if rng.random() < 0.4:
        options["sample_weight"] = w = rng.uniform(-1, 2, (n, 1))
        weight = np.broadcast_to(w, shape).ravel()
    spread = 0.0
    if logits:
        gamma = float(rng.choice([0, 0, 2, 0.5]))
        options["focal_gamma"] = gamma
        s = plain.softmax(np.stack([np.zeros(wide.shape), wide], axis=1))
        rows, spread = plain.cross_entropy(s, a, 0.0, gamma), s.spread
        rows = plain.Rows(rows.loss, *(tuple(part[:, 1:] for part in pair) for pair in (rows.grad, rows.hess)))
    else:
        options["eps"], limits = 0.1, tuple(np.array([0.1, 0.9]).astype(dtype).astype(float))
        rows = plain.binary_cross_entropy(wide, a, limits)
    reduction = str(rng.choice(["none", "mean", "sum"]))
    options |= {"reduction": reduction, "return_grad": bool(rng.random() < 0.5)}
    want = plain.reduced(rows, weight, weight, reduction)
    call = getattr(xentc, name), [lay(rng, x), lay(rng, t)], threaded(rng, options)
    return *call, comparison(want, dtype, spread, np.ones(x.size, bool), reduction)


def usual_special(rng, x, wide, clean):
    s, name = plain.softmax(wide) if x.size else None, str(rng.choice(["softmax", "log_softmax", "logsumexp"]))
    function = getattr(special, name)
    if s is None:
        return function, [x], {"axis": 1}, None
    value, size = {"softmax": (s.p, s.p), "log_softmax": (-s.cost, s.cost), "logsumexp": s.lse}[name]
    if name == "logsumexp":
        value, size = value[:, 0], size[:, 0]
    want = plain.Rows((value, size), None)
    return function, [lay(rng, x)], {"axis": 1}, comparison(want, x.dtype, s.spread, clean, "none")


def usual_log_loss(rng, n, k, dtype):
    p = rng.uniform(0.05, 1, (n, k))
    p = (p / p.sum(axis=1, keepdims=True)).astype(dtype)
    labels = np.array([[f"s{i:03}" for i in range(k)], list(range(k))][rng.integers(2)])
    codes, weight, options = rng.integers(0, k, n), np.ones(n), {"labels": labels}
    if rng.random() < 0.4:
        options["sample_weight"] = weight = rng.uniform(0.1, 2, n)
    eps = {8: 2.0**-52, 4: 2.0**-23}.get(dtype.itemsize, 2.0**-10 if dtype == np.float16 else 2.0**-7)
    losses = -np.log(np.clip(p.astype(float)[np.arange(n), codes], eps, 1 - eps))
    def check_of(value):
        return comparison(plain.Rows((value, np.abs(losses).max()), None), dtype, 0.0, np.ones(n, bool), "mean")

    mean = (losses * weight).sum() / weight.sum()
    kind = rng.choice(["whole", "pieces", "difference"])
    if kind == "whole":
        return xentc.log_loss, [labels[codes], lay(rng, p)], options, check_of(mean)
    if kind == "difference":
        return difference, [labels[codes], np.full(p.shape, 1 / k), lay(rng, p)], options, check_of(mean - np.log(k))
    cuts = np.sort(rng.integers(0, n + 1, rng.integers(4)))
    return in_pieces, [labels[codes], lay(rng, p), cuts], options, check_of(mean)


def in_pieces(y, p, cuts, labels, sample_weight=None):
    p = np.asarray(p)
    parts = []
    for rows in np.split(np.arange(len(y)), cuts):
        weight = None if sample_weight is None else sample_weight[rows]
        parts.append(xentc.LogLoss(labels).update(y[rows], p[rows], sample_weight=weight, groups=rows % 3))
    whole = pickle.loads(pickle.dumps(sum(parts)))
    assert whole.by_group()["rows"].sum() == whole.by_class()["rows"].sum() == whole.count
    return whole.result()


def difference(*arguments, **options):
    return xentc.compare_log_loss(*arguments, **options).difference


def threaded(rng, options):
    return options | ({"n_threads": int(rng.choice([1, 2, 3, 64]))} if rng.random() < 0.2 else {})


def comparison(want, dtype, spread, clean, reduction):
    """A function that says what is wrong with a result, or nothing."""

    def check(got):
        parts = got if isinstance(got, tuple) else (got,)
        for name, array, pair in zip(("loss", "grad", "hess"), parts, want, strict=False):
            value, size = pair
            array = np.asarray(array, float)
            rows = name != "loss" or reduction == "none"
            unit = (4 * EPS[dtype.itemsize] if dtype.itemsize < 8 else 0) + 8 * 2.0**-52 * (1 + spread)
            unit = np.max(unit, initial=0) if name == "loss" else unit
            bound = np.asarray(size) * unit + (1e-44 if dtype.itemsize < 8 else 1e-307)
            value = np.asarray(value)
            array = array.reshape(value.shape)
            with np.errstate(invalid="ignore"):
                good = (np.abs(array - value) <= bound) | (array == value) | (np.isnan(array) & np.isnan(value))
            good = good[clean] if rows and good.ndim else good
            if not np.all(good):
                return f"{name} is {array.tolist()}, not {value.tolist()}"
        return None

    return check


# ---- What means nothing.


OUTPUTS = ["out", "out_grad", "out_hess"]

FUNCTIONS = {
    "cross_entropy": (
        "class_weight sample_weight label_smoothing ignore_index z_loss focal_gamma axis reduction "
        "return_grad return_hess out_grad out_hess n_threads"
    ),
    "binary_cross_entropy_with_logits": (
        "sample_weight pos_weight label_smoothing focal_gamma reduction return_grad return_hess out_grad "
        "out_hess n_threads"
    ),
    "binary_cross_entropy": "sample_weight pos_weight label_smoothing eps reduction return_grad out_grad",
    "categorical_cross_entropy": (
        "class_weight sample_weight label_smoothing ignore_index eps normalize_rows axis reduction "
        "return_grad out_grad n_threads"
    ),
    "linear_cross_entropy": (
        "bias class_weight sample_weight label_smoothing ignore_index z_loss focal_gamma reduction return_grad out_grad "
        "block_rows n_threads"
    ),
    "nll_loss": "class_weight sample_weight ignore_index axis reduction return_grad out_grad",
    "kl_divergence": "sample_weight axis reduction return_grad out_grad",
    "perplexity": "sample_weight ignore_index axis",
    "log_loss": "normalize sample_weight labels y_pred from_logits",
    "log_loss_per_sample": "labels from_logits",
    "d2_log_loss_score": "sample_weight labels from_logits",
    "compare_log_loss": "sample_weight labels from_logits level n_threads",
    "LogLoss": "",
    "softmax": "axis out n_threads",
    "log_softmax": "axis out n_threads",
    "logsumexp": "axis keepdims out n_threads",
    "ExactMean": "",
    "show_config": "mode",
}


def hostile(rng):
    """A call of anything with some arguments that are odd; nobody knows its value."""
    name = str(rng.choice(list(FUNCTIONS)))
    if name in ("ExactMean", "LogLoss"):
        return exact_mean(rng) if name == "ExactMean" else log_loss_in_pieces(rng), [], {}, None
    if name == "show_config":
        return xentc.show_config, [odd(rng) if rng.random() < 0.5 else "dicts"], {}, None
    x = rng.random((3, 4)).astype(rng.choice([kind for kind in FLOATS if kind.isbuiltin == 1]))
    good = {
        "class_weight": rng.random(4), "sample_weight": rng.random(3), "pos_weight": rng.random(4), "label_smoothing": 0.1,
        "ignore_index": 1, "z_loss": 0.1, "focal_gamma": 2.0, "eps": 1e-3, "axis": int(rng.choice([-1, 0, 1])),
        "reduction": "sum", "return_grad": True, "return_hess": True, "normalize_rows": True, "normalize": False,
        "labels": [0, 1, 2, 3], "level": 0.9, "y_pred": x, "from_logits": True, "keepdims": True, "n_threads": 2,
        "bias": rng.random(4), "block_rows": 2,
    }
    arguments = [x] if name in dir(special) else [x, rng.integers(0, 4, 3)]
    if name.startswith("binary") or (len(arguments) == 2 and rng.random() < 0.3):
        arguments[1] = rng.random((3, 4))
    if name.startswith("linear"):
        arguments.insert(1, rng.random((4, 4)))
    if "log_loss" in name:
        arguments = arguments[::-1] + [x] * name.startswith("compare")
    options = {key: good.get(key) for key in FUNCTIONS[name].split() if rng.random() < 0.3}
    for key in options:
        if key in OUTPUTS:
            options[key] = output(rng, arguments[0])
            if name.startswith("linear"):
                options[key] = (options[key], output(rng, arguments[1]))
    for _ in range(rng.integers(1, 3)):
        places = [*range(len(arguments)), *(key for key in options if key not in OUTPUTS)]
        place = places[rng.integers(len(places))]
        (arguments if isinstance(place, int) else options)[place] = odd(rng)
    return getattr(special, name, None) or getattr(xentc, name), arguments, options, None


def exact_mean(rng):
    def call():
        total = xentc.ExactMean(rng.random(rng.integers(5)), second_moment=bool(rng.integers(2)))
        kind = rng.integers(5)
        if kind == 0:
            total.add(odd(rng), odd(rng) if rng.random() < 0.5 else None)
        elif kind == 1:
            total.merge(odd(rng))
        elif kind == 2:
            state = total.__getstate__()
            state[str(rng.choice(list(state)))] = odd(rng)
            total.__setstate__(state if rng.random() < 0.8 else odd(rng))
        elif kind == 3:
            state = total.__getstate__()
            key = str(rng.choice(["sums", "counts"]))
            total.__setstate__({**state, key: spoilt(rng, state[key])})
        else:
            total = copy.deepcopy(pickle.loads(pickle.dumps(total)))
        statistics = [total.variance(), total.standard_error()] if total.__getstate__()["n_sums"] == 4 else []
        return total.mean(), total.sum(), repr(total), total + total == sum([total, total]), statistics

    return call


def log_loss_in_pieces(rng):
    """A LogLoss that something is done to; what fails leaves it as it was."""

    def call():
        metric = xentc.LogLoss([0, 1, 2], from_logits=bool(rng.integers(2)))
        x, y = rng.dirichlet([1, 1, 1], 5), rng.integers(0, 3, 5)
        metric.update(y, x, groups=y)
        before = copy.copy(metric)
        kind = rng.integers(5)
        try:
            if kind == 0:
                arguments = [y, x]
                arguments[rng.integers(2)] = odd(rng)
                metric.update(*arguments)
            elif kind == 1:
                metric.update(y, x, **{str(rng.choice(["sample_weight", "groups", "n_threads"])): odd(rng)})
            elif kind == 2:
                metric.merge(odd(rng) if rng.integers(2) else xentc.LogLoss(odd(rng)))
            elif kind == 3:
                state = metric.__getstate__()
                key = str(rng.choice(list(state)))
                if isinstance(state[key], dict):
                    part = str(rng.choice(list(state[key])))
                    state[key] = {**state[key], part: spoilt(rng, state[key][part])}
                else:
                    state[key] = odd(rng)
                metric.__setstate__(state)
            else:
                metric.confidence_interval(odd(rng))
        except Exception:
            assert metric == before
            raise
        metric.weight_sum, metric.d2(), metric.by_class(), metric.by_group(), repr(metric)
        return metric.result()

    return call
