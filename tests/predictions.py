"""Predictions of two models, in the files that the command's tests read."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet

N = 3000


def data():
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(3), N)
    truth = np.array(["a", "b", "c"])[(proba.cumsum(axis=1) < rng.random((N, 1))).sum(axis=1)]
    other = proba * rng.uniform(0.5, 2, proba.shape)
    return truth, proba, other / other.sum(axis=1, keepdims=True), rng.integers(1, 5, N), rng.choice(["de", "en"], N)


TRUTH, OLD, NEW, WEIGHT, COUNTRY = data()

# What scores the table of them.
TABLE = ("score", "t.parquet", "--target", "y", "--proba", "p_*")


def write_into(path):
    for name, a in (("truth", TRUTH), ("old", OLD), ("new", NEW), ("w", WEIGHT)):
        np.save(path / f"{name}.npy", a)
    columns = {f"p_{label}": OLD[:, i] for i, label in enumerate("abc")}
    pa.parquet.write_table(pa.table({"y": TRUTH, "country": COUNTRY, "w": WEIGHT} | columns), path / "t.parquet")
