"""Python layer: the loss of a linear layer whose logits are never stored."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xentc import _arrays, _blas, _validation
from xentc._arrays import raw
from xentc._core import Layer
from xentc._rows import Outputs, Rows, RowTarget
from xentc._sparse import entries_of_rows
from xentc.losses import ClassWeight, Reduction

__all__ = ["linear_cross_entropy"]

_MOST = 2**31                 # classes or features: BLAS counts in int
_SMALL_WEIGHT = 1 << 20       # bytes of weights that stay in a core's caches while rows go by
_LEAST_ROWS = 128             # of a block, where each thread has its own
_OWN_LOGITS = 1 << 22         # bytes of the logits of so many rows, at the most
_FEW_ROWS = 1 << 20           # bytes of hidden rows and their logits that a block is to have there
_LOGITS = 48 << 20            # bytes of a block's logits, where threads share a block
_MANY_ROWS = 1024             # of a block whose logits are not kept
_PAIRS = 1 << 17              # rows times tiles of such a block, with 40 bytes for each
_TILE = 1 << 22               # bytes of weights that a thread multiplies by at a time
_PARTS = 1 << 23              # bytes of derivatives that are added up at the end


def linear_cross_entropy(
    hidden: ArrayLike,
    weight: ArrayLike,
    target: Any,
    *,
    bias: ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    z_loss: float = 0.0,
    focal_gamma: float = 0.0,
    reduction: Reduction = "mean",
    return_grad: bool = False,
    out_grad: Any = None,
    block_rows: int | None = None,
    n_threads: int | None = None,
) -> Any:
    """Softmax cross-entropy of ``hidden @ weight.T + bias``, without storing these logits, and its gradients.

    The last layer of a language model, say: with 128,256 classes the logits of 8,192 tokens take 4 GB, and their gradient as
    much again. Here there are logits of some rows at a time: of 48 MiB at the most, or of one row. The loss alone, of plain
    codes, takes no more than those of 1,024 rows and 1,024 classes for each thread.

    Parameters
    ----------
    hidden : array_like of real numbers, shape (..., n_features)
        The inputs of the layer; all axes but the last one are rows.
    weight : array_like of real numbers, shape (n_classes, n_features)
        As PyTorch's ``Linear`` has it, and scikit-learn's ``coef_``.
    target : array_like, or scipy.sparse array
        As in :func:`xentc.cross_entropy`, for logits of shape (..., n_classes).
    bias : array_like of shape (n_classes,), optional
        Added to the logits.
    class_weight, sample_weight, label_smoothing, ignore_index, z_loss, focal_gamma
        As in :func:`xentc.cross_entropy`. Rows that are ignored or have a weight of 0 are left out before anything is
        multiplied.
    reduction : {"mean", "sum", "none"}
        As in :func:`xentc.cross_entropy`.
    return_grad : bool
        Also return the gradients, of the reduced value ("none": of the sum).
    out_grad : tuple of ndarrays or None, optional
        Where the gradients go: ``(d_hidden, d_weight)``, with a bias ``(d_hidden, d_weight, d_bias)``. ``d_hidden`` is
        written to; the gradient is *added* to ``d_weight`` and ``d_bias``, so that those of several batches add up. For None
        a new array is made. After an error of an argument they are as they were.
    block_rows : int, optional
        So many rows at a time have logits, which take ``block_rows * n_classes`` numbers: once, or for each thread where
        the weights take no more than 1 MiB and there are few classes. By default it is chosen by the shapes. More rows are
        quicker where there are gradients and many classes: each block reads and packs all weights again.
    n_threads : int, optional
        As in :func:`xentc.cross_entropy`.

    Returns
    -------
    loss : float, or ndarray of shape (...) for reduction="none"
        As in :func:`xentc.cross_entropy`: minus the log-probabilities of the targets, for ``reduction="none"``.
    grads : tuple of ndarrays
        Only with ``return_grad``: ``(d_hidden, d_weight)`` or ``(d_hidden, d_weight, d_bias)``, in the shapes of the
        arguments, of ``out_grad`` or new.

    Raises
    ------
    ValueError
        For shapes that do not fit, and as :func:`xentc.cross_entropy`.
    TypeError
        As :func:`xentc.cross_entropy`.
    ImportError
        If SciPy or threadpoolctl is missing: ``pip install "xentc[linear]"``.

    Notes
    -----
    With the logits :math:`x = h W^T + b` of a block of rows and :math:`g` the gradient of :func:`xentc.cross_entropy` with
    respect to them,

    .. math:: \\partial_h = g W, \\qquad \\partial_W = \\sum_{\\text{blocks}} g^T h, \\qquad
       \\partial_b = \\sum_{\\text{rows}} g.

    Computed in float64 if ``hidden`` or ``weight`` is of float64, else in float32: float16 and bfloat16 are widened block by
    block, and gradients are float32. Matrices are multiplied by SciPy's BLAS. The loss is that of the logits that it gives,
    within 3 ulp, and added up exactly; the logits depend on the BLAS in their last digits. Where weights are large the row
    pairs of tiles of classes are joined: last bits may then differ from those of :func:`xentc.cross_entropy`. The number of
    threads changes no bit; ``block_rows`` changes the order in which ``d_weight`` is added up.

    BLAS runs on one thread for each of ours. While a call lasts, that holds for the whole process; other limits set
    meanwhile (by threadpoolctl, say) are undone when it ends.

    References
    ----------
    E. Wijmans et al., "Cut your losses in large-vocabulary language models", arXiv:2411.09009.

    Examples
    --------
    >>> import numpy as np
    >>> from xentc import cross_entropy, linear_cross_entropy
    >>> hidden = np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 1.0]])
    >>> weight = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.5], [0.5, 0.5]])
    >>> loss, (d_hidden, d_weight) = linear_cross_entropy(hidden, weight, [1, 0, 3], return_grad=True)
    >>> loss, d_weight.shape
    (0.9487769991415509, (4, 2))
    >>> loss == cross_entropy(hidden @ weight.T, [1, 0, 3])
    True
    """
    z = _validation.as_number(z_loss, "z_loss")
    gamma = _validation.as_number(focal_gamma, "focal_gamma")
    layer = _Inputs(hidden, weight, bias)
    targets = RowTarget(layer.logits, target, class_weight, sample_weight, label_smoothing, ignore_index)
    outputs = Outputs(reduction, return_grad, out_grad=out_grad)
    if block_rows is not None and _validation.as_index(block_rows, "block_rows") < 1:
        raise ValueError(f"block_rows is {block_rows}; expected at least 1")
    gradients = _Gradients(layer, out_grad, targets.arrays()) if outputs.wanted() else None

    _check_soft(targets)
    call = targets.call(n_threads)
    total_weight = targets.total_weight(call) if targets.soft else targets.checked(call.weights())
    counted = _counted(targets)
    if counted is not None:
        targets = _of_rows(targets, counted)
        call = targets.call(n_threads)
    losses = np.empty(targets.rows.shape, layer.dtype) if outputs.reduction == "none" else None
    call.set_losses(losses, layer.dtype.itemsize < 8)
    keep = gradients is not None or targets.soft or targets.smoothing != 0
    n_rows = math.prod(targets.rows.shape)
    plan = _Plan.of(n_rows, layer.n_features, layer.n_classes, layer.dtype.itemsize, block_rows, keep)
    rows = Layer(call, _blas.multiply(layer.dtype), raw(layer.hidden), layer.weights(plan.by_classes), layer.bias, counted)
    if gradients is not None:
        rows.set_derivatives(outputs.denominator(total_weight), *gradients.arrays(plan, counted))
    with _blas.one_thread:
        total = rows.cross_entropy(z, gamma, **asdict(plan))[0]
    if losses is not None and counted is not None:
        some, losses = losses, np.zeros(layer.logits.shape, layer.dtype)
        losses.reshape(-1)[counted] = some
    loss = outputs.result(losses, total, total_weight)
    return loss if gradients is None else (loss, gradients.finish())


class _Inputs:
    """A layer: hidden rows, weights and bias, and the rows of logits that they stand for, which there never are."""

    def __init__(self, hidden: Any, weight: Any, bias: Any) -> None:
        self.hidden, self.weight = _arrays.as_floats(hidden, "hidden"), _arrays.as_floats(weight, "weight")
        if self.hidden.ndim == 0 or self.hidden.shape[-1] == 0:
            raise ValueError(f"hidden has shape {self.hidden.shape}; expected (..., n_features), of at least one feature")
        self.n_features = n_features = self.hidden.shape[-1]
        if self.weight.ndim != 2 or self.weight.shape[1] != n_features or self.weight.shape[0] == 0:
            hint = "; use weight.T" if self.weight.ndim == 2 and self.weight.shape[0] == n_features else ""
            raise ValueError(
                f"weight has shape {self.weight.shape}; expected (n_classes, {n_features}) for hidden of shape "
                f"{self.hidden.shape}{hint}"
            )
        self.n_classes = n_classes = self.weight.shape[0]
        if max(n_features, n_classes) >= _MOST:
            raise ValueError(f"weight has shape {self.weight.shape}; expected less than {_MOST} classes and features")
        self.dtype = np.result_type(_arrays.result_type(self.hidden), _arrays.result_type(self.weight))
        self.bias = None
        if bias is not None:
            self.bias = np.ascontiguousarray(_arrays.as_floats(bias, "bias"), self.dtype)
            if self.bias.shape != (n_classes,):
                raise ValueError(f"bias has shape {self.bias.shape}; expected ({n_classes},), one a class")
        self.logits = _logits(self.hidden.shape[:-1], n_classes, self.dtype)

    def weights(self, by_classes: bool) -> np.ndarray:
        """As the loops read them: where they lie; or where they are small, in the form that is read most quickly."""
        return raw(self.weight) if by_classes else np.ascontiguousarray(self.weight, self.dtype)


def _logits(rows: tuple[int, ...], n_classes: int, dtype: np.dtype) -> Rows:
    return Rows(np.broadcast_to(np.zeros((), dtype), (*rows, n_classes)), "hidden @ weight.T", -1)


class _Gradients:
    """Of the hidden rows, the weights and the bias: the caller's arrays, or new ones."""

    def __init__(self, layer: _Inputs, out_grad: Any, others: dict[str, Any]) -> None:
        self.dtype = layer.dtype
        inputs = {"hidden": layer.hidden, "weight": layer.weight}
        if layer.bias is not None:
            inputs["bias"] = layer.bias
        n = len(inputs)
        if out_grad is None:
            out_grad = (None,) * n
        elif not isinstance(out_grad, (tuple, list)) or len(out_grad) != n:
            came = f"{len(out_grad)} items" if isinstance(out_grad, (tuple, list)) else type(out_grad).__name__
            raise TypeError(f"out_grad must be a tuple of {', '.join(f'd_{name}' for name in inputs)}, got {came}")
        others = {**others, **inputs}
        for i, (out, (name, x)) in enumerate(zip(out_grad, inputs.items(), strict=True)):
            if out is not None:
                _validation.check_out(out, f"out_grad[{i}]", x, name, others)
                others[f"out_grad[{i}]"] = out
        self.out = list(out_grad)
        direct = self.out[0] is not None and _arrays.is_direct(self.out[0])
        self.hidden = self.out[0] if direct else np.empty(layer.hidden.shape, self.dtype)
        self.shapes = [x.shape for x in list(inputs.values())[1:]]
        self.sums: list[np.ndarray] = []

    def arrays(self, plan: _Plan, counted: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, bool]:
        """Those that the loops write to: of the weights and the bias one for each chunk, or the caller's own; and whether
        they are to be added to."""
        if counted is not None:
            ignored = np.ones(math.prod(self.hidden.shape[:-1]), bool)
            ignored[counted] = False
            self.hidden[ignored.reshape(self.hidden.shape[:-1])] = 0
        given = self.out[1:] if plan.n_chunks == 1 else [None] * len(self.shapes)
        own = [out is not None and out.dtype == self.dtype and out.flags.carray for out in given]
        add = any(own) or self.hidden.size == 0 or (counted is not None and len(counted) == 0)
        new = np.zeros if add else np.empty
        for is_own, out, shape in zip(own, self.out[1:], self.shapes, strict=True):
            self.sums.append(out[np.newaxis] if is_own else new((plan.n_chunks, *shape), self.dtype))
        return raw(self.hidden), self.sums[0], self.sums[1] if len(self.sums) == 2 else None, add

    def finish(self) -> tuple[np.ndarray, ...]:
        if self.out[0] is None:
            self.out[0] = self.hidden
        elif self.out[0] is not self.hidden:
            _arrays.copy_into(self.out[0], self.hidden)
        for i, sums in enumerate(self.sums, 1):
            out = self.out[i]
            total = sums[0] if len(sums) == 1 else sums.sum(axis=0)
            if out is None:
                self.out[i] = total
            elif not np.may_share_memory(out, total):          # not added to already
                _arrays.copy_into(out, out + total)
        return tuple(self.out)


def _check_soft(targets: RowTarget) -> None:
    """That no weight of a soft target is negative, before anything is added to the caller's arrays."""
    if targets.target is None or not targets.soft:
        return
    rows = targets.target.reshape(-1, targets.rows.n_classes)
    step = max(1, (1 << 16) // targets.rows.n_classes)
    for first in range(0, len(rows), step):
        negative = (rows[first : first + step] < 0).any(axis=1)
        if negative.any():
            targets.checked((0.0, 0.0, first + int(negative.argmax()), -1))


def _counted(targets: RowTarget) -> np.ndarray | None:
    """The numbers of the rows that count for something; None if all do."""
    counted = None
    if targets.sample_weight is not None:
        counted = targets.sample_weight != 0
    if targets.ignore_index is not None:
        assert targets.target is not None
        not_ignored = targets.target != targets.ignore_index
        counted = not_ignored if counted is None else counted & not_ignored
    return None if counted is None or counted.all() else np.flatnonzero(counted)


def _of_rows(targets: RowTarget, rows: np.ndarray) -> RowTarget:
    """The targets and weights of some rows."""
    new = copy.copy(targets)
    n_classes = targets.rows.n_classes
    new.rows = _logits(rows.shape, n_classes, targets.rows.x.dtype)
    if targets.target is not None:
        new.target = targets.target.reshape((-1, n_classes) if targets.soft else -1)[rows]
    if targets.sparse is not None:
        new.sparse = entries_of_rows(targets.sparse, rows)
    if targets.sample_weight is not None:
        new.sample_weight = targets.sample_weight.reshape(-1)[rows]
    new.ignore_index = None
    return new


@dataclass(frozen=True)
class _Plan:
    """How rows and classes are cut. It depends on shapes alone, so that the bits of a result do too."""

    block_rows: int
    chunk_rows: int
    tile: int
    n_parts: int
    by_classes: bool
    n_chunks: int
    keep: bool

    @classmethod
    def of(cls, n_rows: int, n_features: int, n_classes: int, size: int, block_rows: int | None, keep: bool) -> _Plan:
        weight = n_classes * n_features * size
        if weight <= _SMALL_WEIGHT and _LEAST_ROWS * n_classes * size <= _OWN_LOGITS:
            rows = block_rows or min(4096, max(_LEAST_ROWS, _FEW_ROWS // ((n_classes + n_features) * size)))
            rows = min(rows, n_rows) or 1
            n_blocks = -(-n_rows // rows)
            chunk_rows = rows * max(1, -(-n_blocks // max(1, min(64, _PARTS // weight))))
            return cls(rows, chunk_rows, n_classes, 1, False, max(1, -(-n_rows // chunk_rows)), True)
        tile = min(n_classes, _multiple(max(64, min(1024, _TILE // (n_features * size), n_classes // 16)), 16))
        n_tiles = -(-n_classes // tile)
        rows = min(512, _LOGITS // (n_classes * size)) if keep else min(_MANY_ROWS, _PAIRS // n_tiles)
        rows = block_rows or max(1, rows)
        n_blocks = max(1, -(-n_rows // rows))
        rows = max(1, min(rows, n_rows) if block_rows else min(rows, _multiple(-(-n_rows // n_blocks), 16)))
        n_parts = min(16, n_tiles, max(1, _PARTS // (rows * n_features * size)))
        return cls(rows, max(1, n_rows), tile, n_parts, True, 1, keep)


def _multiple(n: int, of: int) -> int:
    return -(-n // of) * of
