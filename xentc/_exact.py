"""Python layer: the exact sum in the open."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from xentc import _config, _core
from xentc._arrays import shown

_VERSION = 1


def new_state() -> np.ndarray:
    """Two exact sums, of weighted values and of weights."""
    return np.zeros(_core.STATE_SHAPE, np.int64)


def rounded_sum(values: np.ndarray, n_threads: int) -> float:
    """The float64 nearest to the sum of float64 values."""
    state = new_state()
    _core.add_values(state, values, None, n_threads)
    return _core.rounded(state[0])


def mean(total: float, weight: float) -> float:
    """A sum over the sum of its weights; NaN where that is zero or overflowed."""
    return total / weight if weight and math.isfinite(weight) else math.nan


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

    _state: np.ndarray
    count: int

    def __new__(cls) -> Self:
        new = super().__new__(cls)
        new._state = new_state()
        new.count = 0
        return new

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
        from xentc import _arrays, _validation

        x = _arrays.as_float64(values, "values")
        w = None
        if weights is not None:
            w = _validation.broadcast(_arrays.as_float64(weights, "weights"), x.shape, "weights", "values")
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
        return _core.rounded(self._state[0])

    def weight_sum(self) -> float:
        """The sum of the weights, correctly rounded."""
        return _core.rounded(self._state[1])

    def mean(self) -> float:
        """``sum() / weight_sum()``; NaN where the weights sum to zero."""
        return mean(self.sum(), self.weight_sum())

    def __getstate__(self) -> dict[str, Any]:
        return {"version": _VERSION, "count": self.count, "state": self._state.tobytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if not isinstance(state, dict) or set(state) != {"version", "count", "state"}:
            raise ValueError(f"the state of an ExactMean is {shown(state)}; expected a dict of version, count and state")
        version, count, sums = state["version"], state["count"], state["state"]
        if type(version) is not int or version != _VERSION:
            raise ValueError(f"this ExactMean was saved in format {shown(version)}; this xentc reads {_VERSION}")
        if type(count) is not int or not 0 <= count < 2**45:
            raise ValueError(f"the count of an ExactMean is {shown(count)}; expected an integer from 0 to 2**45")
        if not isinstance(sums, bytes) or len(sums) != self._state.nbytes:
            size = f"{len(sums)} bytes" if isinstance(sums, bytes) else shown(sums)
            raise ValueError(f"the sums of an ExactMean are {size}; expected {self._state.nbytes} bytes")
        new = np.frombuffer(sums, np.int64).reshape(_core.STATE_SHAPE).copy()
        if not _core.is_sum_of(new, count):
            raise ValueError(f"the sums of an ExactMean are no sums of {count} values: the state is damaged")
        self._state, self.count = new, count

    def __copy__(self) -> Self:
        new = type(self)()
        new.merge(self)
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    def __repr__(self) -> str:
        return f"<ExactMean of {self.count} values, mean {self.mean()!r}>"
