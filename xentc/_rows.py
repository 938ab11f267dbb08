"""Python layer: what all losses have in common, from arguments to the loops and back to results."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from xentc import _config, _core, _exact, _validation
from xentc._validation import Floats, Target

_ONE = np.ones(1)


class Derivative:
    """An array that a derivative goes into: the caller's, or one of ours that is copied into it at the end."""

    def __init__(self, wanted: bool, out: Any, x: Floats, others: dict[str, Any], name: str) -> None:
        self.out, self.array, self.in_place = out, None, False
        if out is not None:
            if not wanted:
                raise ValueError(f"out_{name} is given, but return_{name} is False")
            self.in_place = _validation.check_out(out, x, others, f"out_{name}")
            if _validation.is_direct(out):
                self.array = out
        if wanted and self.array is None:
            self.array = _validation.like(x.array, out, x.result)

    def view(self, axis: int | None = None) -> np.ndarray | None:
        return None if self.array is None else _validation.raw(self.array, axis)

    def finish(self) -> np.ndarray | None:
        if self.out is not None and self.array is not self.out:
            self.out[...] = self.array
        return self.array if self.out is None else self.out


def row_loss(
    loop: Callable[..., tuple[int, int]], x: Any, name: str, target: Any, *, checks_x: bool = False,
    class_weight: Any = None, sample_weight: Any, label_smoothing: Any = 0.0, ignore_index: Any = None, axis: int,
    reduction: str, return_grad: bool = False, return_hess: bool = False, out_grad: Any = None, out_hess: Any = None,
    n_threads: int | None,
) -> Any:
    """A loss over rows of classes.

    loop(x, target, class_weight, sample_weight, losses, grad, hess, denominator, state, threads, **options) runs it and
    returns the first row with an invalid target, and the first with an invalid probability, or -1. checks_x: there can be
    such a one.
    """
    floats = _validation.as_floats(x, name)
    axis = _validation.class_axis(floats, axis)
    array = _validation.raw(floats.array, axis)
    rows, n_classes = array.shape[:-1], array.shape[-1]
    t = _validation.as_target(target, floats, axis)
    class_weights = _ONE if class_weight is None else _validation.as_class_weight(class_weight, n_classes)
    sample_weights = np.broadcast_to(_ONE[0], rows)
    if sample_weight is not None:
        sample_weights = _validation.as_weight(sample_weight, rows, "sample_weight", "the rows")
    smoothing = _validation.as_number(label_smoothing, "label_smoothing", 1)
    if ignore_index is not None:
        if t.soft:
            raise ValueError("ignore_index is for integer targets; give rows to ignore a sample_weight of 0 instead")
        ignore_index = _index(ignore_index, "ignore_index")
    _check_reduction(reduction)
    others = {"target": t.array, "class_weight": class_weights, "sample_weight": sample_weights}
    grad = Derivative(return_grad, out_grad, floats, others, "grad")
    hess = Derivative(return_hess, out_hess, floats, {**others, name: floats.array, "out_grad": grad.array}, "hess")
    threads = _config.threads_for(array.size, n_threads)

    denominator = 1.0
    derivatives = return_grad or return_hess
    weighted = class_weight is not None or sample_weight is not None or ignore_index is not None
    weight_sum = float(array.size // n_classes)

    def weigh(state: np.ndarray) -> None:
        bad = _core.total_weight(array, t.array, class_weights, sample_weights, state, ignore_index=ignore_index)
        raise_bad_target(bad, t, n_classes, name, axis)

    if derivatives and reduction == "mean" and weighted:
        state = _exact.new_state()
        if t.soft:
            _core.add_values(state, sample_weights, sample_weights, threads)
        else:
            weigh(state)
        weight_sum = _exact.rounded(state[1])
    if reduction == "mean":
        denominator = weight_sum

    losses: np.ndarray | None = np.empty(rows, floats.result) if reduction == "none" else None

    def run(losses: np.ndarray | None, grad: np.ndarray | None, hess: np.ndarray | None) -> np.ndarray:
        state = _exact.new_state()
        bad, bad_proba = loop(
            array, t.array, class_weights, sample_weights, losses, grad, hess, denominator, state, threads, soft=t.soft,
            sparse=t.sparse, narrow=floats.result is np.float32, ignore_index=ignore_index, label_smoothing=smoothing,
        )
        raise_bad_target(bad, t, n_classes, name, axis)
        if bad_proba >= 0:
            _raise_bad_row(bad_proba, floats, axis)
        return state

    if grad.in_place:
        # Nothing is overwritten that an error would lose.
        if t.soft or checks_x:
            run(None, None, None)
        else:
            weigh(_exact.new_state())
    state = run(losses, grad.view(axis), hess.view(axis))
    return reduced(losses, state, reduction, grad if return_grad else None, hess if return_hess else None)


def element_loss(
    x: Any, name: str, target: Any, *, sample_weight: Any, pos_weight: Any, label_smoothing: Any, focal_gamma: float = 0.0,
    eps: float | None = None, reduction: str, return_grad: bool, return_hess: bool = False, out_grad: Any = None,
    out_hess: Any = None, n_threads: int | None,
) -> Any:
    """A loss of binary targets, element by element."""
    floats = _validation.as_floats(x, name)
    array = _validation.raw(floats.array)
    t = _validation.as_array(target, "target")
    if t.shape != array.shape:
        raise ValueError(f"target has shape {t.shape}; expected that of {name}, {array.shape}")
    if t.dtype.kind not in "biu":
        t = _validation.as_floats(t, "target").array
        if _validation.is_bfloat16(t.dtype):
            t = t.astype(np.float32)
    t = _validation.native(t)
    weights = {}
    for key, value, of in (("pos_weight", pos_weight, name), ("sample_weight", sample_weight, name)):
        one = np.broadcast_to(_ONE[0], array.shape)
        weights[key] = one if value is None else _validation.as_weight(value, array.shape, key, of)
    smoothing = _validation.as_number(label_smoothing, "label_smoothing", 1)
    _check_reduction(reduction)
    others = {"target": t, **weights}
    grad = Derivative(return_grad, out_grad, floats, others, "grad")
    hess = Derivative(return_hess, out_hess, floats, {**others, name: floats.array, "out_grad": grad.array}, "hess")
    threads = _config.threads_for(array.size * 8, n_threads)
    denominator = 1.0
    state = _exact.new_state()
    if reduction == "mean" and (return_grad or return_hess):
        denominator = float(array.size)
        if sample_weight is not None:
            _core.add_values(state, weights["sample_weight"], weights["sample_weight"], threads)
            denominator = _exact.rounded(state[1])
            state = _exact.new_state()
    if grad.in_place and array.size:
        out_of_range = (t < 0) | (t > 1)
        if out_of_range.any():
            _raise_bad_element(int(np.argmax(out_of_range)), t, "target", "from 0 to 1")
        if eps is not None and ((floats.array < 0) | (floats.array > 1)).any():
            _raise_bad_element(int(np.argmax((floats.array < 0) | (floats.array > 1))), floats.array, name, "from 0 to 1")
    losses: np.ndarray | None = np.empty(array.shape, floats.result) if reduction == "none" else None
    bad, bad_proba = _core.binary_loss(
        array, t, weights["pos_weight"], weights["sample_weight"], losses, grad.view(), hess.view(), denominator, state,
        threads, eps=eps, narrow=floats.result is np.float32,
        label_smoothing=smoothing, focal_gamma=focal_gamma,
    )
    if bad >= 0:
        _raise_bad_element(bad, _validation.as_array(target, "target"), "target", "from 0 to 1")
    if bad_proba >= 0:
        _raise_bad_element(bad_proba, floats.array, name, "from 0 to 1")
    return reduced(losses, state, reduction, grad if return_grad else None, hess if return_hess else None)


def reduced(
    losses: np.ndarray | None, state: np.ndarray, reduction: str, grad: Derivative | None, hess: Derivative | None
) -> Any:
    """The loss, or the tuple of it and the derivatives."""
    loss: Any = losses
    if reduction == "sum":
        loss = _exact.rounded(state[0])
    elif reduction == "mean":
        loss = _exact.mean(state)
    parts = [derivative.finish() for derivative in (grad, hess) if derivative is not None]
    return (loss, *parts) if parts else loss


def raise_bad_target(row: int, t: Target, n_classes: int, name: str, axis: int) -> None:
    """An error for the first row with an invalid target; nothing for -1."""
    if row < 0:
        return
    assert t.array is not None
    if not t.soft:
        place = np.unravel_index(row, t.array.shape)
        raise ValueError(f"target{_place(place)} is {t.array[place]}, but {name} have {n_classes} classes")
    place = np.unravel_index(row, t.array.shape[:-1])
    values = t.array[place]
    position = int(np.argmax(values < 0))
    whole = np.insert(np.array(place, int), axis, position)
    raise ValueError(f"target{_place(whole)} is {values[position]}; expected probabilities >= 0")


def _raise_bad_row(row: int, x: Floats, axis: int) -> None:
    rows = np.moveaxis(x.array, axis, -1)
    place = np.unravel_index(row, rows.shape[:-1])
    values = rows[place].astype(float)
    position = int(np.argmax((values < 0) | (values > 1)))
    whole = np.insert(np.array(place, int), axis, position)
    raise ValueError(f"{x.name}{_place(whole)} is {values[position]}; expected probabilities from 0 to 1")


def _raise_bad_element(position: int, a: np.ndarray, name: str, expected: str) -> None:
    place = np.unravel_index(position, a.shape)
    raise ValueError(f"{name}{_place(place)} is {a[place]}; expected values {expected}")


def _place(place: Any) -> str:
    return f"[{', '.join(map(str, place))}]" if len(place) else ""


def _check_reduction(reduction: str) -> None:
    if reduction not in ("none", "sum", "mean"):
        raise ValueError(f'reduction must be "none", "sum" or "mean", got {reduction!r}')


def _index(value: Any, name: str) -> int:
    try:
        index = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if not -(2**63) <= index < 2**63 - 1:
        raise ValueError(f"{name} is {index}; expected an integer that int64 holds")
    return index
