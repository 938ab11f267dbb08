"""Cross-entropy over NumPy arrays: fast, right to the last bits, and the same bits for any threads and machine.

``log_loss`` and its relatives evaluate predicted probabilities as scikit-learn does; ``cross_entropy`` works on logits,
with weights and gradients; ``ExactMean`` adds up losses from any number of chunks without rounding.
"""

try:
    from xentc import _core
except ImportError as error:
    if "XENTC_ISA" in str(error):
        raise
    raise ImportError(
        "xentc's extension module is missing or cannot be loaded. If this is a checkout of the project, Python found the "
        "source folder `xentc` in the working directory instead of an installed package: run `pip install .` there, and "
        f"start Python from another directory. The loader said: {error}"
    ) from error

from xentc import special
from xentc._config import get_num_threads, set_num_threads, show_config
from xentc._exact import ExactMean
from xentc.calibration import decompose_log_loss, fit_temperature
from xentc.comparison import compare_log_loss
from xentc.evaluation import LogLoss
from xentc.linear import linear_cross_entropy
from xentc.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    categorical_cross_entropy,
    cross_entropy,
    kl_divergence,
    nll_loss,
    perplexity,
)
from xentc.metrics import d2_log_loss_score, log_loss, log_loss_per_sample

__version__: str = _core.build_info()["version"]

__all__ = [
    "ExactMean",
    "LogLoss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "categorical_cross_entropy",
    "compare_log_loss",
    "cross_entropy",
    "d2_log_loss_score",
    "decompose_log_loss",
    "fit_temperature",
    "get_num_threads",
    "kl_divergence",
    "linear_cross_entropy",
    "log_loss",
    "log_loss_per_sample",
    "nll_loss",
    "perplexity",
    "set_num_threads",
    "show_config",
    "special",
]
