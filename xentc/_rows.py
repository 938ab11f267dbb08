"""Python layer: what all losses have in common, from arguments to the loops and back to results."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xentc import _arrays, _config, _core, _exact, _validation
from xentc._arrays import classes_last, place, raw, result_type, shown


class Derivative:
    """An array that a derivative goes into: the caller's, or one of ours that is copied into it at the end."""

    def __init__(self, name: str, out: Any, x: np.ndarray, x_name: str, others: dict[str, Any]) -> None:
        self.out, self.in_place = out, False
        if out is not None:
            self.in_place = _validation.check_out(out, f"out_{name}", x, x_name, others)
        if out is not None and _arrays.is_direct(out):
            self.array = out
        else:
            self.array = _arrays.like(x, out, result_type(x))

    def finish(self) -> np.ndarray:
        if self.out is None:
            return self.array
        if self.array is not self.out:
            _arrays.copy_into(self.out, self.array)
        return self.out


def derivatives(
    x: np.ndarray, x_name: str, return_grad: bool, return_hess: bool, out_grad: Any, out_hess: Any, others: dict[str, Any]
) -> tuple[Derivative, Derivative | None]:
    """The gradient, and the Hessian where wanted; others: the arrays that they must not share memory with."""
    for name, wanted, out in (("grad", return_grad, out_grad), ("hess", return_hess, out_hess)):
        if out is not None and not wanted:
            raise ValueError(f"out_{name} is given, but return_{name} is False")
    grad, hess = Derivative("grad", out_grad, x, x_name, others), None
    if return_hess:
        hess = Derivative("hess", out_hess, x, x_name, {**others, x_name: x, "out_grad": grad.array})
    return grad, hess


def row_loss(
    loop: Callable[..., tuple[float, float, int, int]], x: Any, name: str, target: Any, *, terms: tuple[Any, ...] = (),
    checks_x: bool = False, class_weight: Any = None, sample_weight: Any, label_smoothing: Any = 0.0,
    ignore_index: Any = None, axis: int, reduction: str, return_grad: bool = False, return_hess: bool = False,
    out_grad: Any = None, out_hess: Any = None, n_threads: int | None,
) -> Any:
    """A loss over rows of classes; a Hessian is returned with a gradient only.

    loop: the function of _core that runs it; terms: its last arguments, which no other has. checks_x: it may find an invalid
    probability.
    """
    x = _arrays.as_floats(x, name)
    shape = x.shape
    axis = _validation.class_axis(shape, name, axis)
    rows, n_classes = shape[:axis] + shape[axis + 1 :], shape[axis]
    array = classes_last(raw(x), axis)
    t, sparse = _validation.as_target(target, shape, rows, name, axis)
    soft = t is None or t.ndim == x.ndim
    if class_weight is not None:
        class_weight = _validation.as_class_weight(class_weight, n_classes)
    if sample_weight is not None:
        sample_weight = _validation.as_weight(sample_weight, rows, "sample_weight", "the rows")
    smoothing = _validation.as_number(label_smoothing, "label_smoothing", 1)
    if ignore_index is not None:
        if soft:
            raise ValueError("ignore_index is for integer targets; give rows to ignore a sample_weight of 0 instead")
        ignore_index = _validation.as_index(ignore_index, "ignore_index")
    _check_reduction(reduction)
    grad: Derivative | None = None
    hess: Derivative | None = None
    return_hess = _validation.as_flag(return_hess, "return_hess")
    return_grad = _validation.as_flag(return_grad, "return_grad") or return_hess
    if return_grad or out_grad is not None or out_hess is not None:
        others = {"target": t, "class_weight": class_weight, "sample_weight": sample_weight}
        if sparse is not None:
            others.update({"target's indptr": sparse[0], "target's indices": sparse[1], "target's data": sparse[2]})
        grad, hess = derivatives(x, name, return_grad, return_hess, out_grad, out_hess, others)
    threads = _config.threads_for(x.size, n_threads)

    denominator = 1.0
    if grad is not None:
        in_mean = reduction == "mean"
        weighted = class_weight is not None or sample_weight is not None or ignore_index is not None
        if in_mean:
            denominator = float(x.size // n_classes)
        if soft:
            if in_mean and sample_weight is not None:
                denominator = _exact.rounded_sum(sample_weight, threads)
        elif (in_mean and weighted) or (grad.in_place and not checks_x):
            _, weight, bad, _ = _core.total_weight(array, t, class_weight, sample_weight, ignore_index=ignore_index)
            if bad >= 0:
                _raise_bad_target(bad, t, soft, n_classes, name, axis)
            if in_mean:
                denominator = weight
        denominator = _usable(denominator)

    losses: np.ndarray | None = np.empty(rows, result_type(x)) if reduction == "none" else None
    passes = [(losses, _view(grad, axis), _view(hess, axis))]
    if grad is not None and grad.in_place and (soft or checks_x):
        passes.insert(0, (None, None, None))  # nothing is overwritten that an error would lose
    for outputs in passes:
        total, weight, bad, bad_proba = loop(
            array, t, soft, sparse, class_weight, sample_weight, ignore_index, smoothing, *outputs, x.itemsize < 8,
            denominator, threads, *terms, stream=grad is not None and grad.array is out_grad,
        )
        if bad >= 0:
            _raise_bad_target(bad, t, soft, n_classes, name, axis)
        if bad_proba >= 0:
            _raise_bad_row(bad_proba, x, name, axis)
    return _result(losses, total, weight, reduction, grad, hess)


def element_loss(
    x: Any, name: str, target: Any, *, sample_weight: Any, pos_weight: Any, label_smoothing: Any, focal_gamma: float = 0.0,
    eps: float | None = None, reduction: str, return_grad: bool, return_hess: bool = False, out_grad: Any = None,
    out_hess: Any = None, n_threads: int | None,
) -> Any:
    """A loss of binary targets, element by element; a Hessian is returned with a gradient only."""
    x = _arrays.as_floats(x, name)
    t = _arrays.as_array(target, "target")
    if t.shape != x.shape:
        raise ValueError(f"target has shape {t.shape}; expected that of {name}, {x.shape}")
    if t.dtype.kind not in "biu":
        t = _arrays.as_floats(t, "target")
        if _arrays.is_bfloat16(t.dtype):
            t = t.astype(np.float32)
    t = _arrays.native(t)
    if pos_weight is not None:
        pos_weight = _validation.as_weight(pos_weight, x.shape, "pos_weight", name)
    if sample_weight is not None:
        sample_weight = _validation.as_weight(sample_weight, x.shape, "sample_weight", name)
    smoothing = _validation.as_number(label_smoothing, "label_smoothing", 1)
    _check_reduction(reduction)
    grad: Derivative | None = None
    hess: Derivative | None = None
    return_hess = _validation.as_flag(return_hess, "return_hess")
    return_grad = _validation.as_flag(return_grad, "return_grad") or return_hess
    if return_grad or out_grad is not None or out_hess is not None:
        others = {"target": t, "pos_weight": pos_weight, "sample_weight": sample_weight}
        grad, hess = derivatives(x, name, return_grad, return_hess, out_grad, out_hess, others)
    threads = _config.threads_for(x.size * 8, n_threads)
    denominator = 1.0
    if grad is not None and reduction == "mean":
        denominator = float(x.size) if sample_weight is None else _usable(_exact.rounded_sum(sample_weight, threads))
    if grad is not None and grad.in_place and x.size:
        out_of_range = (t < 0) | (t > 1)
        if out_of_range.any():
            _raise_bad_element(int(np.argmax(out_of_range)), t, "target", "from 0 to 1")
        if eps is not None and ((x < 0) | (x > 1)).any():
            _raise_bad_element(int(np.argmax((x < 0) | (x > 1))), x, name, "from 0 to 1")
    losses = np.empty(x.shape, result_type(x)) if reduction == "none" else None
    total, weight, bad, bad_proba = _core.binary_loss(
        raw(x), t, pos_weight, sample_weight, losses, _view(grad), _view(hess), denominator, threads, eps=eps,
        narrow=x.itemsize < 8, label_smoothing=smoothing, focal_gamma=focal_gamma,
    )
    if bad >= 0:
        _raise_bad_element(bad, _arrays.as_array(target, "target"), "target", "from 0 to 1")
    if bad_proba >= 0:
        _raise_bad_element(bad_proba, x, name, "from 0 to 1")
    return _result(losses, total, weight, reduction, grad, hess)


def _view(derivative: Derivative | None, axis: int = -1) -> np.ndarray | None:
    """Where the loops write: as they read, with the class axis last."""
    return None if derivative is None else classes_last(raw(derivative.array), axis)


def _result(
    losses: np.ndarray | None, total: float, weight: float, reduction: str, grad: Derivative | None, hess: Derivative | None
) -> Any:
    """The loss, or the tuple of it and the derivatives."""
    loss: Any = losses if reduction == "none" else total if reduction == "sum" else _exact.mean(total, weight)
    if grad is None:
        return loss
    return (loss, grad.finish()) if hess is None else (loss, grad.finish(), hess.finish())


def _raise_bad_target(row: int, t: np.ndarray | None, soft: bool, n_classes: int, name: str, axis: int) -> None:
    assert t is not None  # sparse targets were checked before
    if not soft:
        where = np.unravel_index(row, t.shape)
        hint = "; give ignore_index=-100 to leave such rows out" if t[where] == -100 else ""
        raise ValueError(f"target{place(where)} is {t[where]}, but {name} have {n_classes} classes{hint}")
    where = np.unravel_index(row, t.shape[:-1])
    values = t[where]
    position = int(np.argmax(values < 0))
    whole = np.insert(np.array(where, int), axis, position)
    raise ValueError(f"target{place(whole)} is {values[position]}; expected probabilities >= 0")


def _raise_bad_row(row: int, x: np.ndarray, name: str, axis: int) -> None:
    rows = np.moveaxis(x, axis, -1)
    where = np.unravel_index(row, rows.shape[:-1])
    values = rows[where].astype(float)
    position = int(np.argmax((values < 0) | (values > 1)))
    whole = np.insert(np.array(where, int), axis, position)
    raise ValueError(f"{name}{place(whole)} is {values[position]}; expected probabilities from 0 to 1")


def _raise_bad_element(position: int, a: np.ndarray, name: str, expected: str) -> None:
    where = np.unravel_index(position, a.shape)
    raise ValueError(f"{name}{place(where)} is {a[where]}; expected values {expected}")


def _usable(denominator: float) -> float:
    """A sum of weights that overflowed is no denominator either: the loops know one of zero."""
    return denominator if math.isfinite(denominator) else 0.0


def _check_reduction(reduction: str) -> None:
    if not isinstance(reduction, str) or reduction not in ("none", "sum", "mean"):
        raise ValueError(f'reduction must be "none", "sum" or "mean", got {shown(reduction)}')
