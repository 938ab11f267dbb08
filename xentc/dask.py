"""Python layer, clusters: the log-loss of Dask's arrays, DataFrames and Series, computed where their partitions are.

Each partition becomes a :class:`xentc.LogLoss` of a few kB, and these are merged in a tree: nothing is gathered. The result
has the bits of one call over all rows. Needs Dask, and for a cluster distributed.

A task uses one thread, as Dask runs as many tasks at once as a worker has threads. Warnings are given where a partition is
computed: those of a cluster stand in the logs of its workers.

Examples
--------
>>> import dask.array as da
>>> import numpy as np
>>> from xentc import dask as xd
>>> y_true = da.from_array(np.array(["ham", "spam", "spam", "ham"]), chunks=2)
>>> y_proba = da.from_array(np.array([0.1, 0.8, 0.4, 0.3]), chunks=2)
>>> xd.log_loss(y_true, y_proba, labels=["ham", "spam"])
0.40036743569623084
>>> xd.metric(y_true, y_proba).by_class()
label  rows  weight  log_loss  standard_error   share
ham       2       2    0.2310          0.1257  0.2885
spam      2       2    0.5697          0.3466  0.7115
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

try:
    from dask import array
    from dask.delayed import Delayed, delayed
    from dask.highlevelgraph import HighLevelGraph
except ImportError as error:
    raise ImportError('xentc.dask needs Dask: pip install "xentc[dask]"') from error

from xentc import _config
from xentc._arrays import shown
from xentc._labels import check_several, distinct
from xentc._log_loss import check_columns, length
from xentc._validation import as_flag
from xentc.evaluation import LogLoss

__all__ = ["d2_log_loss_score", "log_loss", "metric"]

# So many partial results are merged by a task.
_SPLIT_EVERY = 8


def log_loss(
    y_true: Any, y_proba: Any, *, sample_weight: Any = None, labels: ArrayLike | None = None, from_logits: bool = False,
    compute: bool = True,
) -> Any:
    """:func:`xentc.log_loss` of Dask collections.

    Parameters
    ----------
    y_true, y_proba, sample_weight, labels, from_logits, compute
        As in :func:`metric`.

    Returns
    -------
    loss : float, or Delayed
        In nats, with the bits of :func:`xentc.log_loss` over all rows; NaN where there are no rows.

    Raises
    ------
    ValueError, TypeError
        As :func:`metric`.
    ZeroDivisionError
        If the weights sum to zero.

    See Also
    --------
    metric : with standard error and tables.
    xentc.log_loss : of arrays.

    Notes
    -----
    :math:`\\sum_i w_i l_i / \\sum_i w_i`, with :math:`l_i = -\\log p_{i y_i}` the loss of row :math:`i`. Both sums are
    exact, and rounded once.

    References
    ----------
    C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, p. 209.

    Examples
    --------
    >>> import dask.array as da
    >>> from xentc import dask as xd
    >>> y_true, logits = da.from_array([0, 1], chunks=1), da.from_array([-3.0, 3.0], chunks=1)
    >>> xd.log_loss(y_true, logits, from_logits=True)
    0.04858735157374206
    >>> later = xd.log_loss(y_true, logits, labels=[0, 1], from_logits=True, compute=False)
    >>> later.compute()
    0.04858735157374206
    """
    return metric(
        y_true, y_proba, sample_weight=sample_weight, labels=labels, from_logits=from_logits, by_class=False, compute=compute
    ).result()


def d2_log_loss_score(
    y_true: Any, y_proba: Any, *, sample_weight: Any = None, labels: ArrayLike | None = None, from_logits: bool = False,
    compute: bool = True,
) -> Any:
    """:func:`xentc.d2_log_loss_score` of Dask collections.

    Parameters
    ----------
    y_true, y_proba, sample_weight, labels, from_logits, compute
        As in :func:`metric`.

    Returns
    -------
    score : float, or Delayed
        The fraction of log-loss explained, with the bits of :func:`xentc.d2_log_loss_score` over all rows; NaN for fewer
        than two.

    Raises
    ------
    ValueError, TypeError
        As :func:`metric`.
    ZeroDivisionError
        If the weights sum to zero.

    Warns
    -----
    UndefinedMetricWarning
        For fewer than two rows.

    See Also
    --------
    metric : with standard error and tables.
    xentc.d2_log_loss_score : of arrays.

    Notes
    -----
    :math:`1 - L(y, p) / L(y, f)`, with :math:`L` the log-loss and :math:`f` the weighted frequencies of the classes in
    ``y_true``.

    References
    ----------
    T. Hastie, R. Tibshirani, M. Wainwright, "Statistical Learning with Sparsity", CRC Press, 2015, section 3.2.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from xentc import dask as xd
    >>> y_proba = np.array([[.7, .2, .1], [.2, .6, .2], [.8, .1, .1], [.1, .2, .7]])
    >>> xd.d2_log_loss_score(da.from_array([1, 2, 1, 3], chunks=3), da.from_array(y_proba, chunks=(3, 2)))
    0.6519933275478191
    """
    return metric(
        y_true, y_proba, sample_weight=sample_weight, labels=labels, from_logits=from_logits,
        by_class=sample_weight is not None, compute=compute,
    ).d2()


def metric(
    y_true: Any, y_proba: Any, *, sample_weight: Any = None, groups: Any = None, labels: ArrayLike | None = None,
    from_logits: bool = False, by_class: bool | None = None, compute: bool = True,
) -> Any:
    """The :class:`xentc.LogLoss` of Dask collections: the mean, its standard error, tables by class and group.

    Parameters
    ----------
    y_true : dask Array, Series or DataFrame, one label a row
        The labels, as in :func:`xentc.log_loss`, but for indicators.
    y_proba : dask Array, DataFrame or Series, of shape (n_samples, n_classes) or (n_samples,)
        Predicted probabilities, as in :func:`xentc.log_loss`. Chunks along the classes are put together.
    sample_weight : dask Array or Series of shape (n_samples,), optional
    groups : dask Array or Series of shape (n_samples,), optional
        As in :meth:`xentc.LogLoss.update`.
    labels : array_like, optional
        All classes. Where they are not given, a pass over ``y_true`` finds them first.
    from_logits, by_class : bool, optional
        As in :class:`xentc.LogLoss`.
    compute : bool
        False: return a Delayed. Without ``labels`` the pass that finds them is then a part of it, and partitions that are
        computed for it may be held until it is over.

    Returns
    -------
    metric : LogLoss, or Delayed

    Raises
    ------
    ValueError, TypeError
        As :meth:`xentc.LogLoss.update`, with a note that names the partition; if the collections have different numbers of
        partitions, or these of rows; if an argument is no Dask collection.

    See Also
    --------
    log_loss : the mean alone.
    xentc.files.score : of files.

    Notes
    -----
    Collections may be of different kinds. Rows belong together by their place, as in one call: indices are not aligned. The
    partition of a number holds the same rows in all collections; the numbers of these may be unknown, or 0.

    Examples
    --------
    >>> import dask.array as da
    >>> from xentc import dask as xd
    >>> y_true, y_proba = da.from_array(["ham", "spam", "ham"], chunks=2), da.from_array([0.1, 0.8, 0.3], chunks=2)
    >>> metric = xd.metric(y_true, y_proba, groups=da.from_array(["en", "de", "en"], chunks=2))
    >>> metric
    <LogLoss of 2 classes: 0.2283930036369228 over 3 rows>
    >>> metric.by_group()["label"]
    array(['de', 'en'], dtype='<U2')
    """
    from_logits, compute = as_flag(from_logits, "from_logits"), as_flag(compute, "compute")
    optional = {name: x for name, x in (("sample_weight", sample_weight), ("groups", groups)) if x is not None}
    given = {name: _of_whole_rows(x, name) for name, x in {"y_true": y_true, "y_proba": y_proba, **optional}.items()}
    classes: Any = labels
    if labels is None:
        classes = _reduced(_partitions({"y_true": given["y_true"]}), _classes, _all_classes)
        if compute:
            classes = classes.compute()
            if not len(classes):
                raise ValueError("y_true has no rows; expected some, or labels")
            check_several(classes)
    if labels is not None or compute:                          # what is wrong is told here, and once
        classes = LogLoss(classes, from_logits=from_logits, by_class=by_class).classes_
        check_columns(y_proba, classes, "y_proba")
    # Of classes there may be many, which tasks share.
    merged = _reduced(_partitions(given), _log_loss, sum, delayed(classes), from_logits, by_class)
    return merged.compute() if compute else merged


def _of_whole_rows(x: Any, name: str) -> Any:
    """The collection, with a single chunk along the classes."""
    if not hasattr(x, "to_delayed") or not hasattr(x, "ndim"):
        raise TypeError(f"{name} is {shown(x)}; expected an Array, DataFrame or Series of Dask")
    if x.ndim not in (1, 2):
        raise ValueError(f"{name} has {x.ndim} dimensions; expected 1 or 2")
    if name == "y_true" and x.ndim > 1 and x.shape[1] != 1:
        raise ValueError(f"y_true has {x.shape[1]} columns; expected one label a row")
    return x.rechunk({1: -1}) if x.ndim > 1 and isinstance(x, array.Array) else x


def _partitions(given: dict[str, Any]) -> list[list[Any]]:
    """For each partition what it has of arrays, and of frames: Dask optimizes those of a kind together, so that what several
    are made of is computed once, of as few columns as will do, by the worker that goes on with it."""
    n_parts = given["y_true"].npartitions
    for name, x in given.items():
        if x.npartitions != n_parts:
            raise ValueError(f"{name} has {x.npartitions} partitions; expected {n_parts}, as many as y_true")
    arrays = {name: x for name, x in given.items() if isinstance(x, array.Array)}
    frames = {name: x for name, x in given.items() if name not in arrays}
    kinds = []
    if arrays:
        indexed = [a for i, x in enumerate(arrays.values()) for a in (x, (-1, i)[: x.ndim])]
        together = array.blockwise(
            _named, (-1,), *indexed, names=list(arrays), align_arrays=False, dtype=object, meta=np.empty(0, object)
        )
        kinds.append(together.to_delayed().tolist())
    if frames:
        first, *others = frames.values()
        kinds.append(first.map_partitions(
            _named, *others, names=list(frames), align_dataframes=False, enforce_metadata=False, meta=(None, object)
        ).to_delayed())
    return [list(of_partition) for of_partition in zip(*kinds, strict=True)]


def _named(*parts: Any, names: list[str]) -> dict[str, Any]:
    """The parts of a partition. An array of two dimensions comes as a list of its blocks along the classes, which is one."""
    return {name: part[0] if isinstance(part, list) else part for name, part in zip(names, parts, strict=True)}


def _reduced(
    partitions: list[list[Any]], function: Callable[..., Any], merge: Callable[[list[Any]], Any], *arguments: Any
) -> Delayed:
    """What a function makes of the parts of each partition, merged until it is one."""
    # By hand: a call of `delayed` takes a millisecond or more, and there may be thousands of partitions.
    depends = [*partitions[0], *(a for a in arguments if isinstance(a, Delayed))]
    rest = [a.key if isinstance(a, Delayed) else a for a in arguments]
    tasks: list[Any] = [
        (_of_partition, i, function, [part.key for part in parts], *rest) for i, parts in enumerate(partitions)
    ]
    name = f"{function.__name__}-{uuid.uuid4().hex}"
    keys = [(name, i) for i in range(len(tasks))]
    graph: dict[Any, Any] = dict(zip(keys, tasks, strict=True))
    while len(keys) > 1:
        tasks = [(merge, keys[i : i + _SPLIT_EVERY]) for i in range(0, len(keys), _SPLIT_EVERY)]
        keys = [(f"merge-{uuid.uuid4().hex}", i) for i in range(len(tasks))]
        graph.update(zip(keys, tasks, strict=True))
    return Delayed(keys[0], HighLevelGraph.from_collections(name, graph, depends), layer=name)


def _of_partition(number: int, function: Callable[..., Any], kinds: list[dict[str, Any]], *arguments: Any) -> Any:
    """What the function makes of a partition; errors name it."""
    parts = {name: part for of_kind in kinds for name, part in of_kind.items()}
    rows = {name: length(part) for name, part in parts.items()}
    if len(set(rows.values())) > 1:
        told = ", ".join(f"{n} of {name}" for name, n in rows.items())
        raise ValueError(f"partition {number} has different numbers of rows: {told}")
    _config.of_thread.alone = True
    try:
        return function(parts, *arguments)
    except (TypeError, ValueError) as error:
        error.add_note(f"in partition {number}")
        raise
    finally:
        _config.of_thread.alone = False


def _classes(parts: dict[str, Any]) -> np.ndarray:
    """The distinct labels; of a partition without rows, whatever its type, none."""
    return distinct(parts["y_true"]) if length(parts["y_true"]) else np.empty(0, object)


def _all_classes(parts: list[np.ndarray]) -> np.ndarray:
    """As a list, which keeps strings and numbers apart."""
    return distinct([label for part in parts for label in part.tolist()])


def _log_loss(parts: dict[str, Any], classes: np.ndarray, from_logits: bool, by_class: bool | None) -> LogLoss:
    return LogLoss(classes, from_logits=from_logits, by_class=by_class).update(**parts)
