"""Python layer: pictures of log-loss, in scikit-learn's Display form.

:class:`LogLossDisplay` shows which rows, classes and groups make the loss, :class:`ReliabilityDisplay` whether probabilities
are what they say, :class:`ComparisonDisplay` where one model is better than another one. Needs matplotlib and SciPy.
"""

from xentc.plotting._comparison_display import ComparisonDisplay
from xentc.plotting._log_loss_display import LogLossDisplay
from xentc.plotting._reliability_display import ReliabilityDisplay

__all__ = ["ComparisonDisplay", "LogLossDisplay", "ReliabilityDisplay"]
