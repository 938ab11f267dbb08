"""xentc.files: what bad rows, damaged and forged files say."""

import io
import re
import struct
import warnings
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from tables import LABELS, PROBA, TABLE, changed, written

from xentc import files


def test_damaged_text(tmp_path):
    values = pa.array([b"a", b"\xff"] * 5).view(pa.string())
    path = written(tmp_path, pa.table({"y": values, "p": np.full(10, 0.5)}), "feather")
    with pytest.raises(ValueError, match=r"t\.feather cannot be read as feather: .*UTF8"):
        files.score(path, target="y", proba="p")


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
    with pytest.raises(ValueError, match=r"y\.npy, row 1: Input contains NaN\. \(label 1, prediction nan in .*p\.npy, "):
        files.score(tmp_path / "y.npy", tmp_path / "p.npy")


def test_a_bad_value_of_a_file_of_its_own(tmp_path):
    """The rows of a table in parts are those of the part; the other files have their own."""
    paths = written(tmp_path, TABLE, "many")
    for name in ("p", "w"):
        bad = {"p": PROBA.copy(), "w": np.ones(len(PROBA))}
        bad[name][707] = np.inf
        np.save(tmp_path / "p.npy", bad["p"])
        np.save(tmp_path / "w.npy", bad["w"])
        with pytest.raises(ValueError, match=rf"^.*many2\.parquet, row 207: .* in .*{name}\.npy, row 707[,)]"):
            files.score(paths, tmp_path / "p.npy", target="y", weight=tmp_path / "w.npy")


def test_a_bad_row_of_a_part(tmp_path):
    paths = written(tmp_path, changed("p_ant", 707, 2.0), "many")
    with pytest.raises(ValueError, match=r"many2\.parquet, row 207: "):
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


def test_an_archive_with_two_of_a_name(tmp_path):
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, values in (("y", [0, 1]), ("p", [0.1, 0.9]), ("p", [0.9, 0.1])):
            content = io.BytesIO()
            np.save(content, values)
            archive.writestr(f"{name}.npy", content.getvalue())
    with pytest.raises(ValueError, match=r"a\.npz has several columns 'p' \(proba\)"):
        files.score(tmp_path / "a.npz", target="y", proba="p")


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
