"""Python layer: what all losses have in common, from arguments to the loops and back to results."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xentc import _arrays, _config, _exact, _validation
from xentc._arrays import classes_last, is_plain, is_plain_int64, place, raw, result_type, shown
from xentc._core import Call

Sums = tuple[float, float, int, int]


class Derivative:
    """An array that a derivative goes into: the caller's, or one of ours that is copied into it at the end."""

    __slots__ = "array", "in_place", "out"

    def __init__(self, name: str, out: Any, x: np.ndarray, x_name: str, others: dict[str, Any]) -> None:
        self.out = out
        self.in_place = out is not None and _validation.check_out(out, name, x, x_name, others)
        direct = out is not None and _arrays.is_direct(out)
        self.array = out if direct else _arrays.like(x, out, result_type(x))

    def finish(self) -> np.ndarray:
        if self.out is None:
            return self.array
        if self.array is not self.out:
            _arrays.copy_into(self.out, self.array)
        return self.out


class Outputs:
    """What a call is to return: the reduced loss, and derivatives where they are wanted."""

    __slots__ = "grad", "hess", "out_grad", "out_hess", "reduction", "return_grad", "return_hess"

    def __init__(
        self, reduction: str, return_grad: bool, return_hess: bool = False, out_grad: Any = None, out_hess: Any = None
    ) -> None:
        if not isinstance(reduction, str) or reduction not in ("none", "sum", "mean"):
            raise ValueError(f'reduction must be "none", "sum" or "mean", got {shown(reduction)}')
        self.reduction = reduction
        self.return_hess = return_hess is not False and _validation.as_flag(return_hess, "return_hess")
        self.return_grad = return_grad is not False and _validation.as_flag(return_grad, "return_grad")
        self.return_grad |= self.return_hess                  # a Hessian is returned with a gradient only
        self.out_grad, self.out_hess = out_grad, out_hess
        self.grad: Derivative | None = None
        self.hess: Derivative | None = None

    def wanted(self) -> bool:
        """Whether derivatives are."""
        if self.out_grad is not None and not self.return_grad:
            raise ValueError("out_grad is given, but return_grad is False")
        if self.out_hess is not None and not self.return_hess:
            raise ValueError("out_hess is given, but return_hess is False")
        return self.return_grad

    def allocate(self, x: np.ndarray, name: str, others: dict[str, Any]) -> bool:
        """The arrays of the derivatives; others: those that they must not share memory with. Whether x is overwritten."""
        self.grad = Derivative("out_grad", self.out_grad, x, name, others)
        if self.return_hess:
            others = {**others, name: x, "out_grad": self.grad.array}
            self.hess = Derivative("out_hess", self.out_hess, x, name, others)
        return self.grad.in_place

    def denominator(self, weight: float) -> float:
        """Of the derivatives, for a sum of the weights. One that overflowed is none: the loops know one of zero."""
        value = weight if self.reduction == "mean" else 1.0
        return value if math.isfinite(value) else 0.0

    def set_derivatives(self, call: Call, denominator: float, axis: int = -1) -> None:
        assert self.grad is not None
        hess = None if self.hess is None else classes_last(raw(self.hess.array), axis)
        stream = self.grad.array is self.out_grad
        call.set_derivatives(classes_last(raw(self.grad.array), axis), hess, denominator, stream)

    def result(self, losses: np.ndarray | None, total: float, weight: float) -> Any:
        """The loss, or the tuple of it and the derivatives."""
        loss: Any = losses
        if losses is None:
            loss = total if self.reduction == "sum" else _exact.mean(total, weight)
        if self.grad is None:
            return loss
        return (loss, self.grad.finish()) if self.hess is None else (loss, self.grad.finish(), self.hess.finish())


class Rows:
    """Logits or probabilities as rows of classes. bounded: probabilities, which are from 0 to 1."""

    __slots__ = "array", "axis", "bounded", "n_classes", "name", "shape", "x"

    def __init__(self, x: Any, name: str, axis: int, *, bounded: bool = False) -> None:
        self.x = x = _arrays.as_floats(x, name)
        self.name, self.bounded = name, bounded
        shape = x.shape
        self.axis = axis = _validation.class_axis(shape, name, axis)
        self.shape, self.n_classes = shape[:axis] + shape[axis + 1 :], shape[axis]
        self.array = classes_last(raw(x), axis)


class RowTarget:
    """The targets of rows of classes, and what they weigh."""

    __slots__ = "class_weight", "ignore_index", "rows", "sample_weight", "smoothing", "soft", "sparse", "target"

    def __init__(
        self, rows: Rows, target: Any, class_weight: Any = None, sample_weight: Any = None, label_smoothing: Any = 0.0,
        ignore_index: Any = None,
    ) -> None:
        self.rows = rows
        self.target, self.sparse = _validation.as_target(target, rows.x.shape, rows.shape, rows.name, rows.axis)
        self.soft = self.target is None or self.target.ndim == rows.x.ndim
        if class_weight is not None:
            class_weight = _validation.as_class_weight(class_weight, rows.n_classes)
        if sample_weight is not None:
            sample_weight = _validation.as_weight(sample_weight, rows.shape, "sample_weight", "the rows")
        self.class_weight, self.sample_weight = class_weight, sample_weight
        self.smoothing = _validation.as_number(label_smoothing, "label_smoothing", 1)
        if ignore_index is not None:
            if self.soft:
                raise ValueError("ignore_index is for integer targets; give rows to ignore a sample_weight of 0 instead")
            ignore_index = _validation.as_index(ignore_index, "ignore_index")
        self.ignore_index = ignore_index

    def call(self, n_threads: int | None) -> Call:
        call = Call(self.rows.array, self.sample_weight, _config.threads_for(self.rows.x.size, n_threads))
        if self.target is not None:
            call.set_target(self.target, self.soft)
        if self.sparse is not None:
            call.set_entries(*self.sparse)
        if self.class_weight is not None:
            call.set_class_weight(self.class_weight)
        if self.ignore_index is not None:
            call.set_ignored(self.ignore_index)
        if self.smoothing:
            call.set_smoothing(self.smoothing)
        return call

    def arrays(self) -> dict[str, Any]:
        """By the names that errors call them."""
        named = {"target": self.target, "class_weight": self.class_weight, "sample_weight": self.sample_weight}
        if self.sparse is not None:
            named |= zip(("target's indptr", "target's indices", "target's data"), self.sparse, strict=True)
        return named

    def total_weight(self, call: Call) -> float:
        """The denominator of a mean."""
        if self.soft and self.sample_weight is not None:
            return _exact.rounded_sum(self.sample_weight, call.n_threads)
        if self.soft or (self.class_weight is None and self.sample_weight is None and self.ignore_index is None):
            return float(math.prod(self.rows.shape))
        return self.checked(call.weights())

    def check(self, call: Call, loss: Callable[[Call], Sums]) -> float:
        """The sum of the weights; or an error for what the loop would find, before anything is written."""
        return self.checked(loss(call) if self.soft or self.rows.bounded else call.weights())

    def checked(self, sums: Sums) -> float:
        """The sum of the weights; or an error for what the loop found."""
        _, weight, bad_row, bad_proba = sums
        rows = self.rows
        if bad_row >= 0:
            assert self.target is not None                    # sparse targets were checked before
            where = np.unravel_index(bad_row, rows.shape)
            if not self.soft:
                code = self.target[where]
                hint = "; give ignore_index=-100 to leave such rows out" if code == -100 else ""
                raise ValueError(f"target{place(where)} is {code}, but {rows.name} have {rows.n_classes} classes{hint}")
            values = self.target[where]
            position = int(np.argmax(values < 0))
            whole = np.insert(np.array(where, int), rows.axis, position)
            raise ValueError(f"target{place(whole)} is {values[position]}; expected probabilities >= 0")
        if bad_proba >= 0:
            where = np.unravel_index(bad_proba, rows.shape)
            values = np.moveaxis(rows.x, rows.axis, -1)[where].astype(float)
            position = int(np.argmax((values < 0) | (values > 1)))
            whole = np.insert(np.array(where, int), rows.axis, position)
            raise ValueError(f"{rows.name}{place(whole)} is {values[position]}; expected probabilities from 0 to 1")
        return weight


class Elements:
    """Logits or probabilities of binary targets, element by element."""

    __slots__ = "array", "axis", "name", "shape", "x"

    def __init__(self, x: Any, name: str) -> None:
        self.x = x = _arrays.as_floats(x, name)
        self.name, self.axis, self.shape, self.array = name, -1, x.shape, raw(x)


class BinaryTarget:
    """The targets of elements, and what they weigh."""

    __slots__ = "pos_weight", "rows", "sample_weight", "smoothing", "target"

    def __init__(self, rows: Elements, target: Any, sample_weight: Any, pos_weight: Any, label_smoothing: Any) -> None:
        self.rows = rows
        self.target = _arrays.as_array(target, "target")
        if self.target.shape != rows.shape:
            raise ValueError(f"target has shape {self.target.shape}; expected that of {rows.name}, {rows.shape}")
        if self.target.dtype.kind not in "biu":
            self.target = _arrays.as_floats(self.target, "target")
            if _arrays.is_bfloat16(self.target.dtype):
                self.target = self.target.astype(np.float32)
        if pos_weight is not None:
            pos_weight = _validation.as_weight(pos_weight, rows.shape, "pos_weight", rows.name)
        if sample_weight is not None:
            sample_weight = _validation.as_weight(sample_weight, rows.shape, "sample_weight", rows.name)
        self.pos_weight, self.sample_weight = pos_weight, sample_weight
        self.smoothing = _validation.as_number(label_smoothing, "label_smoothing", 1)

    def call(self, n_threads: int | None) -> Call:
        threads = _config.threads_for(self.rows.x.size * 8, n_threads)
        call = Call(self.rows.array, self.sample_weight, threads, with_classes=False)
        call.set_target(_arrays.native(self.target))
        if self.pos_weight is not None:
            call.set_pos_weight(self.pos_weight)
        if self.smoothing:
            call.set_smoothing(self.smoothing)
        return call

    def arrays(self) -> dict[str, Any]:
        return {"target": self.target, "pos_weight": self.pos_weight, "sample_weight": self.sample_weight}

    def total_weight(self, call: Call) -> float:
        if self.sample_weight is not None:
            return _exact.rounded_sum(self.sample_weight, call.n_threads)
        return float(self.rows.x.size)

    def check(self, call: Call, loss: Callable[[Call], Sums]) -> float:
        return self.checked(loss(call))

    def checked(self, sums: Sums) -> float:
        _, weight, bad, bad_proba = sums
        if bad >= 0 or bad_proba >= 0:
            position, values, name = (bad, self.target, "target") if bad >= 0 else (bad_proba, self.rows.x, self.rows.name)
            where = np.unravel_index(position, values.shape)
            raise ValueError(f"{name}{place(where)} is {values[where]}; expected values from 0 to 1")
        return weight


def loss_of(
    target: RowTarget | BinaryTarget, outputs: Outputs, n_threads: int | None, loss: Callable[[Call], Sums]
) -> Any:
    """What a loss returns; `loss` runs its loop."""
    rows = target.rows
    call = target.call(n_threads)
    if outputs.wanted():
        in_place = outputs.allocate(rows.x, rows.name, target.arrays())
        weight = 1.0
        if in_place:
            weight = target.check(call, loss)                 # nothing is overwritten that an error would lose
        elif outputs.reduction == "mean":
            weight = target.total_weight(call)
        outputs.set_derivatives(call, outputs.denominator(weight), rows.axis)
    losses = np.empty(rows.shape, result_type(rows.x)) if outputs.reduction == "none" else None
    call.set_losses(losses, rows.x.itemsize < 8)
    sums = loss(call)
    weight = target.checked(sums)
    return outputs.result(losses, sums[0], weight)


def plain_loss(
    x: Any, target: Any, loss: Callable[[Call], Sums], axis: Any, reduction: Any, return_grad: Any, out_grad: Any,
    n_threads: int | None,
) -> Any:
    """What `loss_of` returns for logits and targets that the loops can read as they are, and nothing else. None for all
    other arguments, and for most errors: they go the long way, on which a small call spends more time than in its loop.

    axis: that of the classes, or None for binary targets.
    """
    with_classes = axis is not None
    if not (
        is_plain(x)
        and (is_plain_int64(target) or (not with_classes and is_plain(target)))
        and x.ndim > with_classes
        and (not with_classes or (type(axis) is int and (axis == -1 or axis == x.ndim - 1)))
        and target.shape == (x.shape[:-1] if with_classes else x.shape)
        and x.size
        and type(reduction) is str
        and reduction in ("mean", "sum", "none")
        and (return_grad is True or (return_grad is False and out_grad is None))
    ):
        return None
    threads = _config.threads_for(x.size if with_classes else x.size * 8, n_threads)
    call = Call(x, None, threads, with_classes)
    call.set_target(target)
    grad = out_grad
    if return_grad:
        if grad is None:
            grad = np.empty_like(x)
        elif _validation.check_out(grad, "out_grad", x, "logits", {"target": target}) or not is_plain(grad):
            return None
        call.set_derivatives(grad, None, target.size if reduction == "mean" else 1, grad is out_grad)
    losses = np.empty(target.shape, x.dtype) if reduction == "none" else None
    call.set_losses(losses, x.itemsize < 8)
    total, weight, bad_row, _ = loss(call)
    if bad_row >= 0:
        return None
    value: Any = losses
    if losses is None:
        value = total if reduction == "sum" else total / weight
    return (value, grad) if return_grad else value
