"""The tables of docs/coming_from: both cells of each line are computed, names and defaults are looked up in signatures."""

import inspect
import os
import re
from pathlib import Path

import numpy as np
import pytest

import xentc
from xentc import special

PAGES = Path(__file__).parents[1] / "docs" / "coming_from"
SINGLE = {"rtol": 2e-5, "atol": 2e-6}


def lines_of(page):
    """The cells of each line of each table, and the table's head."""
    head = None
    for line in (PAGES / f"{page}.md").read_text().splitlines():
        if not line.startswith("|"):
            head = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if head is None:
            head = cells
        elif set(line) - set("|-"):
            yield head, cells


def code(cell):
    return re.fullmatch("`(.*)`", cell)[1] if cell else ""


CALLS = [
    (page.stem, code(cells[0]), code(cells[1])) for page in PAGES.glob("*.md") for head, cells in lines_of(page.stem)
    if "`" not in head[0]
]
KEYWORDS = [
    (page.stem, code(head[column]), code(cells[column]))
    for page in PAGES.glob("*.md") for head, cells in lines_of(page.stem) for column in (0, 1)
    if "`" in head[0] and cells[column]
]


def arrays(dtype):
    rng = np.random.default_rng(5)
    n, k = 12, 4
    x = rng.standard_normal((n, k)).astype(dtype)
    y = rng.integers(0, k, n)
    y[:k] = range(k)
    return {
        "n": n, "k": k, "x": x, "y": y, "p": special.softmax(x, axis=1), "l": special.log_softmax(x, axis=1),
        "q": (1 / (1 + np.exp(-x))).astype(dtype), "t": rng.dirichlet(np.ones(k), n).astype(dtype),
        "b": rng.random((n, k)).astype(dtype), "w": rng.uniform(0.5, 2, n).astype(dtype),
        "a": rng.uniform(0.5, 2, k).astype(dtype), "u": rng.standard_normal((n, k, 3)).astype(dtype),
        "v": rng.integers(0, k, (n, 3)), "h": rng.standard_normal((n, 3)).astype(dtype),
        "r": rng.standard_normal((k, 3)).astype(dtype),
    }


def of_scikit_learn():
    import scipy.special
    from sklearn import metrics
    from sklearn._loss.loss import HalfMultinomialLoss
    from sklearn.datasets import load_iris
    from sklearn.model_selection import cross_val_score
    from sklearn.naive_bayes import GaussianNB

    from xentc import scorers

    X, _ = load_iris(return_X_y=True)
    y = np.arange(len(X)) % 4
    x = np.random.default_rng(6).standard_normal((len(y), 4))
    names = {**arrays(np.float64), "X": X, "y": y, "x": x, "p": special.softmax(x, axis=1), "w": 1.0 + y, "n": len(y)}
    return {**names, "metrics": metrics, "scipy": scipy, "scorers": scorers, "HalfMultinomialLoss": HalfMultinomialLoss,
            "cross_val_score": cross_val_score, "model": GaussianNB()}


def of_pytorch():
    torch = pytest.importorskip("torch")
    tensors = {name: torch.tensor(a) if isinstance(a, np.ndarray) else a for name, a in arrays(np.float64).items()}
    return {**tensors, "torch": torch, "F": torch.nn.functional}


def of_jax():
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    ours = {name: jax.numpy.asarray(a) if isinstance(a, np.ndarray) else a for name, a in arrays(np.float32).items()}
    return {**ours, "jax": jax, "jnp": jax.numpy, "optax": optax}


def of_keras():
    pytest.importorskip("jax")
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    return {**arrays(np.float32), "keras": keras, "losses": keras.losses}


PEERS = {"scikit_learn": of_scikit_learn, "pytorch": of_pytorch, "keras": of_keras, "jax": of_jax}
OURS = {name: getattr(xentc, name) for name in xentc.__all__}


def value(text, names):
    return np.asarray(eval(text, {**OURS, **names}))


@pytest.mark.filterwarnings("ignore")                          # of the peers
@pytest.mark.parametrize(("page", "theirs", "ours"), CALLS, ids=[f"{page} {theirs}" for page, theirs, _ in CALLS])
def test_calls(page, theirs, ours):
    if page != "scikit_learn":
        assert np.isfinite(value(ours, arrays(np.float64))).all()    # whether the peer is here or not
    names = PEERS[page]()
    tolerance = {"rtol": 1e-10, "atol": 1e-13} if page in ("scikit_learn", "pytorch") else SINGLE
    np.testing.assert_allclose(value(ours, names), value(theirs, names), **tolerance)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("page", "function", "keyword"), KEYWORDS, ids=[" ".join(line) for line in KEYWORDS])
def test_names_and_defaults(page, function, keyword):
    name, default = keyword.split("=")
    names = OURS if function in OURS else PEERS[page]()
    assert inspect.signature(eval(function, dict(names))).parameters[name].default == eval(default)


def test_there_are_tables():
    assert {page for page, *_ in CALLS} == {page for page, *_ in KEYWORDS} == set(PEERS)
