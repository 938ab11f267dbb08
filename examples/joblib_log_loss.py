"""joblib and multiprocessing
==========================

Log-loss over processes. Beside xentc it needs: pip install joblib
"""

# sphinx_gallery_thumbnail_path = "pictures/exact_sum.svg"

from multiprocessing import get_context

import numpy as np
from joblib import Parallel, delayed

from xentc import LogLoss, log_loss

LABELS = ["ham", "spam", "unsure"]


def predictions(part, rows=50_000):
    """Stands in for a part of the data that a worker reads or predicts by itself, or for a fold of cross-validation."""
    rng = np.random.default_rng(part)
    return rng.choice(LABELS, rows), rng.dirichlet(np.ones(len(LABELS)), rows)


def metric_of(part):
    """What a worker sends back: the sums of its rows, a few kB. Groups tell the parts apart."""
    y_true, y_proba = predictions(part)
    return LogLoss(LABELS).update(y_true, y_proba, groups=np.full(len(y_true), part), n_threads=1)


def main():
    parts = range(8)
    by_joblib = sum(Parallel(n_jobs=2)(delayed(metric_of)(part) for part in parts))
    with get_context("spawn").Pool(2) as pool:
        by_pool = sum(pool.imap_unordered(metric_of, parts))   # in any order
    y_true, y_proba = (np.concatenate(columns) for columns in zip(*map(predictions, parts), strict=True))
    print("joblib:         ", by_joblib)
    print("multiprocessing:", by_pool)
    print("one call:       ", log_loss(y_true, y_proba))
    print("the same bits:  ", by_joblib == by_pool and by_pool.result() == log_loss(y_true, y_proba))
    print(by_joblib.by_group())


if __name__ == "__main__":
    main()
