"""Python layer, the array face: losses over logits with their gradients."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from xentc import _config, _core, _exact, _validation

__all__ = ["cross_entropy"]

Reduction = Literal["none", "sum", "mean"]
_ONE = np.ones(1)


@overload
def cross_entropy(
    logits: ArrayLike, target: ArrayLike, *, class_weight: ArrayLike | None = None, sample_weight: ArrayLike | None = None,
    reduction: Literal["sum", "mean"] = "mean", return_grad: Literal[False] = False, out_grad: None = None,
    n_threads: int | None = None,
) -> float: ...
@overload
def cross_entropy(
    logits: ArrayLike, target: ArrayLike, *, class_weight: ArrayLike | None = None, sample_weight: ArrayLike | None = None,
    reduction: Literal["none"], return_grad: Literal[False] = False, out_grad: None = None, n_threads: int | None = None,
) -> np.ndarray: ...
@overload
def cross_entropy(
    logits: ArrayLike, target: ArrayLike, *, class_weight: ArrayLike | None = None, sample_weight: ArrayLike | None = None,
    reduction: Literal["sum", "mean"] = "mean", return_grad: Literal[True], out_grad: np.ndarray | None = None,
    n_threads: int | None = None,
) -> tuple[float, np.ndarray]: ...
@overload
def cross_entropy(
    logits: ArrayLike, target: ArrayLike, *, class_weight: ArrayLike | None = None, sample_weight: ArrayLike | None = None,
    reduction: Literal["none"], return_grad: Literal[True], out_grad: np.ndarray | None = None,
    n_threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]: ...
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    return_grad: bool = False,
    out_grad: np.ndarray | None = None,
    n_threads: int | None = None,
) -> Any:
    """Softmax cross-entropy of logits, and its gradient.

    Parameters
    ----------
    logits : array_like of real numbers, shape (..., n_classes)
        Scores before the softmax, classes last; all other axes are rows. float64 and float32 are used where they lie, in
        any layout; narrower floats are computed as float32, integers as float64.
    target : array_like
        Integer codes from 0 to ``n_classes - 1`` of the rows' shape (``logits.shape[:-1]``), or probabilities of the
        logits' shape, of any real or boolean dtype. Probabilities must not be negative; they need not sum to one.
    class_weight : array_like of shape (n_classes,), optional
        Multiplies each class's term. Finite and >= 0.
    sample_weight : array_like, optional
        Multiplies each row's loss; broadcasts to the rows. Finite and >= 0. A row of weight 0 counts for nothing,
        whatever it holds.
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum by the sum of ``class_weight[target] * sample_weight`` for integer targets, and by the sum
        of the sample weights for probabilities.
    return_grad : bool
        Also return the gradient with respect to the logits, of the reduced value ("none": of the sum).
    out_grad : ndarray of the logits' shape, optional
        Where the gradient goes, of any floating dtype; it may be ``logits`` itself. Only with ``return_grad``. After an
        error its contents are undefined, unless it is ``logits``: those are left as they were.
    n_threads : int, optional
        So many threads, literally. By default as many as :func:`xentc.get_num_threads` says, and one for small inputs.
        The result has the same bits for any number.

    Returns
    -------
    loss : float, or ndarray of the rows' shape for reduction="none"
        In nats. Row losses are float64 for float64 logits, else float32; sums and means are taken over them exactly and
        rounded once. The mean over nothing is NaN.
    grad : ndarray of the logits' shape
        Only with ``return_grad``: ``out_grad``, or a new array of the row losses' dtype in the logits' layout.

    Raises
    ------
    ValueError
        For a target out of range or negative (naming the first such row), for weights that are negative or not finite,
        and for shapes that do not fit.
    TypeError
        For codes that are not integers and inputs that are not real numbers.

    Notes
    -----
    With :math:`m` the largest logit of a row and :math:`r = \\sum_{j \\ne \\arg\\max} e^{x_j - m}`, the loss of class
    :math:`y` is

    .. math:: -\\log \\frac{e^{x_y}}{\\sum_j e^{x_j}} = (m - x_y) + \\log(1 + r),

    two terms that are never negative: nothing cancels, and a confidently right row keeps all its digits. Soft targets
    give :math:`\\sum_j t_j (m - x_j) + \\log(1 + r) \\sum_j t_j`. The gradient is :math:`\\operatorname{softmax}(x) - t`,
    times the weights. Losses are within 3 ulp and gradients of integer targets within 4 ulp of the exact values.

    A NaN or ``+inf`` in a row makes its loss and its gradient NaN; a ``-inf`` logit is a class of probability 0.

    References
    ----------
    C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.3.4.

    Examples
    --------
    >>> from xentc import cross_entropy
    >>> cross_entropy([[0.1, 0.4, 0.5], [0.8, 0.1, 0.1]], [2, 0])
    0.8178186621560153
    >>> cross_entropy([[0.0, 40.0]], [1], reduction="none")
    array([4.24835426e-18])
    >>> loss, grad = cross_entropy([[1.0, 1.0]], [0], return_grad=True)
    >>> grad
    array([[-0.5,  0.5]])
    """
    x = _validation.as_logits(logits)
    rows, n_classes = x.shape[:-1], x.shape[-1]
    n_rows = x.size // n_classes
    t, soft = _validation.as_target(target, x)
    class_weights = _ONE if class_weight is None else _validation.as_class_weight(class_weight, n_classes)
    sample_weights = np.broadcast_to(_ONE[0], rows)
    if sample_weight is not None:
        sample_weights = _validation.as_sample_weight(sample_weight, rows)
    if reduction not in ("none", "sum", "mean"):
        raise ValueError(f'reduction must be "none", "sum" or "mean", got {reduction!r}')
    in_place, grad = False, None
    if out_grad is not None:
        if not return_grad:
            raise ValueError("out_grad is given, but return_grad is False")
        others = {"target": t, "class_weight": class_weights, "sample_weight": sample_weights}
        in_place = _validation.check_out(out_grad, x, others)
        direct = out_grad.dtype == x.dtype and out_grad.flags.aligned
        grad = out_grad if direct else np.empty_like(x)
    elif return_grad:
        grad = np.empty_like(x)
    threads = _config.threads_for(x.size, n_threads)

    denominator = 1.0
    weighted = class_weight is not None or sample_weight is not None
    if grad is not None and (in_place or (reduction == "mean" and weighted)):
        # The weights must be summed, and nothing overwritten that an error would lose, before the first gradient row.
        state = _exact.new_state()
        if soft:
            if in_place and t.size and t.min() < 0:
                raise _negative_target(t)
            _core.add_values(state, sample_weights, sample_weights, threads)
        else:
            _raise_bad_code(_core.total_weight(x, t, class_weights, sample_weights, state), t, n_classes)
        weight_sum = _exact.rounded(state[1])
    else:
        weight_sum = float(n_rows)
    if reduction == "mean":
        denominator = weight_sum

    state = _exact.new_state()
    narrow = x.dtype == np.float32
    losses = np.empty(rows, x.dtype) if reduction == "none" else None
    bad = _core.cross_entropy(
        x, t, class_weights, sample_weights, losses, grad, denominator, state, threads, soft=soft, narrow=narrow
    )
    if soft and bad >= 0:
        raise _negative_target(t)
    _raise_bad_code(bad, t, n_classes)
    loss: Any = losses
    if reduction == "sum":
        loss = _exact.rounded(state[0])
    elif reduction == "mean":
        loss = _exact.mean(state)
    if grad is None:
        return loss
    if out_grad is not None and grad is not out_grad:
        out_grad[...] = grad
        grad = out_grad
    return loss, grad


def _raise_bad_code(row: int, target: np.ndarray, n_classes: int) -> None:
    if row >= 0:
        place = np.unravel_index(row, target.shape)
        where = f"[{', '.join(map(str, place))}]" if place else ""
        raise ValueError(f"target{where} is {target[place]}, but logits have {n_classes} classes")


def _negative_target(target: np.ndarray) -> ValueError:
    place = np.unravel_index(np.argmax(target < 0), target.shape)
    where = ", ".join(map(str, place))
    return ValueError(f"target[{where}] is {target[place]}; expected probabilities >= 0")
