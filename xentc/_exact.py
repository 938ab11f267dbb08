"""Python layer: exact sums, of all values together and of groups, and the statistics that they make."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from xentc import _config, _core
from xentc._arrays import as_float64, shown
from xentc._labels import Labels

_VERSION = 1

# An exact sum is a number of units, of which 1 has so many.
UNITS = 1 << 1075
_CHUNK_OF_1 = 1075 // 32


def rounded_sum(values: np.ndarray, n_threads: int) -> float:
    """The float64 nearest to the sum of float64 values."""
    return _core.Call(values, None, n_threads, with_classes=False).values()[0]


def mean(total: float, weight: float) -> float:
    """A sum over the sum of its weights; NaN where that is zero or overflowed."""
    return total / weight if weight and math.isfinite(weight) else math.nan


def integer(exact_sum: np.ndarray, first: int = 0) -> int:
    """The units of an exact sum; those of 2^(32 first) units, where no chunk below has any."""
    chunks = exact_sum[first : _core.SUM_CHUNKS]               # 32 bits each, but the last
    low = int.from_bytes(chunks[:-1].astype("<u4").tobytes(), "little")
    return low + (int(chunks[-1]) << 32 * (len(chunks) - 1))


def from_units(units: int | Fraction) -> float:
    """The nearest float64."""
    try:
        return units.numerator / (units.denominator * UNITS)
    except OverflowError:
        return math.inf if units > 0 else -math.inf


def _ratio(numerator: int, denominator: int) -> float:
    """The float64 nearest to a variance; NaN where it is none."""
    if denominator <= 0 or numerator < 0:
        return math.nan
    try:
        return numerator / denominator
    except OverflowError:
        return math.inf


class Moments:
    """For each of some groups the exact sums of w x and w, over its values x and their weights w, and of w x^2 and w^2 where
    n_sums is 4; and how many values there are. They depend on the values alone, not on the order they came in."""

    __slots__ = ("counts", "sums")

    def __init__(self, n_groups: int, n_sums: int = 4) -> None:
        self.sums = np.zeros((n_groups, n_sums, _core.SUM_SIZE), np.int64)
        self.counts = np.zeros(n_groups, np.int64)

    def add(
        self, values: np.ndarray, weights: np.ndarray | None, n_threads: int | None = None, groups: Labels | None = None
    ) -> bool:
        """Values of the first group, or of the groups of codes. Whether all codes are those of groups: else the sums are of
        no use."""
        call = _core.Call(values, weights, _config.threads_for(values.size, n_threads), with_classes=False)
        if groups is not None:
            groups.attach(call)
        call.set_sums(self.sums, self.counts)
        return call.values()[2] < 0

    def plus(self, other: Moments, places: Any = slice(None)) -> Moments:
        """The groups at these places, each once, with those of another one."""
        new = Moments(0, self.sums.shape[1])
        new.sums, new.counts = self.sums[places] + other.sums, self.counts[places] + other.counts
        _core.carry(new.sums)
        return new

    def put(self, other: Moments, places: Any) -> None:
        self.sums[places], self.counts[places] = other.sums, other.counts

    def copy(self, n_groups: int | None = None) -> Moments:
        """With at least as many groups."""
        new = Moments(n_groups or len(self.counts), self.sums.shape[1])
        new.sums[: len(self.counts)], new.counts[: len(self.counts)] = self.sums, self.counts
        return new

    def taken(self, groups: Any) -> Moments:
        """Some groups, in this order."""
        new = Moments(len(groups), self.sums.shape[1])
        new.sums[...], new.counts[...] = self.sums[groups], self.counts[groups]
        return new

    def together(self) -> Moments:
        """All groups as one."""
        new = Moments(1, self.sums.shape[1])
        new.sums[0], new.counts[0] = self.sums.sum(axis=0), self.counts.sum()
        _core.carry(new.sums)
        return new

    def totals(self) -> np.ndarray:
        """The sum of w x of each group, rounded."""
        return np.array([_core.rounded(sums[0]) for sums in self.sums])

    def weights(self) -> np.ndarray:
        return np.array([_core.rounded(sums[1]) for sums in self.sums])

    def weight_units(self) -> list[int]:
        """The exact sums of the weights."""
        return [integer(sums[1]) for sums in self.sums]

    def means(self) -> np.ndarray:
        return np.array([mean(_core.rounded(sums[0]), _core.rounded(sums[1])) for sums in self.sums])

    def variance(self, group: int = 0) -> float:
        """By the formula of ExactMean.variance, rounded once."""
        value, weight, square, weight_square = self._integers(group)
        return _ratio(square * weight - value**2, weight**2 - weight_square)

    def standard_error(self, group: int = 0) -> float:
        """Of the mean, by the formula of ExactMean.standard_error."""
        value, weight, square, weight_square = self._integers(group)
        denominator = (weight**2 - weight_square) * weight**2
        return math.sqrt(_ratio((square * weight - value**2) * weight_square, denominator))

    def standard_errors(self) -> np.ndarray:
        return np.array([self.standard_error(group) for group in range(len(self.counts))])

    def effective_count(self, group: int = 0) -> float:
        """The number of values of equal weights whose mean would vary as much, (sum w)^2 / sum w^2."""
        _, weight, _, weight_square = self._integers(group)
        return _ratio(weight**2, weight_square)

    def _integers(self, group: int) -> tuple[int, int, int, int]:
        """The sums over a common unit, that of w^2 over the unit's square; zeros if some sum is not finite."""
        sums = self.sums[group]
        if sums[:, _core.SUM_CHUNKS :].any():
            return 0, 0, 0, 0
        # Most sums begin far above the least unit, and short integers are quicker.
        first = min(int(sums.any(axis=0).argmax()), _CHUNK_OF_1)
        value, weight, square, weight_square = (integer(exact_sum, first) for exact_sum in sums)
        return value, weight, square, weight_square * (UNITS >> 32 * first)

    def same(self, other: Moments) -> bool:
        return np.array_equal(self.sums, other.sums) and np.array_equal(self.counts, other.counts)

    def state(self) -> dict[str, Any]:
        return {"counts": self.counts.tobytes(), "sums": self.sums.tobytes()}

    @classmethod
    def of_state(cls, name: str, n_groups: int, n_sums: int, state: dict[str, Any]) -> Moments:
        """What `state` gave; ValueErrors call it by a name."""
        new = cls(n_groups, n_sums)
        for key, array in (("counts", new.counts), ("sums", new.sums)):
            data = state[key]
            if not isinstance(data, bytes) or len(data) != array.nbytes:
                size = f"{len(data)} bytes" if isinstance(data, bytes) else shown(data)
                raise ValueError(f"the {key} of {name} are {size}; expected {array.nbytes} bytes")
            array[...] = np.frombuffer(data, np.int64).reshape(array.shape)
        for count, sums in zip(new.counts.tolist(), new.sums, strict=True):
            if not 0 <= count < 2**45:
                raise ValueError(f"a count of {name} is {count}; expected an integer from 0 to 2**45")
            if not all(_core.is_sum_of(exact_sum, count) for exact_sum in sums):
                raise ValueError(f"the sums of {name} are no sums of {count} values: the state is damaged")
        return new


def check_state(name: str, state: Any, keys: set[str], version: int) -> None:
    """That a saved state is a dict of these keys, and of this version."""
    if not isinstance(state, dict) or set(state) != keys | {"version"}:
        expected = ", ".join(["version", *sorted(keys)])
        raise ValueError(f"the state of {name} is {shown(state)}; expected a dict of {expected}")
    if type(state["version"]) is not int or state["version"] != version:
        raise ValueError(f"{name} was saved in format {shown(state['version'])}; this xentc reads {version}")


class ExactMean:
    """A weighted sum and mean that do not depend on the order of adding or merging.

    Every value (times its weight) goes into a fixed-point number that covers the whole range of float64, so nothing is
    rounded until a result is asked for. Chunks of a file, threads, or workers of a cluster can each fill one and merge
    them: the bits of the result are those of a single pass.

    Parameters
    ----------
    values, weights : array_like, optional
        What to begin with: see ``add``.
    second_moment : bool
        Also keep the exact sums of :math:`w_i x_i^2` and :math:`w_i^2`, for ``variance`` and ``standard_error``.

    Attributes
    ----------
    count : int
        How many values have been added.

    See Also
    --------
    LogLoss : the same for log-losses, with tables by class and group.
    math.fsum : the sum of a list.

    Notes
    -----
    ``sum()`` is the float64 nearest to :math:`\\sum_i w_i x_i`, ``weight_sum()`` the one nearest to
    :math:`\\sum_i w_i`, and ``mean()`` their quotient, which is also what ``float`` gives. ``a + b``, ``a += b`` and
    ``sum(many)`` merge; two are equal if their sums are, exactly. The state is a fixed-size array of integers; it pickles
    and copies. A product that overflows is an infinity, and what of one is below 2**-1074 is lost; a weight of zero makes
    its value count for nothing unless it is NaN.

    References
    ----------
    R. M. Neal, "Fast exact summation using small and large superaccumulators", arXiv:1505.05571, 2015.

    Examples
    --------
    >>> from xentc import ExactMean
    >>> total = ExactMean([1e300, 1.0]).add([-1e300])
    >>> total.sum(), total.count
    (1.0, 3)
    >>> total += ExactMean([4.0], weights=[2.0])
    >>> total.sum(), total.weight_sum()
    (9.0, 5.0)
    >>> rows = ExactMean([0.5, 0.25, 0.75, 1.0], second_moment=True)
    >>> float(rows), rows.standard_error()
    (0.625, 0.1613743060919757)
    """

    __slots__ = ("_moments",)

    _moments: Moments

    def __new__(
        cls, values: ArrayLike | None = None, weights: ArrayLike | None = None, *, second_moment: bool = False
    ) -> Self:
        from xentc._validation import as_flag

        new = super().__new__(cls)
        new._moments = Moments(1, 4 if as_flag(second_moment, "second_moment") else 2)
        if values is not None:
            new.add(values, weights)
        elif weights is not None:
            raise ValueError("weights are given, but no values")
        return new

    @property
    def count(self) -> int:
        return int(self._moments.counts[0])

    def add(self, values: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Add values.

        Parameters
        ----------
        values : array_like of real numbers, any shape
            Taken as float64.
        weights : array_like of real numbers, optional
            Broadcast to the shape of ``values``; 1 where not given.

        Returns
        -------
        self : ExactMean

        Raises
        ------
        ValueError
            If the shapes do not broadcast.
        TypeError
            If an argument is not an array of real numbers.
        """
        from xentc._validation import broadcast

        x = as_float64(values, "values")
        w = None
        if weights is not None:
            w = broadcast(as_float64(weights, "weights"), x.shape, "weights", "values")
        self._moments.add(x, w)
        return self

    def merge(self, other: ExactMean) -> Self:
        """Add all that another ExactMean holds; ``other`` is left as it is. Both or neither have a second moment."""
        if not isinstance(other, ExactMean):
            raise TypeError(f"other must be an ExactMean, got {type(other).__name__}")
        if other._moments.sums.shape != self._moments.sums.shape:
            raise ValueError("one of two ExactMeans to merge has second moments, the other has none: make both alike")
        self._moments = self._moments.plus(other._moments)
        return self

    def sum(self) -> float:
        """The weighted sum, correctly rounded; 0.0 where nothing was added."""
        return _core.rounded(self._moments.sums[0, 0])

    def weight_sum(self) -> float:
        """The sum of the weights, correctly rounded."""
        return _core.rounded(self._moments.sums[0, 1])

    def mean(self) -> float:
        """``sum() / weight_sum()``; NaN where the weights sum to zero."""
        return mean(self.sum(), self.weight_sum())

    def variance(self) -> float:
        """The unbiased variance of the values, correctly rounded.

        Returns
        -------
        variance : float
            NaN for fewer than two values, or where a sum of squares is not finite.

        Raises
        ------
        ValueError
            If there is no second moment.

        Notes
        -----
        :math:`s^2 = \\sum_i w_i (x_i - \\mu)^2 \\,/\\, (V_1 - V_2 / V_1)` with :math:`V_1 = \\sum_i w_i` and
        :math:`V_2 = \\sum_i w_i^2`, the formula for reliability weights: it does not change if all weights are multiplied by
        a number, and equal weights give the usual :math:`n - 1`. ``numpy.cov(x, aweights=w)`` is the same.

        References
        ----------
        M. Galassi et al., "GNU Scientific Library Reference Manual", section 23.7, "Weighted samples".
        """
        return self._with_second_moment().variance()

    def standard_error(self) -> float:
        """The standard error of the mean.

        Returns
        -------
        error : float
            NaN where the variance is.

        Raises
        ------
        ValueError
            If there is no second moment.

        Notes
        -----
        :math:`s \\sqrt{V_2} / V_1`, with the terms of ``variance``: :math:`s / \\sqrt{n}` for equal weights. It takes the
        weights for given numbers that say nothing of the values; where they go with them it is too small, or too large.

        References
        ----------
        M. Galassi et al., "GNU Scientific Library Reference Manual", section 23.7, "Weighted samples".
        """
        return self._with_second_moment().standard_error()

    def _with_second_moment(self) -> Moments:
        if self._moments.sums.shape[1] == 2:
            raise ValueError("this ExactMean has no second moment; make it with ExactMean(second_moment=True)")
        return self._moments

    def __float__(self) -> float:
        return self.mean()

    def __add__(self, other: ExactMean) -> Self:
        return self.__copy__().merge(other) if isinstance(other, ExactMean) else NotImplemented

    def __radd__(self, other: Any) -> Self:
        return self.__copy__() if type(other) is int and other == 0 else NotImplemented  # where sum() begins

    def __iadd__(self, other: ExactMean) -> Self:
        return self.merge(other) if isinstance(other, ExactMean) else NotImplemented

    def __eq__(self, other: object) -> bool:
        return self._moments.same(other._moments) if isinstance(other, ExactMean) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        return {"version": _VERSION, "n_sums": self._moments.sums.shape[1], **self._moments.state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        check_state("an ExactMean", state, {"n_sums", "counts", "sums"}, _VERSION)
        if type(state["n_sums"]) is not int or state["n_sums"] not in (2, 4):
            raise ValueError(f"the n_sums of an ExactMean is {shown(state['n_sums'])}; expected 2 or 4")
        self._moments = Moments.of_state("an ExactMean", 1, state["n_sums"], state)

    def __copy__(self) -> Self:
        new = type(self)()
        new._moments = self._moments.copy()
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    def __repr__(self) -> str:
        return f"<ExactMean of {self.count} values, mean {self.mean()!r}>"
