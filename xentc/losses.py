"""Python layer, the array face: losses over logits and probabilities, with their gradients and Hessians."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from xentc import _arrays, _core, _validation
from xentc._core import Call
from xentc._rows import BinaryTarget, Elements, Outputs, Rows, RowTarget, loss_of, plain_loss

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "categorical_cross_entropy",
    "cross_entropy",
    "kl_divergence",
    "nll_loss",
    "perplexity",
]

Reduction = Literal["none", "sum", "mean"]
ClassWeight = ArrayLike | Mapping[int, float]


def cross_entropy(
    logits: ArrayLike,
    target: Any,
    *,
    class_weight: ClassWeight | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    z_loss: float = 0.0,
    focal_gamma: float = 0.0,
    axis: int = -1,
    reduction: Reduction = "mean",
    return_grad: bool = False,
    return_hess: bool = False,
    out_grad: np.ndarray | None = None,
    out_hess: np.ndarray | None = None,
    n_threads: int | None = None,
) -> Any:
    """Softmax cross-entropy of logits, and its gradient.

    Parameters
    ----------
    logits : array_like of real numbers
        Scores before the softmax; the classes on ``axis``, all other axes are rows. Floats are used where they lie, in any
        layout: float64 in float64; float32, float16 and bfloat16 (of ml_dtypes) in float32. Integers become float64.
    target : array_like, or scipy.sparse array
        Integer codes from 0 to ``n_classes - 1`` of the rows' shape (that of logits without ``axis``), or probabilities of
        the logits' shape, of any real or boolean dtype, also as a sparse array for two axes. Probabilities must not be
        negative; they need not sum to one.
    class_weight : array_like of shape (n_classes,), or mapping {class: weight}, optional
        Multiplies each class's term. Finite, of any sign; classes missing from a mapping weigh 1.
    sample_weight : array_like, optional
        Multiplies each row's loss; broadcasts to the rows. Finite, of any sign. A row of weight 0 counts for nothing,
        whatever it holds.
    label_smoothing : float, from 0 to 1
        Of every target so much is spread evenly over all classes: ``t`` becomes ``(1 - e) * t + e / n_classes``.
    ignore_index : int, optional
        Rows with this code count for nothing, whatever they hold: padded tokens, say. Integer targets only.
    z_loss : float
        Adds ``z_loss * logsumexp ** 2`` to each row's loss, which keeps the logits from drifting; it weighs what the row
        does.
    focal_gamma : float
        Focal loss: each class's term is multiplied by ``(1 - p) ** focal_gamma``; 0 is plain cross-entropy.
    axis : int
        The axis of the classes.
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum by the sum of ``class_weight[target] * sample_weight`` for integer targets, and by the sum
        of the sample weights for probabilities.
    return_grad : bool
        Also return the gradient with respect to the logits, of the reduced value ("none": of the sum).
    return_hess : bool
        Also return the gradient and the diagonal of the Hessian, as boosting libraries take them. With focal_gamma or z_loss
        its entries can be negative.
    out_grad : ndarray of the logits' shape, optional
        Where the gradient goes, of any floating dtype; it may be ``logits`` itself. After an error its contents are
        undefined, unless it is ``logits``: those are left as they were.
    out_hess : ndarray of the logits' shape, optional
        Where the Hessian's diagonal goes.
    n_threads : int, optional
        So many threads, at most eight for each CPU that the process may use. By default as many as
        :func:`xentc.get_num_threads` says, and one for small inputs.
        The result has the same bits for any number.

    Returns
    -------
    loss : float, or ndarray of the rows' shape for reduction="none"
        In nats. Row losses are float64 for float64 logits, else float32; sums and means are taken over them exactly and
        rounded once. The mean over nothing is NaN, as is one over weights whose sum is zero or overflows: then the gradient
        is NaN in all rows that count.
    grad : ndarray of the logits' shape
        Only with ``return_grad`` or ``return_hess``: ``out_grad``, or a new array of the row losses' dtype in the logits'
        layout.
    hess : ndarray of the logits' shape
        Only with ``return_hess``; as ``grad``.

    Raises
    ------
    ValueError
        For a target out of range or negative (naming the first such row), for weights that are not finite,
        and for shapes that do not fit.
    TypeError
        For codes that are not integers and inputs that are not real numbers.

    See Also
    --------
    categorical_cross_entropy : from probabilities.
    binary_cross_entropy_with_logits : of yes-or-no targets, element by element.
    perplexity : its exponential.
    xentc.log_loss : of labels of any kind, as scikit-learn's.

    Notes
    -----
    With :math:`m` the largest logit of a row and :math:`r = \\sum_{j \\ne \\arg\\max} e^{x_j - m}`, the loss of class
    :math:`y` is

    .. math:: -\\log \\frac{e^{x_y}}{\\sum_j e^{x_j}} = (m - x_y) + \\log(1 + r),

    two terms that are never negative: nothing cancels, and a confidently right row keeps all its digits. Soft targets
    give :math:`\\sum_j t_j (m - x_j) + \\log(1 + r) \\sum_j t_j`. The gradient is :math:`\\operatorname{softmax}(x) - t`,
    times the weights. Losses are within 3 ulp and gradients of integer targets within 4 ulp of the exact values.

    With weights :math:`a_c` of the classes (soft targets, smoothed, times class weights) the loss is
    :math:`\\sum_c a_c (1 - p_c)^\\gamma (-\\log p_c) + z \\operatorname{logsumexp}(x)^2`.

    A NaN or ``+inf`` in a row makes its loss and its gradient NaN; a ``-inf`` logit is a class of probability 0.

    References
    ----------
    C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.3.4. Label smoothing: C. Szegedy et
    al., arXiv:1512.00567. Focal loss: T.-Y. Lin et al., arXiv:1708.02002. z-loss: A. Chowdhery et al., arXiv:2204.02311.

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
    >>> cross_entropy([[0.1, 0.4, 0.5], [0.8, 0.1, 0.1]], [2, -100], ignore_index=-100, label_smoothing=0.1)
    0.9625773500084807
    """
    if (
        class_weight is sample_weight is ignore_index is out_hess is None
        and return_hess is False
        and type(label_smoothing) is type(z_loss) is type(focal_gamma) is float
        and not (label_smoothing or z_loss or focal_gamma)
        and axis is not None
    ):
        found = plain_loss(logits, target, Call.cross_entropy, axis, reduction, return_grad, out_grad, n_threads)
        if found is not None:
            return found
    z = _validation.as_number(z_loss, "z_loss")
    gamma = _validation.as_number(focal_gamma, "focal_gamma")
    rows = Rows(logits, "logits", axis)
    targets = RowTarget(rows, target, class_weight, sample_weight, label_smoothing, ignore_index)
    outputs = Outputs(reduction, return_grad, return_hess, out_grad, out_hess)
    return loss_of(targets, outputs, n_threads, lambda call: call.cross_entropy(z, gamma))


def binary_cross_entropy_with_logits(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
    reduction: Reduction = "mean",
    return_grad: bool = False,
    return_hess: bool = False,
    out_grad: np.ndarray | None = None,
    out_hess: np.ndarray | None = None,
    n_threads: int | None = None,
) -> Any:
    """Sigmoid cross-entropy: binary targets from logits, element by element.

    Parameters
    ----------
    logits : array_like of real numbers, any shape
        As in :func:`cross_entropy`.
    target : array_like of the logits' shape
        Probabilities of class 1, in [0, 1], of any real or boolean dtype.
    sample_weight : array_like, optional
        Multiplies each element's loss; broadcasts to the logits. Finite, of any sign; an element of weight 0 counts for
        nothing.
    pos_weight : array_like, optional
        Multiplies the term of class 1; broadcasts to the logits. Finite, of any sign.
    label_smoothing : float, from 0 to 1
        A target ``t`` becomes ``(1 - e) * t + e / 2``.
    focal_gamma : float
        Multiplies each class's term by ``(1 - p) ** focal_gamma``, p the probability of that class.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the sum of the sample weights over all elements, pos_weight aside.
    return_grad : bool
        Also return the gradient with respect to ``logits``, of the reduced value ("none": of the sum).
    return_hess : bool
        Also return the gradient and the second derivative of each element.
    out_grad, out_hess : ndarray of the logits' shape, optional
        Where the derivatives go; ``out_grad`` may be ``logits`` itself.
    n_threads : int, optional
        As in :func:`cross_entropy`.

    Returns
    -------
    loss : float, or ndarray of the logits' shape for reduction="none"
    grad, hess : ndarray of the logits' shape
        As in :func:`cross_entropy`.

    Raises
    ------
    ValueError
        For a target outside [0, 1] (naming the first), weights out of range, and shapes that do not fit.
    TypeError
        For inputs that are not real numbers.

    See Also
    --------
    binary_cross_entropy : from probabilities.
    cross_entropy : of one class out of several.

    Notes
    -----
    With :math:`w` the pos_weight and :math:`\\sigma` the logistic function,

    .. math:: -w t \\log \\sigma(x) - (1 - t) \\log \\sigma(-x),
       \\qquad -\\log \\sigma(x) = \\max(-x, 0) + \\log(1 + e^{-|x|}).

    PyTorch's ``weight=`` and Keras's ``sample_weight`` divide the mean by the count of elements instead of the sum of the
    weights: use ``reduction="sum"`` and divide.

    References
    ----------
    C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.3.2.

    Examples
    --------
    >>> from xentc import binary_cross_entropy_with_logits
    >>> binary_cross_entropy_with_logits([-1.0, 2.0, 50.0], [0, 1, 1], reduction="none")
    array([3.13261688e-01, 1.26928011e-01, 1.92874985e-22])
    >>> loss, grad, hess = binary_cross_entropy_with_logits([0.0], [1.0], return_hess=True)
    >>> grad, hess
    (array([-0.5]), array([0.25]))
    """
    if (
        sample_weight is pos_weight is out_hess is None
        and return_hess is False
        and type(label_smoothing) is type(focal_gamma) is float
        and not (label_smoothing or focal_gamma)
    ):
        found = plain_loss(logits, target, Call.binary, None, reduction, return_grad, out_grad, n_threads)
        if found is not None:
            return found
    gamma = _validation.as_number(focal_gamma, "focal_gamma")
    targets = BinaryTarget(Elements(logits, "logits"), target, sample_weight, pos_weight, label_smoothing)
    outputs = Outputs(reduction, return_grad, return_hess, out_grad, out_hess)
    return loss_of(targets, outputs, n_threads, lambda call: call.binary(gamma))


def binary_cross_entropy(
    proba: ArrayLike,
    target: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    eps: float | None = None,
    reduction: Reduction = "mean",
    return_grad: bool = False,
    out_grad: np.ndarray | None = None,
    n_threads: int | None = None,
) -> Any:
    """Binary cross-entropy from probabilities, element by element.

    Parameters
    ----------
    proba : array_like of real numbers in [0, 1], any shape
        Probabilities of class 1.
    target : array_like of the shape of ``proba``
        Probabilities of class 1, in [0, 1], of any real or boolean dtype.
    sample_weight, pos_weight, label_smoothing
        As in :func:`binary_cross_entropy_with_logits`.
    eps : float in [0, 0.5), optional
        Probabilities are clipped to ``[eps, 1 - eps]``; the gradient is 0 where that changes them. scikit-learn clips by the
        eps of the dtype, Keras by 1e-7, and PyTorch limits the logarithm to -100. By default nothing is clipped: a surely
        wrong prediction costs inf.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the sum of the sample weights.
    return_grad : bool
        Also return the gradient with respect to ``proba``, of the reduced value ("none": of the sum).
    out_grad : ndarray of the shape of ``proba``, optional
        Where the gradient goes; it may be ``proba`` itself.
    n_threads : int, optional
        As in :func:`cross_entropy`.

    Returns
    -------
    loss : float, or ndarray for reduction="none"
    grad : ndarray
        As in :func:`cross_entropy`.

    Raises
    ------
    ValueError
        For a probability or target outside [0, 1] (naming the first), weights out of range, and shapes that do not fit.
    TypeError
        For inputs that are not real numbers.

    See Also
    --------
    binary_cross_entropy_with_logits : from logits, which keep more digits.
    categorical_cross_entropy : of one class out of several.

    Notes
    -----
    :math:`-w t \\log p - (1 - t) \\log(1 - p)`, with a term of weight 0 being 0. The gradient is
    :math:`(1 - t) / (1 - p) - w t / p`.

    References
    ----------
    C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.3.2.

    Examples
    --------
    >>> from xentc import binary_cross_entropy
    >>> binary_cross_entropy([0.9, 0.2, 1.0], [1, 0, 0], reduction="none")
    array([0.10536052, 0.22314355,        inf])
    >>> binary_cross_entropy([0.9, 0.2, 1.0], [1, 0, 0], reduction="none", eps=1e-7)
    array([ 0.10536052,  0.22314355, 16.11809565])
    """
    clip = _clip(eps)
    targets = BinaryTarget(Elements(proba, "proba"), target, sample_weight, pos_weight, label_smoothing)
    outputs = Outputs(reduction, return_grad, False, out_grad)
    return loss_of(targets, outputs, n_threads, lambda call: call.binary_probability(clip))


def _clip(eps: float | None) -> float:
    value = 0.0 if eps is None else _validation.as_number(eps, "eps")
    if value >= 0.5:
        raise ValueError(f"eps is {eps!r}; expected a number from 0 to below 0.5")
    return value


def categorical_cross_entropy(
    proba: ArrayLike,
    target: Any,
    *,
    class_weight: ClassWeight | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    eps: float | None = None,
    normalize_rows: bool = False,
    axis: int = -1,
    reduction: Reduction = "mean",
    return_grad: bool = False,
    out_grad: np.ndarray | None = None,
    n_threads: int | None = None,
) -> Any:
    """Cross-entropy from probabilities of classes.

    Parameters
    ----------
    proba : array_like of real numbers in [0, 1]
        Probabilities, the classes on ``axis``. With ``normalize_rows`` any numbers >= 0.
    target, class_weight, sample_weight, label_smoothing, ignore_index, axis
        As in :func:`cross_entropy`: integer, soft or sparse targets.
    eps : float in [0, 0.5), optional
        Probabilities are clipped to ``[eps, 1 - eps]``; the gradient is 0 where that changes them. By default nothing is.
    normalize_rows : bool
        Divide each row by its sum first. Keras's losses are ``eps=1e-7, normalize_rows=True``.
    reduction : {"mean", "sum", "none"}
        As in :func:`cross_entropy`.
    return_grad : bool
        Also return the gradient with respect to ``proba``, of the reduced value ("none": of the sum).
    out_grad : ndarray of the shape of ``proba``, optional
        Where the gradient goes.
    n_threads : int, optional
        As in :func:`cross_entropy`.

    Returns
    -------
    loss : float, or ndarray of the rows' shape for reduction="none"
    grad : ndarray of the shape of ``proba``
        As in :func:`cross_entropy`.

    Raises
    ------
    ValueError
        As :func:`cross_entropy`, and for a probability outside [0, 1] (naming the first row).
    TypeError
        As :func:`cross_entropy`.

    See Also
    --------
    cross_entropy : from logits, which keep more digits.
    xentc.log_loss : of labels of any kind, as scikit-learn's.
    nll_loss : from log-probabilities.

    Notes
    -----
    :math:`-\\sum_c a_c \\log p_c` with the weights :math:`a` of :func:`cross_entropy`; a term of weight 0 is 0.

    With ``normalize_rows`` the sum of a row and the quotients are float64 numbers: a loss is then within about 1e-16 of the
    exact value, not of its own size, and a surely right row's is 0. Logits keep all digits: :func:`cross_entropy`.

    References
    ----------
    C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.3.4.

    Examples
    --------
    >>> from xentc import categorical_cross_entropy
    >>> proba = [[0.05, 0.95, 0.0], [0.1, 0.8, 0.1]]
    >>> categorical_cross_entropy(proba, [1, 2])
    1.176939193690798
    >>> categorical_cross_entropy(proba, [[0, 1, 0], [0, 0, 1]], reduction="none")
    array([0.05129329, 2.30258509])
    """
    normalize_rows = _validation.as_flag(normalize_rows, "normalize_rows")
    clip = _clip(eps)
    rows = Rows(proba, "proba", axis, bounded=True)
    targets = RowTarget(rows, target, class_weight, sample_weight, label_smoothing, ignore_index)
    outputs = Outputs(reduction, return_grad, False, out_grad)
    return loss_of(targets, outputs, n_threads, lambda call: call.probability(clip, normalize_rows))


def nll_loss(
    log_proba: ArrayLike,
    target: Any,
    *,
    class_weight: ClassWeight | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    axis: int = -1,
    reduction: Reduction = "mean",
    return_grad: bool = False,
    out_grad: np.ndarray | None = None,
    n_threads: int | None = None,
) -> Any:
    """Negative log-likelihood: cross-entropy from log-probabilities, as :func:`xentc.special.log_softmax` gives.

    Parameters
    ----------
    log_proba : array_like of real numbers
        Logarithms of probabilities, the classes on ``axis``.
    target, class_weight, sample_weight, ignore_index, axis, reduction
        As in :func:`cross_entropy`.
    return_grad : bool
        Also return the gradient with respect to ``log_proba``: the weights, negated, at the targets and 0 elsewhere.
    out_grad, n_threads
        As in :func:`cross_entropy`.

    Returns
    -------
    loss : float, or ndarray of the rows' shape for reduction="none"
    grad : ndarray of the shape of ``log_proba``
        As in :func:`cross_entropy`.

    Raises
    ------
    ValueError, TypeError
        As :func:`cross_entropy`.

    See Also
    --------
    cross_entropy : from logits.
    xentc.special.log_softmax : log-probabilities of logits.

    Notes
    -----
    :math:`-\\sum_c a_c l_c` of the log-probabilities :math:`l`; for an integer target :math:`-w_y l_y`.

    References
    ----------
    C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.3.4.

    Examples
    --------
    >>> import numpy as np
    >>> from xentc import nll_loss
    >>> nll_loss(np.log([[0.5, 0.5], [0.25, 0.75]]), [0, 1])
    0.4904146265058631
    """
    rows = Rows(log_proba, "log_proba", axis)
    targets = RowTarget(rows, target, class_weight, sample_weight, ignore_index=ignore_index)
    outputs = Outputs(reduction, return_grad, False, out_grad)
    return loss_of(targets, outputs, n_threads, lambda call: call.probability(logs=True))


def kl_divergence(
    logits: ArrayLike,
    target: Any,
    *,
    sample_weight: ArrayLike | None = None,
    axis: int = -1,
    reduction: Reduction = "mean",
    return_grad: bool = False,
    out_grad: np.ndarray | None = None,
    n_threads: int | None = None,
) -> Any:
    """Kullback-Leibler divergence of the softmax of logits from target probabilities.

    Parameters
    ----------
    logits : array_like of real numbers
        As in :func:`cross_entropy`.
    target : array_like of the logits' shape, or scipy.sparse array
        Probabilities.
    sample_weight, axis, reduction, return_grad, out_grad, n_threads
        As in :func:`cross_entropy`.

    Returns
    -------
    loss : float, or ndarray of the rows' shape for reduction="none"
    grad : ndarray of the logits' shape
        As in :func:`cross_entropy`, whose gradient it is.

    Raises
    ------
    ValueError, TypeError
        As :func:`cross_entropy`.

    See Also
    --------
    cross_entropy : the same plus the entropy of the target.

    Notes
    -----
    :math:`\\sum_c t_c (\\log t_c - \\log \\operatorname{softmax}(x)_c)`, with :math:`0 \\log 0 = 0`: the
    cross-entropy less the entropy of the target.

    References
    ----------
    S. Kullback, R. A. Leibler, "On information and sufficiency", Ann. Math. Statist. 22, 1951.

    Examples
    --------
    >>> from xentc import kl_divergence
    >>> kl_divergence([[0.0, 0.0]], [[0.5, 0.5]])
    0.0
    >>> kl_divergence([[0.0, 1.0]], [[1.0, 0.0]])
    1.3132616875182228
    """
    if not _arrays.is_sparse(target) and np.shape(target) != np.shape(logits):
        raise ValueError(f"target has shape {np.shape(target)}; expected probabilities of logits' shape, {np.shape(logits)}")
    targets = RowTarget(Rows(logits, "logits", axis), target, sample_weight=sample_weight)
    outputs = Outputs(reduction, return_grad, False, out_grad)
    return loss_of(targets, outputs, n_threads, lambda call: call.cross_entropy(entropy=True))


def perplexity(
    logits: ArrayLike,
    target: Any,
    *,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    axis: int = -1,
    n_threads: int | None = None,
) -> float:
    """The exponential of the mean cross-entropy, as language models are judged by.

    Parameters
    ----------
    logits, target, sample_weight, ignore_index, axis, n_threads
        As in :func:`cross_entropy`.

    Returns
    -------
    perplexity : float
        At least 1 for integer targets; NaN over nothing.

    Raises
    ------
    ValueError, TypeError
        As :func:`cross_entropy`.

    See Also
    --------
    cross_entropy : its logarithm.

    Notes
    -----
    :math:`\\exp(L)` with :math:`L` the mean :func:`cross_entropy`.

    References
    ----------
    F. Jelinek et al., "Perplexity - a measure of the difficulty of speech recognition tasks", J. Acoust. Soc. Am. 62, 1977.

    Examples
    --------
    >>> from xentc import perplexity
    >>> round(perplexity([[0.0, 0.0, 0.0, 0.0]], [2]), 12)
    4.0
    """
    loss = cross_entropy(
        logits, target, sample_weight=sample_weight, ignore_index=ignore_index, axis=axis, n_threads=n_threads
    )
    root = np.empty(1)
    _core.elementary(0, np.array([min(loss / 2, 400.0)]), root)      # its square may be infinite
    return float(root[0]) * float(root[0])
