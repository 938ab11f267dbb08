"""Tables of predictions, and files of them in every format."""

import gzip
import io

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet

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


def changed(column, row, value, kind=None):
    values = TABLE[column].to_pylist()
    values[row] = value
    return TABLE.set_column(TABLE.column_names.index(column), column, pa.array(values, kind))


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
