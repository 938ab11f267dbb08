"""Exact values to compare with: mpmath, and extended precision (itself compared with mpmath) where rows are many.

And inputs that the tests share: rows that are hard.
"""

import mpmath as mp
import numpy as np
import scipy.sparse

mp.mp.prec = 2400  # beyond the spread of any two float64 logits that matter together

Wide = np.longdouble
assert np.finfo(Wide).nmant >= 63, "the bulk oracle needs extended precision"


def ulps(got, exact):
    """The distance of each result from the exact value, in units of the result type's last place at that value."""
    got = np.asarray(got)
    exact = np.asarray(exact)
    dtype = got.dtype
    if exact.dtype == object:
        nearest = np.array([float(v) for v in exact.ravel()]).reshape(exact.shape).astype(dtype)
        spacing = np.spacing(np.abs(nearest))
        return np.array(
            [float(abs(mp.mpf(float(g)) - e) / mp.mpf(float(s))) if g != n else 0.0
             for g, e, s, n in zip(got.ravel(), exact.ravel(), spacing.ravel(), nearest.ravel(), strict=True)]
        ).reshape(got.shape)
    nearest = exact.astype(dtype)
    with np.errstate(invalid="ignore"):
        distance = np.abs(got.astype(Wide) - exact) / np.spacing(np.abs(nearest)).astype(Wide)
    return np.where(got == nearest, 0, distance).astype(float)


def softmax_loss(row, y):
    """The loss of class y and the gradient of a row, in mpmath, by the form that sums over j != y."""
    x = [mp.mpf(float(v)) for v in row]
    others = [mp.exp(v - x[y]) for j, v in enumerate(x) if j != y]
    loss = mp.log1p(mp.fsum(others)) if others else mp.mpf(0)
    m = max(x)
    e = [mp.exp(v - m) for v in x]
    total = mp.fsum(e)
    grad = [v / total for v in e]
    grad[y] = -mp.fsum(v for j, v in enumerate(e) if j != y) / total
    return loss, grad


def soft_loss(row, target):
    """The loss and gradient of a soft target in mpmath."""
    x, t = [mp.mpf(float(v)) for v in row], [mp.mpf(float(v)) for v in target]
    m = max(x)
    e = [mp.exp(v - m) for v in x]
    total = mp.fsum(e)
    tail, mass = mp.log(total), mp.fsum(t)
    loss = mp.fsum(a * (m - v + tail) for a, v in zip(t, x, strict=True))
    return loss, [mass * v / total - a for v, a in zip(e, t, strict=True)]


def bulk_softmax_loss(x, y):
    """softmax_loss of all rows in extended precision."""
    wide, rows = x.astype(Wide), np.arange(len(x))
    m = wide.max(axis=1, keepdims=True)
    e = np.exp(wide - m)
    others = e.copy()
    others[rows, wide.argmax(axis=1)] = 0
    r = others.sum(axis=1)
    loss = (m[:, 0] - wide[rows, y]) + np.log1p(r)
    grad = e / (1 + r)[:, None]
    e[rows, y] = 0
    grad[rows, y] = -e.sum(axis=1) / (1 + r)
    return loss, grad


def mixed(n, salt=0):
    """n doubles in [-1, 1) that are the same on every machine and under every NumPy."""
    i = np.arange(n, dtype=np.uint64) + np.uint64(salt * 1_000_003 + 1)
    z = i * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0


ROW_KINDS = ("plain", "wide", "margin 30", "margin 700", "offset 1e6", "equal", "one over equals", "huge", "subnormal",
             "loss below 1e-200")


def rows_of(kind, n, k, dtype, seed=0):
    """Random rows that are hard in one way."""
    rng = np.random.default_rng([seed, k, ROW_KINDS.index(kind), np.dtype(dtype).itemsize])
    x = rng.standard_normal((n, k)) * 3
    rows, top = np.arange(n), rng.integers(0, k, n)
    single = np.dtype(dtype) == np.float32
    if kind == "wide":
        x *= 30
    elif kind == "margin 30":
        x[rows, top] += 30
    elif kind == "margin 700":
        x[rows, top] += 90 if single else 700
    elif kind == "offset 1e6":
        x += 1e6 * rng.choice([-1, 1], (n, 1))
    elif kind == "equal":
        x[:] = rng.standard_normal((n, 1)) * 10
    elif kind == "one over equals":
        x[:] = rng.standard_normal((n, 1)) * 3
        x[rows, top] += rng.uniform(0, 100 if single else 740, n)
    elif kind == "huge":
        x *= 1e30
    elif kind == "subnormal":
        x *= 1e-42 if single else 1e-310
    elif kind == "loss below 1e-200":
        x = rng.standard_normal((n, k))
        x[rows, top] += rng.uniform(70, 95, n) if single else rng.uniform(480, 730, n)
    x = x.astype(dtype)
    y = rng.integers(0, k, n)
    y[::2] = x[::2].argmax(axis=1)
    if kind == "loss below 1e-200":
        y = x.argmax(axis=1)
    return x, y


def rows_of_probabilities(rng, n, k, dtype):
    """Probabilities from near 1 to subnormal ones, and targets of all kinds with their weights."""
    x = rng.standard_normal((n, k)) * rng.choice([0.5, 5, 20], (n, 1))
    e = np.exp(x - x.max(axis=1, keepdims=True))
    p = np.maximum(e / e.sum(axis=1, keepdims=True), 1e-40).astype(dtype)
    dense = rng.dirichlet(np.ones(k), n).astype(dtype)
    dense[::3, k // 2] = 0
    p[::3, k // 2] = 0
    codes = np.where(p[np.arange(n), np.arange(n) % k] > 0, np.arange(n) % k, p.argmax(axis=1))
    return p, {"codes": (codes, np.eye(k)[codes]), "dense": (dense, dense), "wider": (dense.astype(float), dense),
               "sparse": (scipy.sparse.csr_array(dense), dense)}


# ---- log_loss.

EPS = {np.float64: 2.0**-52, np.float32: 2.0**-23, np.float16: 2.0**-10}


def log_loss_rows(codes, proba):
    """-log p of the clipped probability of each row's class, in mpmath."""
    eps = EPS[proba.dtype.type]
    rows = []
    for i, c in enumerate(codes):
        if proba.ndim == 1:
            p = mp.mpf(float(np.clip(float(proba[i]), eps, 1 - eps)))
            rows.append(-mp.log(p if c else 1 - p))
        else:
            rows.append(-mp.log(mp.mpf(float(np.clip(float(proba[i, c]), eps, 1 - eps)))))
    return np.array(rows, object)


def random_proba(rng, n, k, dtype, extreme):
    """Rows of the softmax, of logits of 1 or of 12."""
    logits = rng.standard_normal((n, k)) * (12 if extreme else 1)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return np.clip(p, 0, 1).astype(dtype)
