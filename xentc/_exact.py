"""Python layer: the exact sum in the open, and the rounding of its state."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xentc import _config, _core

_CHUNKS = _core.STATE_SHAPE[1] - 4
_UNIT = 1 << 1075  # a chunk counts units of 2^-1075
_VERSION = 1


def new_state() -> np.ndarray:
    """Two exact sums, of weighted values and of weights."""
    return np.zeros(_core.STATE_SHAPE, np.int64)


def rounded(exact_sum: np.ndarray) -> float:
    """The float64 nearest to an exact sum."""
    positive, negative, nans = exact_sum[_CHUNKS : _CHUNKS + 3].tolist()
    if nans or (positive and negative):
        return float("nan")
    if positive or negative:
        return float("inf") if positive else float("-inf")
    digits = exact_sum[: _CHUNKS - 1].astype("<u4").tobytes()
    units = int.from_bytes(digits, "little") + (int(exact_sum[_CHUNKS - 1]) << (32 * (_CHUNKS - 1)))
    try:
        return units / _UNIT
    except OverflowError:
        return float("inf") if units > 0 else float("-inf")


def mean(state: np.ndarray) -> float:
    """The rounded sum over the rounded weight sum; NaN where the weights sum to zero."""
    total, weight = rounded(state[0]), rounded(state[1])
    return total / weight if weight else float("nan")


class ExactMean:
    """A weighted sum and mean that do not depend on the order of adding or merging.

    Every value (times its weight) goes into a fixed-point number that covers the whole range of float64, so nothing is
    rounded until a result is asked for. Chunks of a file, threads, or workers of a cluster can each fill one and merge
    them: the bits of the result are those of a single pass.

    Attributes
    ----------
    count : int
        How many values have been added.

    Notes
    -----
    ``sum()`` is the float64 nearest to :math:`\\sum_i w_i x_i`, ``weight_sum()`` the one nearest to
    :math:`\\sum_i w_i`, and ``mean()`` their quotient. The state is a fixed-size array of integers; it pickles and
    copies. A product that overflows is an infinity; a weight of zero makes its value count for nothing unless it is NaN.

    References
    ----------
    R. M. Neal, "Fast exact summation using small and large superaccumulators", arXiv:1505.05571, 2015.

    Examples
    --------
    >>> from xentc import ExactMean
    >>> total = ExactMean()
    >>> total.add([1e300, 1.0])
    >>> total.add([-1e300])
    >>> total.sum(), total.count
    (1.0, 3)
    >>> other = ExactMean()
    >>> other.add([4.0], weights=[2.0])
    >>> total.merge(other)
    >>> total.sum(), total.weight_sum()
    (9.0, 5.0)
    """

    __slots__ = ("_state", "count")

    def __init__(self) -> None:
        self._state = new_state()
        self.count = 0

    def add(self, values: ArrayLike, weights: ArrayLike | None = None) -> None:
        """Add values.

        Parameters
        ----------
        values : array_like of real numbers, any shape
            Taken as float64.
        weights : array_like of real numbers, optional
            Broadcast to the shape of ``values``; 1 where not given.

        Raises
        ------
        ValueError
            If the shapes do not broadcast.
        TypeError
            If an argument is not an array of real numbers.
        """
        from xentc import _validation

        x = _validation.as_float64(values, "values")
        if weights is None:
            w = np.broadcast_to(np.float64(1), x.shape)
        else:
            w = _validation.broadcast(_validation.as_float64(weights, "weights"), x.shape, "weights", "values")
        _core.add_values(self._state, x, w, _config.threads_for(x.size, None))
        self.count += x.size

    def merge(self, other: ExactMean) -> None:
        """Add all that another ExactMean holds; ``other`` is left as it is."""
        if not isinstance(other, ExactMean):
            raise TypeError(f"other must be an ExactMean, got {type(other).__name__}")
        _core.merge(self._state, other._state)
        self.count += other.count

    def sum(self) -> float:
        """The weighted sum, correctly rounded; 0.0 where nothing was added."""
        return rounded(self._state[0])

    def weight_sum(self) -> float:
        """The sum of the weights, correctly rounded."""
        return rounded(self._state[1])

    def mean(self) -> float:
        """``sum() / weight_sum()``; NaN where the weights sum to zero."""
        return mean(self._state)

    def __getstate__(self) -> dict[str, Any]:
        return {"version": _VERSION, "count": self.count, "state": self._state.tobytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["version"] != _VERSION:
            raise ValueError(f"this ExactMean was saved in format {state['version']}; this xentc reads {_VERSION}")
        self.count = state["count"]
        self._state = np.frombuffer(state["state"], np.int64).reshape(_core.STATE_SHAPE).copy()

    def __copy__(self) -> ExactMean:
        new = ExactMean()
        new.merge(self)
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> ExactMean:
        return self.__copy__()

    def __repr__(self) -> str:
        return f"<ExactMean of {self.count} values, mean {self.mean()!r}>"
