"""xentc.files: the bits of one call from every format and batch size, columns by name, and what damaged files say."""

import gzip
import io
import re
import struct
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet
import pytest

from xentc import compare_log_loss, files, log_loss
from xentc.evaluation import LogLoss

LABELS = ["ant", "bee", "cat"]
COLUMNS = ["p_cat", "p_ant", "p_bee"]                          # in another order than the labels
N = 1000


def data(n=N, seed=0):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.ones(3), n)
    truth = np.array(LABELS, object)[rng.integers(0, 3, n)]
    return truth, proba, rng.uniform(0.5, 2, n), np.array(["de", "en", "fr"], object)[rng.integers(0, 3, n)]


TRUTH, PROBA, WEIGHT, LANG = data()
TABLE = pa.table(
    {"y": TRUTH, "p_cat": PROBA[:, 2], "w": WEIGHT, "p_ant": PROBA[:, 0], "lang": LANG, "p_bee": PROBA[:, 1], "other": LANG}
)
EXPECTED = LogLoss(LABELS).update(TRUTH, PROBA, sample_weight=WEIGHT, groups=LANG)


def written(folder, table, kind):
    path = folder / f"t.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=333, write_page_checksum=True)
    elif kind == "feather":
        pyarrow.feather.write_feather(table, path, chunksize=400)
    elif kind == "csv":
        pyarrow.csv.write_csv(table, path)
    elif kind == "csv.gz":
        text = io.BytesIO()
        pyarrow.csv.write_csv(table, text)
        path.write_bytes(gzip.compress(text.getvalue()))
    elif kind == "folder":
        path = folder / "parts"
        pyarrow.dataset.write_dataset(
            table, path, format="parquet", partitioning=["lang"], partitioning_flavor="hive",
            existing_data_behavior="overwrite_or_ignore",
        )
    elif kind == "many":
        for i in range(4):
            pyarrow.parquet.write_table(table.slice(i * N // 4, N // 4), folder / f"many{i}.parquet")
        path = [folder / f"many{i}.parquet" for i in range(4)]
    elif kind == "pattern":
        for i in range(3):
            pyarrow.csv.write_csv(table.slice(i * 400, 400), folder / f"part{i}.csv")
        path = folder / "part*.csv"
    elif kind == "npz":
        arrays = {name: np.array(table[name].to_pylist()) for name in table.column_names}
        np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize("batch_size", [300, 5000, 1 << 24])
@pytest.mark.parametrize("kind", ["parquet", "feather", "csv", "csv.gz", "folder", "many", "pattern", "npz"])
def test_tables(kind, batch_size, tmp_path):
    path = written(tmp_path, TABLE, kind)
    for labels in (None, LABELS):
        got = files.score(path, target="y", proba="p_*", weight="w", by="lang", labels=labels, batch_size=batch_size)
        assert got == EXPECTED
    plain = files.score(path, target="y", proba=COLUMNS, batch_size=batch_size)
    assert plain.result() == log_loss(TRUTH, PROBA)
    assert plain.by_class().keys() == EXPECTED.by_class().keys()


@pytest.mark.parametrize("batch_size", [300, 999, 1 << 24])
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


@pytest.mark.parametrize("value_type", [pa.list_(pa.float32(), 3), pa.list_(pa.float32())])
def test_a_column_of_lists(value_type, tmp_path):
    narrow = PROBA.astype(np.float32)
    table = pa.table({"y": TRUTH, "p": pa.array(narrow.tolist(), value_type)})
    path = written(tmp_path, table, "parquet")
    assert files.score(path, target="y", proba="p", batch_size=2000).result() == log_loss(TRUTH, narrow)
    bad = narrow.tolist()
    bad[500] = bad[500][:2] if value_type.num_fields == 1 and not hasattr(value_type, "list_size") else None
    path = written(tmp_path, pa.table({"y": TRUTH, "p": pa.array(bad, value_type)}), "parquet")
    with pytest.raises(ValueError, match=r"t\.parquet(, row 500: p is missing|: p\[500\] has 2 values)"):
        files.score(path, target="y", proba="p")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([0, 1, 10], ["p10", "p1", "p0"]), ([0, 1, 10], ["p_10", "p_00", "p_01"]), ([0.0, 1.0, 2.0], ["2", "1", "0"]),
        (["a", "b", "ba"], ["ba", "a", "b"]), (["a", "b", "ba"], ["a_ba", "a_a", "a_b"]),
        ([-1, 0, 1], ["of_1", "of_0", "of_-1"]), (["x", "y", "z"], ["first", "second", "third"]),
        ([False, True], ["p_true", "p_false"]), ([False, True], ["p1", "p0"]),
    ],
)
def test_columns_by_name(labels, names, tmp_path):
    k = len(labels)
    truth = np.array(labels)[np.arange(60) % k]
    proba = np.random.default_rng(0).dirichlet(np.ones(k), 60)
    order = range(k)
    if "first" not in names:
        order = [labels.index(next(label for label in labels if _is_named(name, label))) for name in names]
    table = pa.table({"y": truth} | {name: proba[:, i] for name, i in zip(names, order, strict=True)})
    path = written(tmp_path, table, "parquet")
    assert files.score(path, target="y", proba=names).result() == log_loss(truth, proba)


def _is_named(name, label):
    end = re.split(r"[a-z]*_|^p", name)[-1]
    if isinstance(label, bool):
        return end in (str(label).lower(), str(int(label)))
    return float(end) == label if not isinstance(label, str) else end == label


def test_columns_that_do_not_fit(tmp_path):
    path = written(tmp_path, TABLE, "parquet")
    with pytest.raises(ValueError, match="'ant', 'bee', 'dog'"):
        files.score(path, target="y", proba="p_*", labels=["ant", "bee", "dog"])
    with pytest.raises(ValueError, match=r"2 columns for 3 labels, \['ant', 'bee', 'cat'\] \(give labels="):
        files.score(path, target="y", proba=["p_ant", "p_bee"])
    with pytest.raises(ValueError, match=r"no column 'q_\*' \(proba\); it has \['y', 'p_cat'"):
        files.score(path, target="y", proba="q_*")
    with pytest.raises(ValueError, match=r"no column 'z' \(target\)"):
        files.score(path, target="z", proba="p_*")
    with pytest.raises(ValueError, match="target is None; expected one of the columns"):
        files.score(path, proba="p_*")
    with pytest.raises(ValueError, match="neither proba nor predictions"):
        files.score(path, target="y")
    with pytest.raises(ValueError, match=r"no column 'v' \(weight\), and there is no such file"):
        files.score(path, target="y", proba="p_*", weight="v")
    with pytest.raises(ValueError, match=r"lang of .* has the type string; expected numbers"):
        files.score(path, target="y", proba=["p_ant", "p_bee", "lang"])
    two = pa.table({"y": ["no", "yes"] * 5, "p_no": np.full(10, 0.25), "p_yes": np.full(10, 0.75)})
    path = written(tmp_path, two, "parquet")
    with pytest.raises(ValueError, match="named after the first label, 'no'"):
        files.score(path, target="y", proba="p_no")
    expected = log_loss(["no", "yes"] * 5, np.full(10, 0.75))
    assert files.score(path, target="y", proba="p_yes").result() == expected
    assert files.score(path, target="y", proba=["p_yes", "p_no"]).result() == expected


def test_labels_are_read_as_the_target(tmp_path):
    y, p = np.arange(30) % 3, PROBA[:30]
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "p.npy", p)
    got = files.score(tmp_path / "y.npy", tmp_path / "p.npy", labels=["0", "1", "2"])
    assert got.classes_.tolist() == [0, 1, 2]
    (tmp_path / "t.csv").write_text("y,a,b\n01,0.5,0.5\n1x,0.5,0.5\n")
    assert files.score(tmp_path / "t.csv", target="y", proba=["a", "b"], labels=["01", "1x"]).count == 2
    (tmp_path / "t.csv").write_text("y,a,b\n0,0.5,0.5\n1,0.5,0.5\n")
    assert files.score(tmp_path / "t.csv", target="y", proba=["a", "b"], labels=["0", "1"]).classes_.tolist() == [0, 1]
    table = pa.table({"y": pa.array(TRUTH).dictionary_encode(), "p": pa.array(PROBA.tolist())})
    path = written(tmp_path, table, "parquet")
    assert files.score(path, target="y", proba="p").result() == log_loss(TRUTH, PROBA)


def test_a_pattern_leaves_the_other_columns_out(tmp_path):
    path = written(tmp_path, TABLE.drop_columns("other"), "parquet")
    assert files.score(path, target="y", proba="*", weight="w", by="lang") == EXPECTED
    # Where columns are matched by name, the order of the labels says nothing.
    assert files.score(path, target="y", proba="*", weight="w", by="lang", labels=["cat", "ant", "bee"]) == EXPECTED


def test_text_in_csv(tmp_path):
    path = tmp_path / "t.csv"
    for lines, text in (
        (["NA,0.5,0.5", ",0.5,0.5"], "row 1: y is missing"), (["a,0.5,0.5", "NA,NaN,0.5"], "row 1: Input contains NaN"),
        (["a,0.5,0.5", "b,,0.5"], "row 1: p is missing"), (["a,0.5,0.5", "b,NA,0.5"], "row 1: .*invalid value 'NA'"),
    ):
        path.write_text("\n".join(["y,p,q", *lines]))
        with pytest.raises(ValueError, match=text):
            files.score(path, target="y", proba=["p", "q"])
    path.write_text('y,p,q\nNA,0.5,0.5\n"",0.5,0.5\n')
    assert files.score(path, target="y", proba=["p", "q"]).classes_.tolist() == ["", "NA"]
    path.write_bytes(b"y,p,q\na,0.5,0.5\n\xff\xfe,0.5,0.5\n")
    with pytest.raises(TypeError, match=r"'y' of .*t\.csv: Support for labels represented as bytes"):
        files.score(path, target="y", proba=["p", "q"])


def test_targets_that_are_none(tmp_path):
    np.save(tmp_path / "p.npy", np.full(4, 0.5))
    for values, text in (
        ([0.5, 1.5, 2, 3], "Unknown label type"), ([1, 1, 1, 1], r"one label only, 1 \(give labels="),
        ([[0, 1]] * 4, "2 columns; expected one label a row"), (np.arange(4).astype("M8[D]"), "Unknown label type"),
    ):
        np.save(tmp_path / "y.npy", values)
        with pytest.raises(ValueError, match=rf"y.* of .*y\.npy.*{text}"):
            files.score(tmp_path / "y.npy", tmp_path / "p.npy")


def test_damaged_text(tmp_path):
    values = pa.array([b"a", b"\xff"] * 5).view(pa.string())
    path = written(tmp_path, pa.table({"y": values, "p": np.full(10, 0.5)}), "feather")
    with pytest.raises(ValueError, match=r"t\.feather cannot be read as feather: .*UTF8"):
        files.score(path, target="y", proba="p")


def changed(column, row, value, kind=None):
    values = TABLE[column].to_pylist()
    values[row] = value
    return TABLE.set_column(TABLE.column_names.index(column), column, pa.array(values, kind))


@pytest.mark.parametrize("kind", ["parquet", "csv", "feather", "csv.gz"])
@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("p_ant", 1.5, r"greater than 1: 1\.5 .*label '\w+', prediction \[1\.5"), ("p_bee", -0.5, r"lower than 0: -0\.5"),
        ("p_ant", None, "p_ant is missing"), ("w", None, "w is missing"), ("w", float("inf"), "weight inf"),
        ("p_cat", float("inf"), "infinity"), ("y", "dog", "'dog'"),
    ],
)
def test_a_bad_row(kind, column, value, text, tmp_path):
    path = written(tmp_path, changed(column, 707, value), kind)
    for batch_size in (3000, 1 << 24):
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}, row 707: .*{text}"):
            files.score(path, target="y", proba="p_*", weight="w", labels=LABELS, batch_size=batch_size)


def test_missing_labels_and_groups(tmp_path):
    for column in ("y", "lang"):
        path = written(tmp_path, changed(column, 5, None), "parquet")
        for labels in (None, LABELS):
            with pytest.raises(ValueError, match=rf"row 5: {column} is missing"):
                files.score(path, target="y", proba="p_*", by="lang", labels=labels)
    np.save(tmp_path / "y.npy", np.array([0.0, 1.0, np.nan]))
    np.save(tmp_path / "p.npy", np.full(3, 0.5))
    with pytest.raises(ValueError, match=r"y\.npy, row 2: y is nan"):
        files.score(tmp_path / "y.npy", tmp_path / "p.npy")
    np.save(tmp_path / "y.npy", np.array([0, 1, 1]))
    np.save(tmp_path / "p.npy", np.array([0.5, np.nan, 0.5]))
    with pytest.raises(ValueError, match=r"y\.npy, row 1: Input contains NaN\. \(label 1, prediction nan\)"):
        files.score(tmp_path / "y.npy", tmp_path / "p.npy")


def test_a_bad_row_of_a_part(tmp_path):
    paths = written(tmp_path, changed("p_ant", 707, 2.0), "many")
    with pytest.raises(ValueError, match=r"many2\.parquet, row 207: "):
        files.score(paths, target="y", proba="p_*")


def test_a_part_of_another_kind(tmp_path):
    paths = written(tmp_path, TABLE, "many")
    pyarrow.parquet.write_table(TABLE.drop_columns("p_bee"), paths[2])
    with pytest.raises(ValueError, match=r"many2\.parquet cannot be read as parquet: it has no column p_bee"):
        files.score(paths, target="y", proba="p_*")
    narrow = TABLE.slice(0, 250).set_column(1, "p_cat", pa.array(PROBA[:250, 2], pa.float32()))
    pyarrow.parquet.write_table(narrow, paths[2])
    with pytest.warns(UserWarning, match="do not sum to one"):     # float32 among float64
        assert files.score(paths, target="y", proba="p_*").count == N
    paths[1].write_bytes(paths[1].read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"many1\.parquet cannot be read as parquet"):
        files.score(paths, target="y", proba="p_*")


def test_text_among_numbers(tmp_path):
    lines = ["y,a,b", *["0,0.5,0.5", "1,0.25,0.75"] * 100_000]
    lines[150_001] = "1,oops,0.5"
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"t\.csv cannot be read as csv: .*row 150000: .*'oops'"):
        files.score(tmp_path / "t.csv", target="y", proba=["a", "b"])
    lines[150_001] = "what,0.5,0.5"
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"row 150000: .*'what'"):
        files.score(tmp_path / "t.csv", target="y", proba=["a", "b"])


def test_lengths(tmp_path):
    np.save(tmp_path / "y.npy", np.arange(10) % 2)
    np.save(tmp_path / "p.npy", np.full(11, 0.5))
    with pytest.raises(ValueError, match=r"different numbers of rows: .*y\.npy has 10, .*p\.npy has 11"):
        files.score(tmp_path / "y.npy", tmp_path / "p.npy")
    (tmp_path / "p.csv").write_text("p\n" + "0.5\n" * 11)
    with pytest.raises(ValueError, match=r"y\.npy has fewer rows than .*p\.csv"):
        files.score(tmp_path / "y.npy", tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("p\n" + "0.5\n" * 9)
    with pytest.raises(ValueError, match=r"p\.csv has fewer rows than .*y\.npy"):
        files.score(tmp_path / "y.npy", tmp_path / "p.csv", batch_size=50)
    np.savez(tmp_path / "a.npz", y=np.arange(10) % 2, p=np.full(9, 0.5))
    with pytest.raises(ValueError, match=r"a\.npz have different numbers of rows"):
        files.score(tmp_path / "a.npz", target="y", proba="p")
    np.save(tmp_path / "none.npy", np.zeros(0, int))
    np.save(tmp_path / "none_p.npy", np.zeros((0, 2)))
    for labels in (None, [0, 1]):
        with pytest.raises(ValueError, match="has no rows"):
            files.score(tmp_path / "none.npy", tmp_path / "none_p.npy", labels=labels)
    np.save(tmp_path / "p3.npy", np.full((10, 3), 1 / 3))
    with pytest.raises(ValueError, match=r"3 probabilities a row; expected 2, one for each of the labels \[0, 1\]"):
        files.score(tmp_path / "y.npy", tmp_path / "p3.npy")


@pytest.mark.parametrize("kind", ["parquet", "feather", "csv.gz", "npz"])
def test_truncated_or_foreign(kind, tmp_path):
    path = written(tmp_path, TABLE, kind)
    whole = path.read_bytes()
    name = re.escape(str(path))
    for content in (whole[: len(whole) // 2], whole[:-9], b"", b"not a file of this kind", whole[:100] + b"\0" * 20_000):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=name):
            files.score(path, target="y", proba="p_*", labels=LABELS)


def test_damage_inside(tmp_path):
    for kind in ("parquet", "npz"):
        path = written(tmp_path, TABLE, kind)
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2 : len(whole) // 2 + 400] = bytes(400)
        path.write_bytes(whole)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            files.score(path, target="y", proba="p_*", labels=LABELS)


def test_strings_that_lie_elsewhere(tmp_path):
    """pyarrow reads them wherever the file says."""
    path = tmp_path / "t.feather"
    pyarrow.feather.write_feather(pa.table({"y": ["a", "b"] * 50, "p": np.full(100, 0.5)}), path, compression="uncompressed")
    content = path.read_bytes()
    offsets = np.arange(101, dtype=np.int32)
    assert content.count(offsets.tobytes()) == 1
    offsets[50] = 1 << 30
    path.write_bytes(content.replace(np.arange(101, dtype=np.int32).tobytes(), offsets.tobytes()))
    with pytest.raises(ValueError, match=r"t\.feather cannot be read as feather: "):
        files.score(path, target="y", proba="p")


def test_a_csv_that_ends_within_a_row(tmp_path):
    path = written(tmp_path, TABLE, "csv")
    text = path.read_text()
    path.write_text(text[: text.rindex(",", 0, text.rindex(","))])
    with pytest.raises(ValueError, match=r"t\.csv cannot be read as csv: .*row 999: Expected 7 columns"):
        files.score(path, target="y", proba="p_*", labels=LABELS)


def npy(header, body=b"", version=(1, 0)):
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(text)) + text + body


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000, 3), }", bytes(240)), "truncated.*24,000 bytes"),
        (npy("{'descr': '<f8', 'fortran_order': True, 'shape': (4611686018427387904, 8), }", bytes(8)), "truncated"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", bytes(24)), "longer than its header says"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", bytes(16)), "dtype object; expected numbers"),
        (npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2,), }", bytes(16)), "dtype"),
        (npy("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,), }"), "dtype"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-2, 3), }", bytes(16)), "shape"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 0), }"), "shape"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (), }", bytes(8)), "shape"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1, 1), }", bytes(8)), "shape"),
        (npy("{'descr': '<f8', 'fortran_order': False}"), "cannot be read as .npy"),
        (npy("__import__('os')"), "cannot be read as .npy"),
        (npy("(" * 9000), "cannot be read as .npy"),
        (npy(" " * 12_000, version=(2, 0)), "cannot be read as .npy"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "cannot be read as .npy"),
        (b"\x93NUMPY\x09\x00\x00\x00", "version"),
        (b"\x93NUM", "cannot be read as .npy"), (b"", "cannot be read as .npy"), (b"PAR1" * 50, "cannot be read as .npy"),
    ],
)
def test_forged_arrays(content, text, tmp_path):
    np.save(tmp_path / "y.npy", np.array([0, 1]))
    (tmp_path / "p.npy").write_bytes(content)
    with pytest.raises(ValueError, match=rf"p\.npy .*{text}"):
        files.score(tmp_path / "y.npy", tmp_path / "p.npy")
    with zipfile.ZipFile(tmp_path / "p.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p.npy", content)
    with pytest.raises(ValueError, match=rf"p in .*p\.npz .*{text}"):
        files.score(tmp_path / "y.npy", tmp_path / "p.npz")


def test_bombs(tmp_path):
    """What an archive unpacks to is compared with the header before it is unpacked."""
    header = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", bytes(16))
    np.save(tmp_path / "y.npy", np.array([0, 1]))
    path = tmp_path / "p.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive, archive.open("p.npy", "w") as file:
        file.write(header)
        for _ in range(64):
            file.write(bytes(1 << 20))
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"longer than its header says: shape \(2,\) .* is 16 bytes, but 67,108,880"):
        files.score(tmp_path / "y.npy", path)
    # The size in the directory may lie too: no more than it says is unpacked.
    content = bytearray(path.read_bytes())
    size = struct.pack("<I", len(header) + (64 << 20))
    for _ in range(content.count(size)):
        start = content.index(size)
        content[start : start + 4] = struct.pack("<I", len(header))
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"p\.npz"):
        files.score(tmp_path / "y.npy", path)


def test_archives_that_are_none_of_ours(tmp_path):
    np.save(tmp_path / "y.npy", np.array([0, 1]))
    np.savez(tmp_path / "p.npz", p=np.asfortranarray(np.full((2, 2), 0.5)))
    with pytest.raises(ValueError, match="Fortran order"):
        files.score(tmp_path / "y.npy", tmp_path / "p.npz")
    with zipfile.ZipFile(tmp_path / "p.npz", "w") as archive:
        archive.writestr("readme.txt", "")
    with pytest.raises(ValueError, match="holds no arrays"):
        files.score(tmp_path / "y.npy", tmp_path / "p.npz")


def test_paths(tmp_path):
    for path in (tmp_path / "none.npy", tmp_path / "none.parquet", tmp_path / "none*.csv"):
        with pytest.raises(FileNotFoundError, match="none"):
            files.score(path, target="y", proba="p_*")
    (tmp_path / "t.xlsx").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "t.xlsx", tmp_path / "folder", [tmp_path / "t.xlsx"]):
        with pytest.raises(ValueError, match="expected a file of a known format"):
            files.score(path, target="y", proba="p_*")
    for path in (None, 3, [], [3]):
        with pytest.raises(TypeError, match=r"data is .*; expected the path"):
            files.score(path)
    np.save(tmp_path / "y.npy", [0, 1])
    with pytest.raises(ValueError, match="expected one file"):
        files.score([tmp_path / "y.npy"] * 2, tmp_path / "y.npy")
    with pytest.raises(ValueError, match="batch_size is 0"):
        files.score(tmp_path / "y.npy", tmp_path / "y.npy", batch_size=0)


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
