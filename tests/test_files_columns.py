"""xentc.files: which columns mean what, and what columns of each type are read as."""

import datetime
import decimal
import re

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest
from tables import PROBA, TABLE, TRUTH, N, written

from xentc import files, log_loss


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
    ("labels", "names", "meant"),
    [
        ([0, 1, 10], ["p10", "p1", "p0"], [10, 1, 0]), ([0, 1, 10], ["p_10", "p_00", "p_01"], [10, 0, 1]),
        ([0.0, 1.0, 2.0], ["2", "1", "0"], [2, 1, 0]), ([0, 1, 2], ["p_2.0", "p_0.0", "p_1.0"], [2, 0, 1]),
        (["a", "b", "ba"], ["ba", "a", "b"], ["ba", "a", "b"]), (["a", "b", "ba"], ["a_ba", "a_a", "a_b"], ["ba", "a", "b"]),
        (["", "a", "b"], ["p_b", "p_a", "p_"], ["b", "a", ""]), ([-1, 0, 1], ["of_1", "of_0", "of_-1"], [1, 0, -1]),
        ([-2, -1], ["p-1", "p-2"], [-1, -2]), ([1, 2], ["p-2", "p-1"], [2, 1]), ([10, 11], ["p11", "p10"], [11, 10]),
        ([False, True], ["p_true", "p_false"], [True, False]), ([False, True], ["p1", "p0"], [True, False]),
        (["cat", "dog"], ["dog_prob", "cat_prob"], ["dog", "cat"]), (["a", "b"], ["m1_b_new", "m1_a_new"], ["b", "a"]),
        ([0, 1], ["p1_2", "p0_2"], [1, 0]), ([2**53, 2**53 + 1], [f"p_{2**53 + 1}", f"p_{2**53}"], [2**53 + 1, 2**53]),
        (["x", "y", "z"], ["first", "second", "third"], ["x", "y", "z"]), (["0", "1"], ["p_b", "p_a"], ["0", "1"]),
        (["a", "b"], ["c_1", "c_2"], ["a", "b"]), ([0, 1], ["p10", "p11"], [0, 1]),
    ],
)
def test_columns_by_name(labels, names, meant, tmp_path):
    """Their names are the labels behind one prefix and before one suffix; if none means one, they are in order."""
    k = len(labels)
    truth = np.array(labels, object if isinstance(labels[0], str) else None)[np.arange(60) % k]
    proba = np.random.default_rng(0).dirichlet(np.ones(k), 60)
    table = pa.table({"y": truth} | {name: proba[:, labels.index(label)] for name, label in zip(names, meant, strict=True)})
    path = written(tmp_path, table, "parquet")
    assert files.score(path, target="y", proba=names).result() == log_loss(truth, proba)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["Cat", "Dog"], ["p_dog", "p_cat"]), (["New York", "Rome"], ["p_rome", "p_new_york"]), ([1, 2], ["p0", "p1"]),
        ([1, 2], ["p_0", "p_1"]), (["a", "b"], ["old_b", "new_a"]), (["cat", "dog"], ["dog_prob_1", "cat_prob_2"]),
        (["a", "b"], ["p_a", "p_c"]), ([1, 2, 3], ["1", "2", "total"]),
    ],
)
def test_columns_that_are_half_named(labels, names, tmp_path):
    """In which order they are is not guessed."""
    table = pa.table({"y": labels} | {name: np.full(len(labels), 1 / len(labels)) for name in names})
    path = written(tmp_path, table, "parquet")
    text = f"are named {names}; expected one column for each label, {labels}, named after it"
    with pytest.raises(ValueError, match=re.escape(text)):
        files.score(path, target="y", proba=names)


@pytest.mark.parametrize(
    ("labels", "right", "wrong"),
    [
        (["no", "yes"], ["p_yes", "p", "yes_prob", "notes"], ["p_no", "no_prob", "P(No)"]),
        (["not spam", "spam"], ["p_spam"], ["p_not_spam"]), (["ham", "not ham"], ["p_not_ham"], ["p_ham"]),
        ([0, 1], ["p1", "p_1", "p", "p10", "arr_0"], ["p0", "p_0", "p_0.0", "p_00", "p_false"]),
        ([False, True], ["p_true"], ["p_False", "p0"]), ([-1, 1], ["p_1", "p1"], ["p_-1", "p-1"]),
        ([1, 2], ["p-2"], ["p-1"]),
    ],
)
def test_a_single_column(labels, right, wrong, tmp_path):
    """It is the probability of the second label."""
    proba = np.linspace(0.1, 0.9, 6)
    for name in right + wrong:
        path = written(tmp_path, pa.table({"y": labels * 3, name: proba}), "parquet")
        if name in right:
            assert files.score(path, target="y", proba=name).result() == log_loss(labels * 3, proba)
        else:
            with pytest.raises(ValueError, match=f"named after the first label, {labels[0]!r}; expected .* {labels[1]!r}"):
                files.score(path, target="y", proba=name)


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
    with pytest.raises(ValueError, match=r"(lang|other) of .* has the type string; expected numbers"):
        files.score(path, target="y", proba=["w", "other", "lang"])
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
        ([[0, 1]] * 4, "is a matrix; expected one value a row"),
        (np.arange(4).astype("M8[D]"), r"the type datetime64\[D\]; expected strings, integers or booleans"),
    ):
        np.save(tmp_path / "y.npy", values)
        with pytest.raises(ValueError, match=rf"y.* of .*y\.npy.*{text}"):
            files.score(tmp_path / "y.npy", tmp_path / "p.npy")


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


def test_types_of_files_go_together(tmp_path):
    """A type has room for all values; there is none for truth values and numbers."""
    half, p = np.arange(10) % 2, np.linspace(0.1, 0.9, 10)
    kinds = {
        "f4": pa.table({"y": half, "p": pa.array(p, pa.float32())}),
        "f8": pa.table({"y": pa.array(half, pa.int8()), "p": p}),
        "words": pa.table({"y": pa.array(["no", "yes"] * 5), "p": p}), "bools": pa.table({"y": half == 1, "p": p}),
        "codes": pa.table({"y": pa.array(["no", "yes"] * 5).dictionary_encode(), "p": p}),
    }
    paths = {name: tmp_path / f"{name}.parquet" for name in kinds}
    for name, table in kinds.items():
        pyarrow.parquet.write_table(table, paths[name])
    narrow = p.astype(np.float32)
    for names, values in ((("f4", "f8"), [narrow, p]), (("f8", "f4"), [p, narrow])):
        got = files.score([paths[name] for name in names], target="y", proba="p")
        assert got.result() == log_loss(np.tile(half, 2), np.concatenate(values).astype(np.float64))
    for names in (("words", "codes"), ("codes", "words")):
        got = files.score([paths[name] for name in names], target="y", proba="p")
        assert got.result() == log_loss(["no", "yes"] * 10, np.tile(p, 2))
    for names in (("bools", "f8"), ("f8", "words")):
        with pytest.raises(ValueError, match=rf"y has types that do not go together: .*{names[0]}.*, .*{names[1]}"):
            files.score([paths[name] for name in names], target="y", proba="p")


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_folders_named_after_values(kind, tmp_path):
    """Of the target too; where a folder stands for no value, a row has none."""
    table = pa.table({"y": ["a", "b"] * 5, "p": np.linspace(0.1, 0.9, 10), "g": [1, None] * 5})
    for name in ("y", "g"):
        pyarrow.dataset.write_dataset(
            table, tmp_path / name, format=kind, partitioning=[name], partitioning_flavor="hive"
        )
    assert files.score(tmp_path / "y", target="y", proba="p").result() == log_loss(["a", "b"] * 5, np.linspace(0.1, 0.9, 10))
    with pytest.raises(ValueError, match=r"g=__HIVE_DEFAULT_PARTITION__.*, row 0: g is missing"):
        files.score(tmp_path / "g", target="y", proba="p", by="g")


def test_csv_files_of_other_columns(tmp_path):
    (tmp_path / "1.csv").write_text("y,p_b,p_a\na,0.25,0.75\n")
    (tmp_path / "2.csv").write_text("p_a,y,p_b\n0.5,b,0.5\n")
    assert files.score(tmp_path / "*.csv", target="y", proba="p_*").result() == log_loss(["a", "b"], [0.25, 0.5])
    (tmp_path / "2.csv").write_text("p_a,y\n0.5,b\n")
    with pytest.raises(ValueError, match=r"2\.csv, row 0: p_b is missing"):
        files.score(tmp_path / "*.csv", target="y", proba="p_*", labels=["a", "b"])
    (tmp_path / "1.csv").write_text("y,p_b,p_b\na,0.25,0.75\n")
    with pytest.raises(ValueError, match=r"1\.csv cannot be read as csv: .*multiple columns named p_b"):
        files.score(tmp_path / "1.csv", target="y", proba="p_*")


def test_an_empty_line_of_a_single_column_is_a_row(tmp_path):
    (tmp_path / "y.csv").write_text("y\na\nb\na\n")
    (tmp_path / "p.csv").write_text("p\n0.5\n\n0.5\n")
    with pytest.raises(ValueError, match=r"p\.csv, row 1: p is missing"):
        files.score(tmp_path / "y.csv", tmp_path / "p.csv")
    (tmp_path / "t.csv").write_text("y,p\na,0.5\n\nb,0.5\n\n")
    assert files.score(tmp_path / "t.csv", target="y", proba="p").count == 2


def test_types_of_csv(tmp_path):
    for values, labels in (
        (["2024-01-02", "2024-01-01"], ["2024-01-01", "2024-01-02"]), (["12:30", "11:30"], ["11:30", "12:30"]),
        (["true", "false"], [False, True]), (["01", "2"], [1, 2]), (["1.0", "0.0"], [0, 1]),
    ):
        (tmp_path / "t.csv").write_text("\n".join(["y,p", *(f"{value},0.5" for value in values)]))
        assert files.score(tmp_path / "t.csv", target="y", proba="p").classes_.tolist() == labels


def test_types_of_tables(tmp_path):
    p = np.full(4, 0.5)
    dates = [datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)]
    words = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1, 2], pa.int8()), pa.array(["a", "b", None]))
    for column, text in (
        ([[0], [1]] * 2, "'y' of .* is a matrix"), ([{"a": 0}, {"a": 1}] * 2, "'y' of .* is a matrix"),
        ([b"a", b"b"] * 2, "'y' of .*represented as bytes"), (dates * 2, "has the type datetime64.D.; expected strings"),
        ([decimal.Decimal("0.5"), decimal.Decimal(1)] * 2, "'y' of .*Unknown label type"), (words, "row 3: y is missing"),
        (pa.nulls(4), "row 0: y is missing"),
    ):
        path = written(tmp_path, pa.table({"y": column, "p": p}), "feather")
        with pytest.raises((ValueError, TypeError), match=text):
            files.score(path, target="y", proba="p")
    for column in ([True, False] * 2, [decimal.Decimal("0.5")] * 4, ["0.5"] * 4, dates * 2, [{"a": 0.5}] * 4):
        path = written(tmp_path, pa.table({"y": [0, 1] * 2, "p": column}), "feather")
        with pytest.raises(ValueError, match=r"p of .*t\.feather has the type .*; expected numbers"):
            files.score(path, target="y", proba="p")
    columns = {"y": pa.array([3, 5] * 2).dictionary_encode(), "p_5": p, "p_3": p, "g": dates * 2}
    got = files.score(written(tmp_path, pa.table(columns), "feather"), target="y", proba="p_*", by="g")
    assert got.classes_.tolist() == [3, 5]
    assert got.by_group()["label"].tolist() == dates


def test_labels_that_are_given(tmp_path):
    table = pa.table({"y": ["a", "b"] * 5, "first": np.full(10, 0.25), "last": np.full(10, 0.75)})
    path = written(tmp_path, table, "parquet")
    with pytest.warns(UserWarning, match="assumes labels are ordered"):
        got = files.score(path, target="y", proba=["first", "last"], labels=["b", "a"])
    assert got.result() == log_loss(["a", "b"] * 5, np.full(10, 0.75))
    with pytest.warns(UserWarning, match="assumes labels are ordered"):
        files.compare(path, target="y", proba_a="first", proba_b="last", labels=["b", "a"])
    with pytest.raises(ValueError, match=r"labels are \['a', 'b', 'a'\]; expected each class once"):
        files.score(path, target="y", proba="last", labels=["a", "b", "a"])
