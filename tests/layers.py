"""Linear layers whose logits have no error, whatever BLAS does; and what limits BLAS has.

Hidden rows and weights are small multiples of 1/8, so that their products and sums are exact.
"""

import ml_dtypes
import numpy as np
import scipy.linalg  # with a BLAS of its own, which the first call would load
import scipy.sparse
from threadpoolctl import threadpool_info

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]
KEYWORDS = {
    "class_weight": lambda rng, n, k: rng.uniform(0.5, 2, k),
    "sample_weight": lambda rng, n, k: rng.choice([0.0, 0.5, 1.0, 3.0], n),
    "label_smoothing": lambda rng, n, k: 0.125,
    "ignore_index": lambda rng, n, k: -100,
    "z_loss": lambda rng, n, k: 0.01,
    "focal_gamma": lambda rng, n, k: 1.5,
}


def eighths(rng, shape, dtype):
    return (rng.integers(-8, 9, shape) / 8).astype(dtype)


def data(rng, n, d, k, dtype=np.float64, names=(), kind="codes"):
    options = {name: KEYWORDS[name](rng, n, k) for name in names}
    target = rng.integers(0, k, n)
    if "ignore_index" in options:
        target[rng.random(n) < 0.3] = -100
    if kind != "codes":
        target = rng.integers(0, 3, (n, k)) / 4 * (rng.random((n, k)) < 0.5)
    if kind == "sparse":
        target = scipy.sparse.csr_array(target)
    return eighths(rng, (n, d), dtype), eighths(rng, (k, d), dtype), target, options


def blas_threads():
    return sorted((info["filepath"], info["num_threads"]) for info in threadpool_info() if info["user_api"] == "blas")
