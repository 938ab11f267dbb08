"""Ray
===

Log-loss over the workers of Ray. Beside xentc it needs: pip install ray
"""

# sphinx_gallery_thumbnail_path = "pictures/exact_sum.svg"

import numpy as np
import ray

from xentc import LogLoss, log_loss

LABELS = ["ham", "spam", "unsure"]


def predictions(part, rows=50_000):
    """Stands in for a part of the data that a worker reads or predicts by itself."""
    rng = np.random.default_rng(part)
    return rng.choice(LABELS, rows), rng.dirichlet(np.ones(len(LABELS)), rows)


@ray.remote(num_cpus=1)
def metric_of(part):
    """The sums of a part's rows, a few kB."""
    y_true, y_proba = predictions(part)
    return LogLoss(LABELS).update(y_true, y_proba, n_threads=1)


@ray.remote
def merged(*metrics):
    return sum(metrics)


def main():
    ray.init(num_cpus=2, include_dashboard=False)
    parts = range(16)
    metrics = [metric_of.remote(part) for part in parts]
    while len(metrics) > 1:                                    # eight at a time, where they are
        metrics = [merged.remote(*metrics[i : i + 8]) for i in range(0, len(metrics), 8)]
    metric = ray.get(metrics[0])
    y_true, y_proba = (np.concatenate(columns) for columns in zip(*map(predictions, parts), strict=True))
    print("Ray:          ", metric)
    print("one call:     ", log_loss(y_true, y_proba))
    print("the same bits:", metric.result() == log_loss(y_true, y_proba))
    print(metric.by_class())


if __name__ == "__main__":
    main()
