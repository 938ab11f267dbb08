"""Spark
=====

Log-loss over the partitions of Spark. Beside xentc it needs Java 17, and pip install pyspark pandas pyarrow
"""

# sphinx_gallery_thumbnail_path = "pictures/exact_sum.svg"

import os
import pickle
import sys

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from xentc import LogLoss, log_loss

LABELS = ["ham", "spam", "unsure"]


def metrics_of(batches):
    """For `mapInPandas`: of all batches of a partition a row of one cell, the pickled sums of its rows, a few kB."""
    metric = LogLoss(LABELS)
    for frame in batches:
        metric.update(frame["truth"], frame[LABELS], sample_weight=frame["weight"], groups=frame["country"], n_threads=1)
    yield pd.DataFrame({"metric": [pickle.dumps(metric)]})


def main():
    rng = np.random.default_rng(0)
    n = 100_000
    frame = pd.DataFrame(rng.dirichlet(np.ones(len(LABELS)), n), columns=LABELS).assign(
        truth=rng.choice(LABELS, n), weight=rng.uniform(0, 2, n), country=rng.choice(["de", "en", "fr"], n)
    )
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)    # the workers are of this Python too
    spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", False).getOrCreate()
    partitions = spark.createDataFrame(frame).repartition(4)   # which deals the rows out in another order
    metrics = [pickle.loads(row.metric) for row in partitions.mapInPandas(metrics_of, "metric binary").collect()]
    spark.stop()
    metric = sum(metrics)
    expected = log_loss(frame["truth"], frame[LABELS], sample_weight=frame["weight"])
    print(f"Spark, {len(metrics)} partitions:", metric)
    print("one call:           ", expected)
    print("the same bits:      ", metric.result() == expected)
    print(metric.by_group())


if __name__ == "__main__":
    main()
