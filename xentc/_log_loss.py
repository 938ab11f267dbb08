"""Python layer: the checks and the texts of log-loss, in scikit-learn's order and words, and the pass over the data."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from xentc import _config, _core
from xentc._arrays import (
    is_array_like,
    is_bfloat16,
    is_float,
    is_plain,
    is_plain_int64,
    native,
    of_lists,
    of_tensor,
    raw,
    shown,
)
from xentc._exact import Moments
from xentc._labels import SAMPLE, GivenClasses, Labels, among_given, check_finite, read_labels
from xentc._validation import as_flag

# The losses of so many elements are found at a time where they go on into other sums: what they take stays in the cache.
PIECE = 1 << 20


def evaluate(
    y_true: Any, y_proba: Any, sample_weight: Any, labels: Any, from_logits: bool, losses: bool = False,
    n_threads: int | None = None,
) -> tuple[float, float, np.ndarray | None, LabelledRows]:
    """The sums of the weighted losses and of the weights, the losses of the rows where they are wanted, and the rows."""
    predictions = Predictions(y_proba, as_flag(from_logits, "from_logits"), n_threads)
    rows = LabelledRows(y_true, [predictions], sample_weight, labels)
    out = np.empty(rows.n) if losses else None
    return *rows.checked_run(predictions, out), out, rows


def plain_sums(y_true: Any, y_proba: Any, n_threads: int | None) -> tuple[float, float] | None:
    """The sums that `evaluate` begins with, of integers and probabilities that the loops can read as they are, and of no
    more rows than have all their labels looked at before. None for all other arguments, and for what is an error or a
    warning: they go the long way, on which a small call spends more time than in its loops."""
    if not (
        is_plain_int64(y_true)
        and is_plain(y_proba)
        and 1 <= y_proba.ndim <= 2
        and y_true.shape == y_proba.shape[:1]
        and 0 < y_true.size <= 2 * SAMPLE
    ):
        return None
    with_classes = y_proba.ndim == 2
    n_classes = y_proba.shape[1] if with_classes else 2
    labels = _core.label_range(y_true, n_classes, 1)
    if labels is None or labels[1] - labels[0] != n_classes - 1 or labels[2] is not None or n_classes == 1:
        return None
    call = _core.Call(y_proba, None, _config.threads_for(y_proba.size, n_threads), with_classes)
    call.set_target(y_true)
    call.set_labels(labels[0], None)
    eps = eps_of(y_proba.dtype)
    total, weight, bad_row, _, low, high, finite, sums_to_one = call.log_loss(eps, tolerance(eps))
    is_right = bad_row < 0 and finite and low >= 0 and high <= 1 and sums_to_one
    return (total, weight) if is_right else None


class Predictions:
    """Predicted probabilities, or logits, and what the passes over them have shown so far."""

    bad_row = -1
    low, high, finite, sums_to_one = math.inf, -math.inf, True, True

    def __init__(
        self, y_proba: Any, from_logits: bool, n_threads: int | None, argument: str = "y_proba", masked: bool = False
    ) -> None:
        """masked: logits may be -inf, of classes of probability 0."""
        self.masked = masked
        self.source, self.from_logits, self.n_threads, self.argument = y_proba, from_logits, n_threads, argument
        self.array = _read_probabilities(y_proba, argument)
        self.n_columns = max(self.array.shape[1], 2)

    @property
    def name(self) -> str:
        """As scikit-learn's texts have it."""
        return "y_prob" if self.argument == "y_proba" else self.argument

    def run(
        self, known: Labels | None, sample_weight: np.ndarray | None, losses: np.ndarray | None, start: int, stop: int,
        sums: Moments | None = None,
    ) -> tuple[float, float]:
        """The sums of the weighted losses and of the weights of some rows, or into `sums`; without labels the rows are only
        looked at."""
        x = self.array
        if stop - start < len(x):
            x = x[start:stop]
            known = known and known.rows(start, stop)
        if known is not None:
            if known.entries is not None and x.shape[1] == 1:
                x = np.concatenate([np.zeros_like(x) if self.from_logits else 1 - x, x], axis=1)
        eps = eps_of(x.dtype)
        call = self._call(x, sample_weight, losses)
        if known is not None and not self.from_logits:
            known.attach(call)
            if sums is not None:
                call.set_sums(sums.sums, sums.counts)
        total, weight, bad_row, _, low, high, finite, sums_to_one = call.log_loss(eps, tolerance(eps))
        if self.from_logits and not finite:                    # rows of finite logits may have infinite sums
            finite = bool(x.max() < math.inf) if self.masked else bool(np.isfinite(x).all())
        if low < self.low:
            self.low = low
        if high > self.high:
            self.high = high
        if not finite:
            self.finite = False
        if not sums_to_one:
            self.sums_to_one = False
        if known is not None and self.from_logits and finite:
            call = self._call(x, sample_weight, losses)
            known.attach(call, to_logits=True)
            if sums is not None:
                call.set_sums(sums.sums, sums.counts)
            total, weight, bad_row, _ = call.cross_entropy()
        if bad_row >= 0 and self.bad_row < 0:
            self.bad_row = start + bad_row
        return total, weight

    def _call(self, x: np.ndarray, sample_weight: np.ndarray | None, losses: np.ndarray | None) -> _core.Call:
        threads = _config.threads_for(x.size, self.n_threads)
        if x.shape[1] == 1:                                    # a single column stands for two classes
            call = _core.Call(raw(x)[:, 0], sample_weight, threads, with_classes=False)
        else:
            call = _core.Call(raw(x), sample_weight, threads)
        if losses is not None:
            call.set_losses(losses)
        return call

    def check(self) -> None:
        """Raises for what no probability is."""
        if not self.finite:
            check_finite(self.array, "" if self.name == "y_prob" else f"{self.name} ")
        if not self.from_logits:
            if self.high > 1:
                raise ValueError(f"{self.name} contains values greater than 1: {self.array.dtype.type(self.high)}")
            if self.low < 0:
                raise ValueError(f"{self.name} contains values lower than 0: {self.array.dtype.type(self.low)}")

    def check_classes(self, known: Labels, given: bool) -> None:
        """That there is a probability for each class, and that the rows sum to one. given: the classes are from `labels`."""
        if not self.sums_to_one and not self.from_logits:
            warn(f"The {self.name} values do not sum to one. Make sure to pass probabilities.")
        if len(known.classes) != self.n_columns:
            if given:
                raise ValueError(
                    f"The number of classes in labels is different from that in {self.name}. Classes found in labels: "
                    f"{known.classes}"
                )
            raise ValueError(
                f"y_true and {self.name} contain different number of classes: {len(known.classes)} vs {self.n_columns}. "
                "Please provide the true labels explicitly through the labels argument. Classes found in y_true: "
                f"{known.classes}"
            )
        if type(self.source) is not np.ndarray and known.indicator is None:
            check_columns(self.source, known.classes, self.argument)
        if self.bad_row >= 0:
            raise ValueError(f"y_true[{self.bad_row}] was written to while log_loss read it")


class LabelledRows:
    """The labels and weights of rows that one or more predictions are for.

    What is wrong with labels and weights is told after what is wrong with the predictions, which a pass over them shows.
    Which labels there are may be a guess: the pass shows if it was wrong, and the labels are to be read again.
    """

    known: Labels | None = None
    problem: Exception | None = None
    fits = False                      # the classes are those of the columns

    def __init__(
        self, y_true: Any, predictions: list[Predictions], sample_weight: Any, labels: Any, some_weight: bool = True
    ) -> None:
        """labels: as they were given, GivenClasses, or None. some_weight: not all weights may be 0."""
        self.y_true, self.predictions, self.labels, self.some_weight = y_true, predictions, labels, some_weight
        self.n, self.sample_weight = len(predictions[0].array), sample_weight
        self.read(guess=True)

    def read(self, guess: bool) -> None:
        self.told: list[str] = []
        try:
            if self.sample_weight is not None or len(self.predictions) > 1 or length(self.y_true) != self.n:
                check_lengths(*[predictions.array for predictions in self.predictions], self.y_true, self.sample_weight)
            if self.sample_weight is not None:
                self.sample_weight = _read_sample_weight(self.sample_weight, self.n, self.some_weight)
            if isinstance(self.labels, GivenClasses):
                self.known = among_given(self.y_true, self.labels, guess)
            else:
                self.known = read_labels(self.y_true, self.labels, self.told, self.predictions[0].n_columns if guess else 0)
            self.fits = True
            for predictions in self.predictions:
                predictions.bad_row = -1
                self.fits &= len(self.known.classes) == predictions.n_columns
        except (TypeError, ValueError) as error:
            self.problem, self.known, self.fits = error, None, False

    def run(
        self, predictions: Predictions, losses: np.ndarray | None = None, sums: Moments | None = None
    ) -> tuple[float, float]:
        """The weighted sums of all rows, or into `sums`."""
        return predictions.run(self.known if self.fits else None, self.weight_of(0, self.n), losses, 0, self.n, sums)

    def checked_run(self, predictions: Predictions, losses: np.ndarray | None = None) -> tuple[float, float]:
        """The same, where nothing is wrong."""
        sums = self.run(predictions, losses)
        if self.guess_failed():
            self.read(guess=False)
            sums = self.run(predictions, losses)
        self.check()
        return sums

    def pieces(self, sums: list[Moments]) -> Iterator[tuple[int, int, list[np.ndarray]]]:
        """Piece by piece where rows begin and end, and for each of the predictions the losses of these rows, in arrays that
        are used again. The losses also go into the moments in `sums`, one for each of the predictions.

        Where something is wrong with labels or weights, the predictions are looked at, and nothing comes.
        """
        size = max(1024, PIECE // max(p.n_columns for p in self.predictions))
        buffers = [np.empty(min(size, self.n)) for _ in self.predictions]
        for start in range(0, self.n, size):
            stop = min(self.n, start + size)
            losses = [buffer[: stop - start] for buffer in buffers]
            for predictions, out, moments in zip(self.predictions, losses, sums, strict=True):
                predictions.run(self.known if self.fits else None, self.weight_of(start, stop), out, start, stop, moments)
            if self.fits:
                yield start, stop, losses

    def weight_of(self, start: int, stop: int) -> np.ndarray | None:
        """Of some rows."""
        return None if self.problem or self.sample_weight is None else self.sample_weight[start:stop]

    def guess_failed(self) -> bool:
        if self.known is None or not self.known.guessed:
            return False
        return any(predictions.bad_row >= 0 for predictions in self.predictions)

    def check(self) -> None:
        """Raises for what is wrong, and warns."""
        for predictions in self.predictions:
            predictions.check()
        for warning in self.told:
            warn(warning)
        if self.problem is not None:
            raise self.problem
        assert self.known is not None
        for predictions in self.predictions:
            predictions.check_classes(self.known, self.labels is not None)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """As from where the caller of the library is."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "xentc":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def check_columns(y_proba: Any, classes: np.ndarray, name: str) -> None:
    """Warn if the columns of a DataFrame are named after the classes, but in another order. scikit-learn says nothing."""
    if not hasattr(type(y_proba), "columns"):
        return
    of_arrow = hasattr(type(y_proba), "column_names")  # whose columns are the values
    names = list(y_proba.column_names if of_arrow else y_proba.columns)
    order = classes.tolist()
    if set(names) != set(order):
        order = list(map(str, order))
    if set(names) == set(order) and len(names) == len(order) and names != order:
        warn(
            f"{name} has the columns {shown(names)}, but they are taken by position: expected the order of the sorted "
            f"classes, {shown(order)}"
        )


# The distance from 1 to the next larger value.
_EPS = {np.dtype(np.float64): 2.0**-52, np.dtype(np.float32): 2.0**-23, np.dtype(np.float16): 2.0**-10}


def eps_of(dtype: np.dtype) -> float:
    """Probabilities are clipped by that of their own dtype."""
    return _EPS.get(dtype, 2.0**-7)                            # bfloat16's


def tolerance(eps: float) -> float:
    """How far from 1 a row's sum may be."""
    return 1e-8 + math.sqrt(eps)


def _read_probabilities(y_proba: Any, name: str) -> np.ndarray:
    """y_proba as floats of two dimensions, in their own dtype where that is float64 or narrower."""
    if type(y_proba) is np.ndarray and y_proba.ndim == 2 and y_proba.size:
        if y_proba.dtype in _EPS and y_proba.flags.aligned:
            return y_proba                                     # the quickest
    if isinstance(y_proba, np.matrix):
        raise TypeError(
            "np.matrix is not supported. Please convert to a numpy array with np.asarray. For more information see: "
            "https://numpy.org/doc/stable/reference/generated/numpy.matrix.html"
        )
    if isinstance(y_proba, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; expected plain probabilities: drop the masked rows first")
    y_proba = of_lists(y_proba, name)
    if hasattr(y_proba, "dtypes") and hasattr(y_proba, "isna"):
        a = _from_pandas(y_proba)
    else:
        a = np.asarray(of_tensor(y_proba, name))
    if a.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{a}\n")
    if not is_float(a.dtype):
        # Strings and objects are converted from the original: NumPy words its errors after what it was given.
        try:
            with np.errstate(over="ignore"):
                a = a.astype(np.float64) if a.dtype.kind in "biuf" else np.asarray(y_proba, dtype=np.float64)
        except OverflowError:
            raise ValueError("Input contains infinity or a value too large for dtype('float64').") from None
    a = native(a)
    if a.ndim > 2:
        raise ValueError(f"Found array with dim {a.ndim}, while dim <= 2 is required.")
    if a.ndim == 0:
        check_finite(a)
        raise TypeError(
            "Input should have at least 1 dimension i.e. satisfy `len(x.shape) > 0`, got scalar "
            f"`{np.asarray(y_proba)!r}` instead."
        )
    for axis, what in enumerate(("sample", "feature")[: a.ndim]):
        if a.shape[axis] == 0:
            raise ValueError(f"Found array with 0 {what}(s) (shape={a.shape}) while a minimum of 1 is required.")
    return a[:, np.newaxis] if a.ndim == 1 else a


def _from_pandas(frame: Any) -> np.ndarray:
    """The values of a pandas DataFrame or Series; nullable columns give objects, whose missing values become NaN here."""
    a = frame.to_numpy()
    return frame.to_numpy(dtype=np.float64, na_value=np.nan) if a.dtype.kind == "O" else a


def _read_sample_weight(sample_weight: Any, n_samples: int, some_weight: bool) -> np.ndarray:
    if isinstance(sample_weight, np.ma.MaskedArray):
        raise ValueError("sample_weight is a masked array; expected plain weights")
    a = np.asarray(of_tensor(sample_weight, "sample_weight"))
    if a.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{a}\n")
    if a.ndim > 2:
        raise ValueError(f"Found array with dim {a.ndim}, while dim <= 2 is required.")
    if a.dtype.kind == "O":
        try:
            a = a.astype(np.float64)
        except (TypeError, ValueError):
            raise TypeError("sample_weight holds objects that are not real numbers") from None
        except OverflowError:
            raise ValueError("Input sample_weight contains infinity or a value too large for dtype('float64').") from None
    if a.dtype.kind not in "biuf" and not is_bfloat16(a.dtype):
        raise TypeError(f"sample_weight has dtype {a.dtype}; expected real numbers")
    with np.errstate(over="ignore"):
        weight = a.astype(np.float64, copy=False)
    if not np.isfinite(weight).all():
        check_finite(a, "sample_weight ")
        check_finite(weight, "sample_weight ")
    if a.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {a.ndim}D array. Expected either a scalar value or a 1D array "
            f"of length {n_samples}."
        )
    if some_weight and not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return native(weight)


def length(x: Any) -> int:
    if type(x) is np.ndarray and x.ndim:
        return len(x)                                          # the quickest
    shape = getattr(x, "shape", None)
    if shape is not None:
        if len(shape) == 0:
            raise TypeError(
                f"Input should have at least 1 dimension i.e. satisfy `len(x.shape) > 0`, got scalar `{x!r}` instead."
            )
        return int(shape[0])
    return len(x) if hasattr(x, "__len__") else len(np.asarray(x))


def check_lengths(*arrays: Any) -> None:
    lengths = [length(x) for x in arrays if x is not None]
    if len(set(lengths)) > 1:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: {lengths}")


def check_parameters(
    caller: str, y_true: Any, y_proba: Any, sample_weight: Any, labels: Any, y_pred: Any = "deprecated",
    normalize: Any = True, name: str = "y_proba",
) -> None:
    def wrong(name: str, expected: str, value: Any) -> ValueError:
        return ValueError(f"The {name!r} parameter of {caller} must be {expected}. Got {shown(value)} instead.")

    if not is_array_like(y_true):
        raise wrong("y_true", "an array-like", y_true)
    if y_proba is not None and not is_array_like(y_proba):
        raise wrong(name, "an array-like", y_proba)
    if not isinstance(normalize, (bool, np.bool_)):
        raise wrong("normalize", "an instance of 'bool' or an instance of 'numpy.bool'", normalize)
    if sample_weight is not None and not is_array_like(sample_weight):
        raise wrong("sample_weight", "an array-like or None", sample_weight)
    if labels is not None and not is_array_like(labels):
        raise wrong("labels", "an array-like or None", labels)
    if not isinstance(y_pred, str) and not is_array_like(y_pred):
        raise wrong("y_pred", "an array-like or an instance of 'str'", y_pred)


def renamed(y_proba: Any, y_pred: Any) -> Any:
    if isinstance(y_pred, str) and y_pred == "deprecated":
        return y_proba
    if y_proba is not None:
        raise ValueError("Cannot use both `y_pred` and `y_proba`. `y_pred` is deprecated, use `y_proba` instead.")
    warn(
        "`y_pred` was renamed to `y_proba` in version 1.9 and will be removed in 1.11. Use `y_proba` instead.", FutureWarning
    )
    return y_pred
