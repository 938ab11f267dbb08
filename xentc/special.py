"""Python layer: softmax, its logarithm, and logsumexp, with the shapes and values of scipy.special's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xentc import _arrays, _config, _core, _validation

__all__ = ["log_softmax", "logsumexp", "softmax"]


def logsumexp(
    a: ArrayLike,
    axis: int | tuple[int, ...] | None = None,
    *,
    keepdims: bool = False,
    out: np.ndarray | None = None,
    n_threads: int | None = None,
) -> Any:
    """The logarithm of the sum of exponentials.

    Parameters
    ----------
    a : array_like of real numbers
    axis : int or tuple of ints, optional
        The axes to sum over; by default all.
    keepdims : bool
        Leave the summed axes in the result, with a length of 1.
    out : ndarray of the result's shape, of any floating dtype, optional
        Where the result goes.
    n_threads : int, optional
        As in :func:`xentc.cross_entropy`.

    Returns
    -------
    ndarray, or a NumPy scalar for no dimensions
        float64 for float64 and integers, float32 for the narrower floats. ``-inf`` over nothing, or over ``-inf`` alone;
        ``inf`` where there is an ``inf``; NaN where there is a NaN.

    Raises
    ------
    ValueError
        For axes that ``a`` does not have, and an ``out`` of another shape.
    TypeError
        For input that is not real numbers.

    See Also
    --------
    log_softmax : what is left after subtracting it.
    xentc.cross_entropy : a loss without that subtraction.

    Notes
    -----
    :math:`m + \\log(1 + r)` with :math:`m` the largest element and :math:`r` the sum of :math:`e^{x - m}` over the others.

    References
    ----------
    P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J. Numer.
    Anal. 41, 2021.

    Examples
    --------
    >>> from xentc.special import logsumexp
    >>> logsumexp([[0.0, 0.0], [1000.0, 1000.0]], axis=1)
    array([6.93147181e-01, 1.00069315e+03])
    """
    x = _arrays.as_floats(a, "a")
    summed = _axes(axis, x.ndim)
    kept = [d for d in range(x.ndim) if d not in summed]
    shape = tuple(1 if d in summed else n for d, n in enumerate(x.shape)) if keepdims else tuple(x.shape[d] for d in kept)
    count = math.prod(x.shape[d] for d in summed)
    rows = _arrays.raw(x).transpose(kept + list(summed)).reshape(*(x.shape[d] for d in kept), count)
    result: np.ndarray = np.full(rows.shape[:-1], -np.inf, _arrays.result_type(x))
    if count and result.size:
        _core.Call(rows, None, _config.threads_for(rows.size, n_threads)).logsumexp(result)
    result = result.reshape(shape)
    if out is None:
        return result[()]
    _check_out(out, shape)
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    if out.dtype.kind != "f" and not _arrays.is_bfloat16(out.dtype):
        raise TypeError(f"out has dtype {out.dtype}; expected a floating-point one")
    _arrays.copy_into(out, result)
    return out


def softmax(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None = None,
    *,
    out: np.ndarray | None = None,
    n_threads: int | None = None,
) -> np.ndarray:
    """Exponentials over their sum.

    Parameters
    ----------
    x : array_like of real numbers
    axis : int or tuple of ints, optional
        The axes that sum to one; by default all.
    out : ndarray of the shape of ``x``, of any floating dtype, optional
        Where the result goes; it may be ``x`` itself.
    n_threads : int, optional
        As in :func:`xentc.cross_entropy`.

    Returns
    -------
    ndarray of the shape of ``x``
        float64 for float64 and integers, float32 for the narrower floats; within 4 ulp. NaN where all is ``-inf``, and where
        there is an ``inf`` or a NaN.

    Raises
    ------
    ValueError
        For axes that ``x`` does not have or that have no elements, and an ``out`` that does not fit.
    TypeError
        For input that is not real numbers.

    See Also
    --------
    log_softmax : its logarithm.
    xentc.cross_entropy : the loss, with its gradient.

    Notes
    -----
    :math:`e^{x_j - m} / (1 + r)`, with :math:`m` and :math:`r` as in :func:`logsumexp`.

    References
    ----------
    P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J. Numer.
    Anal. 41, 2021.

    Examples
    --------
    >>> from xentc.special import softmax
    >>> softmax([[0.0, 0.0], [0.0, 700.0]], axis=1)
    array([[5.00000000e-001, 5.00000000e-001],
           [9.85967654e-305, 1.00000000e+000]])
    """
    return _softmax(x, axis, out, n_threads, logs=False)


def log_softmax(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None = None,
    *,
    out: np.ndarray | None = None,
    n_threads: int | None = None,
) -> np.ndarray:
    """The logarithm of :func:`softmax`, without its underflow.

    Parameters
    ----------
    x, axis, out, n_threads
        As in :func:`softmax`.

    Returns
    -------
    ndarray of the shape of ``x``
        As :func:`softmax`; ``-inf`` where ``x`` is.

    Raises
    ------
    ValueError, TypeError
        As :func:`softmax`.

    See Also
    --------
    softmax : its exponential.
    xentc.nll_loss : the loss from it.

    Notes
    -----
    :math:`-((m - x_j) + \\log(1 + r))`, with :math:`m` and :math:`r` as in :func:`logsumexp`.

    References
    ----------
    P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J. Numer.
    Anal. 41, 2021.

    Examples
    --------
    >>> from xentc.special import log_softmax
    >>> log_softmax([0.0, 1000.0])
    array([-1000.,     0.])
    """
    return _softmax(x, axis, out, n_threads, logs=True)


def _softmax(x: Any, axis: Any, out: Any, n_threads: int | None, *, logs: bool) -> np.ndarray:
    x = _arrays.as_floats(x, "x")
    shape = x.shape
    axes = _axes(axis, x.ndim)
    if out is not None:
        _check_out(out, shape)
        _validation.check_out(out, "out", x, "x", {})
    result = out
    if out is None or not _arrays.is_direct(out):
        result = _arrays.like(x, out, _arrays.result_type(x))
    raw = _arrays.raw(x)
    count = shape[axes[0]] if len(axes) == 1 else math.prod(shape[d] for d in axes)
    if count == 0:
        raise ValueError(f"x of shape {shape} has no elements on the axes {axes}")
    if len(axes) == 1:
        rows = _arrays.classes_last(raw, axes[0])
        target = _arrays.classes_last(_arrays.raw(result), axes[0])
    else:
        # Several axes become one: a view where the layout allows it.
        kept = [d for d in range(x.ndim) if d not in axes]
        order = kept + list(axes)
        rows = raw.transpose(order).reshape(*(shape[d] for d in kept), count)
        target = np.empty(rows.shape, _arrays.result_type(x))
    if rows.size:
        call = _core.Call(rows, None, _config.threads_for(rows.size, n_threads))
        call.set_derivatives(target, None, 1.0, stream=result is out and len(axes) == 1)
        call.softmax(logs=logs)
    if len(axes) != 1:
        _arrays.copy_into(result, target.reshape([shape[d] for d in order]).transpose(np.argsort(order)))
    if out is not None and result is not out:
        _arrays.copy_into(out, result)
        result = out
    return result


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    if type(axis) is int and -ndim <= axis < ndim:
        return (axis % ndim,)
    axes = axis if isinstance(axis, tuple) else (axis,)
    result = []
    for one in axes:
        position = _validation.as_index(one, "axis")
        if not -ndim <= position < ndim:
            raise ValueError(f"axis is {position}, but the array has {ndim} axes")
        result.append(position % ndim)
    if len(set(result)) != len(result):
        raise ValueError(f"axis {axis} names an axis twice")
    return tuple(sorted(result))


def _check_out(out: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"out must be a numpy.ndarray, got {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}; expected {shape}")
