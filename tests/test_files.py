"""xentc.files: the bits of one call from every format and batch size."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from depth import slow_but
from tables import COLUMNS, LABELS, LANG, PROBA, TABLE, TRUTH, WEIGHT, N, data, written

from xentc import compare_log_loss, files, log_loss
from xentc.evaluation import LogLoss

EXPECTED = LogLoss(LABELS).update(TRUTH, PROBA, sample_weight=WEIGHT, groups=LANG)


@pytest.mark.parametrize("batch_size", slow_but([5000], [300, 5000, 1 << 24]))
@pytest.mark.parametrize("kind", ["parquet", "feather", "csv", "csv.gz", "folder", "many", "pattern", "npz"])
def test_tables(kind, batch_size, tmp_path):
    path = written(tmp_path, TABLE, kind)
    for labels in (None, LABELS):
        got = files.score(path, target="y", proba="p_*", weight="w", by="lang", labels=labels, batch_size=batch_size)
        assert got == EXPECTED
    plain = files.score(path, target="y", proba=COLUMNS, batch_size=batch_size)
    assert plain.result() == log_loss(TRUTH, PROBA)
    assert plain.by_class().keys() == EXPECTED.by_class().keys()


@pytest.mark.parametrize("batch_size", slow_but([999], [300, 999, 1 << 24]))
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_two_arrays(order, dtype, batch_size, tmp_path):
    proba = np.asarray(PROBA.astype(dtype), order=order)
    np.save(tmp_path / "y.npy", TRUTH.astype("U"))
    np.save(tmp_path / "p.npy", proba)
    np.save(tmp_path / "w.npy", WEIGHT)
    np.save(tmp_path / "g.npy", LANG.astype("U"))
    y, p, w, g = (str(tmp_path / f"{name}.npy") for name in "ypwg")
    want = LogLoss(LABELS).update(TRUTH, proba, sample_weight=WEIGHT, groups=LANG)
    assert files.score(y, p, weight=w, by=g, batch_size=batch_size) == want
    if order == "C":
        np.savez(tmp_path / "p.npz", p=proba)
        assert files.score(y, tmp_path / "p.npz", weight=w, by=g, labels=LABELS, batch_size=batch_size) == want
    rows = files.batches(y, p, batch_size=batch_size)
    assert rows.n_rows == N
    for _ in range(2):                                         # they can be read again
        assert sum(map(len, rows)) == N


def test_two_files_of_different_formats(tmp_path):
    np.save(tmp_path / "y.npy", TRUTH.astype("U"))
    pyarrow.parquet.write_table(TABLE.select(COLUMNS), tmp_path / "p.parquet", row_group_size=77)
    pyarrow.csv.write_csv(TABLE.select(["w"]), tmp_path / "w.csv")
    for batch_size in (500, 1 << 24):
        got = files.score(tmp_path / "y.npy", tmp_path / "p.parquet", weight=tmp_path / "w.csv", batch_size=batch_size)
        assert got.result() == log_loss(TRUTH, PROBA, sample_weight=WEIGHT)
    got = files.score(written(tmp_path, TABLE, "feather"), tmp_path / "p.parquet", target="y", weight="w")
    assert got.result() == log_loss(TRUTH, PROBA, sample_weight=WEIGHT)


def test_logits_and_a_warning(tmp_path):
    np.save(tmp_path / "y.npy", TRUTH.astype("U"))
    np.save(tmp_path / "x.npy", np.log(PROBA))
    got = files.score(tmp_path / "y.npy", tmp_path / "x.npy", from_logits=True, batch_size=4000).result()
    assert got == log_loss(TRUTH, np.log(PROBA), from_logits=True)
    np.save(tmp_path / "x.npy", PROBA / 2)
    with pytest.warns(UserWarning, match="do not sum to one"):
        files.score(tmp_path / "y.npy", tmp_path / "x.npy")


@pytest.mark.parametrize("batch_size", [999, 1 << 24])
def test_compare(batch_size, tmp_path):
    other = data(seed=1)[1]
    for name, a in (("y", TRUTH.astype("U")), ("a", PROBA), ("b", other), ("w", WEIGHT)):
        np.save(tmp_path / f"{name}.npy", a)
    y, a, b, w = (tmp_path / f"{name}.npy" for name in "yabw")
    assert files.compare(y, a, b, batch_size=batch_size) == compare_log_loss(TRUTH, PROBA, other)
    want = compare_log_loss(TRUTH, PROBA, other, sample_weight=WEIGHT, level=0.9)
    assert files.compare(y, a, b, weight=w, level=0.9, batch_size=batch_size) == want
    columns = {f"{k}_{c}": p[:, i] for k, p in (("a", PROBA), ("b", other)) for i, c in enumerate(LABELS)}
    table = pa.table({"y": TRUTH} | columns)
    path = written(tmp_path, table, "parquet")
    got = files.compare(path, target="y", proba_a="a_*", proba_b="b_*", batch_size=batch_size)
    assert got == compare_log_loss(TRUTH, PROBA, other)
    other[3, 0] = 7
    np.save(b, other)
    with pytest.raises(ValueError, match=r"y\.npy, row 3: proba_b contains values greater than 1: 7\.0 \(.*, A \[.*, B \[7"):
        files.compare(y, a, b, batch_size=batch_size)


def test_a_pattern_leaves_the_other_columns_out(tmp_path):
    path = written(tmp_path, TABLE.drop_columns("other"), "parquet")
    assert files.score(path, target="y", proba="*", weight="w", by="lang") == EXPECTED
    # Where columns are matched by name, the order of the labels says nothing.
    assert files.score(path, target="y", proba="*", weight="w", by="lang", labels=["cat", "ant", "bee"]) == EXPECTED
