"""xentc.dask: the bits of one call for any partitions, on threads and on a cluster that loses a worker; what is refused."""

import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from depth import slow_but

import xentc
from xentc import LogLoss, _config

da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
xd = pytest.importorskip("xentc.dask")
dask = pytest.importorskip("dask")

N, K = 120, 4


@pytest.fixture(autouse=True)
def _threads():
    with dask.config.set(scheduler="threads", num_workers=2):
        yield


def data(names=("ant", "bee", "cat", "dog")):
    """Labels, probabilities, weights, groups."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(K, 0.5), N)
    codes = np.array([rng.choice(K, p=row) for row in p])
    return np.array(names)[codes], p, rng.uniform(0, 2, N), rng.choice(["de", "en", "fr"], N)


def arrays(rows, classes=K):
    """A way to make collections of y, p, weights and groups: arrays of these chunks."""
    return lambda y, p, w, g: [da.from_array(a, chunks=(rows, classes)[: a.ndim]) for a in (y, p, w, g)]


def masked(rows, classes=K, none_of=()):
    """Arrays of unknown chunk sizes: every row stands among two that a mask takes out; chunks `none_of` lose all."""
    def make(*given):
        keep = np.tile([False, True, False], N)
        wide = [np.repeat(a, 3, axis=0) for a in given]
        for start in none_of:                                  # a chunk of rows to take out whole
            keep = np.insert(keep, start, np.full(rows, False))
            wide = [np.insert(a, start, np.repeat(a[:1], rows, axis=0), axis=0) for a in wide]
        mask = da.from_array(keep, chunks=rows)
        return [da.from_array(a, chunks=(rows, classes)[: a.ndim])[mask] for a in wide]
    return make


def frames(n_partitions, empty=False):
    """Of a DataFrame and Series that a filter has made, with indices that say nothing."""
    def make(y, p, w, g):
        frame = pd.DataFrame(p, columns=["ant", "bee", "cat", "dog"])
        frame = frame.assign(y=y, w=w, g=g, part=np.arange(N) // 30 != 1)
        if empty:                                              # the partition of these rows, put there once more, goes
            frame = pd.concat([frame[:30], frame[30:60], frame[30:60].assign(part=True), frame[60:]])
        frame = dd.from_pandas(frame.reset_index(drop=True), npartitions=n_partitions, sort=False)
        frame = frame[frame["part"]] if empty else frame
        return [frame["y"], frame[["ant", "bee", "cat", "dog"]], frame["w"], frame["g"]]
    return make


def mixed(y, p, w, g):
    """Frames and arrays, of which some know their chunk sizes."""
    y, p, w, g = frames(4)(y, p, w, g)
    return [y, p.to_dask_array(), da.from_array(w.compute().to_numpy(), chunks=30), g]


CHUNKINGS = {
    "one chunk": arrays(N),
    "1 and the rest": arrays((1, N - 1)),
    "a few rows each": arrays(3),
    "class by class": arrays(50, 1),
    "classes and rows": arrays((7, 100, 13), (1, 3)),
    "empty chunks": arrays((0, 60, 0, 0, 60, 0), (3, 1)),
    "unknown sizes": masked(50),
    "unknown sizes, chunks of classes": masked(36, 2),
    "unknown sizes, some 0": masked(30, 2, none_of=(0, 30, 150)),
    "frames": frames(5),
    "frames with empty partitions": frames(5, empty=True),
    "frames and arrays": mixed,
}


@pytest.mark.parametrize("make", slow_but([CHUNKINGS["one chunk"], mixed], CHUNKINGS.values()), ids=CHUNKINGS)
def test_any_chunks_give_the_bits_of_one_call(make):
    y, p, w, g = data()
    dy, dp, dw, dg = make(y, p, w, g)
    np.testing.assert_array_equal(np.asarray(dask.compute(dp)[0]), p)
    whole = LogLoss(["ant", "bee", "cat", "dog"]).update(y, p, sample_weight=w, groups=g)
    assert xd.log_loss(dy, dp) == xentc.log_loss(y, p)
    assert xd.log_loss(dy, dp, sample_weight=dw) == xentc.log_loss(y, p, sample_weight=w) == whole.result()
    assert xd.d2_log_loss_score(dy, dp) == xentc.d2_log_loss_score(y, p)
    assert xd.d2_log_loss_score(dy, dp, sample_weight=dw) == xentc.d2_log_loss_score(y, p, sample_weight=w)
    metric = xd.metric(dy, dp, sample_weight=dw, groups=dg)
    assert metric == whole
    assert repr(metric.by_group()) == repr(whole.by_group())
    assert metric.standard_error() == whole.standard_error()


LABELS = {
    "integers": [2, 3, 5, 9],
    "floats": [0.0, 1.0, 2.0, 3.0],
    "far": [-(10**12), 0, 7, 10**15],
    "strings": ["a", "b", "c", "d"],
    "booleans": [False, True],
    "objects": np.array(["a", "b", "c\0", "d"], object),
}


@pytest.mark.parametrize("names", LABELS.values(), ids=LABELS)
def test_labels_that_are_not_given_are_found(names):
    k = len(names)
    y, p = np.array(names)[np.arange(N) * k // N], np.random.default_rng(0).dirichlet(np.ones(k), N)
    dy, dp = da.from_array(y, chunks=17), da.from_array(p, chunks=17)       # most chunks have one or two of the labels
    assert xd.log_loss(dy, dp) == xentc.log_loss(y, p)
    metric = xd.metric(dy, dp)
    assert metric == xd.metric(dy, dp, labels=names) == LogLoss(names).update(y, p)
    assert metric.by_class()["label"].tolist() == list(names)


@pytest.mark.parametrize("dtype", ["category", "string", "Int64", object])
def test_series_of_labels(dtype):
    y, p, *_ = data((1, 2, 3, 4) if dtype == "Int64" else ("ant", "bee", "cat", "dog"))
    frame = pd.DataFrame(p).assign(y=pd.Series(y).astype(dtype))
    if dtype == "category":                                    # of which one has no rows
        frame["y"] = frame["y"].cat.add_categories("eel")
    frame = dd.from_pandas(frame, npartitions=3)
    assert xd.log_loss(frame["y"], frame[list(range(K))]) == xentc.log_loss(y, p)
    assert xd.log_loss(frame[["y"]], frame[list(range(K))], labels=np.unique(y)) == xentc.log_loss(y, p)


@pytest.mark.parametrize("form", ["column", "vector", "logits", "float32", "series"])
def test_two_classes_and_logits(form):
    y, p, w, _ = data()
    y, p = np.isin(y, ["ant", "dog"]), p[:, 0] + p[:, 3]
    options = {"from_logits": form == "logits"}
    p = {"column": p[:, None], "vector": p, "logits": np.log(p) - np.log1p(-p), "float32": p.astype("f4"),
         "series": p}[form]
    dp = dd.from_pandas(pd.Series(p), npartitions=4) if form == "series" else da.from_array(p, chunks=30)
    dy, dw = da.from_array(y, chunks=30), da.from_array(w, chunks=30)
    assert xd.log_loss(dy, dp, sample_weight=dw, **options) == xentc.log_loss(y, p, sample_weight=w, **options)
    assert xd.d2_log_loss_score(dy, dp, labels=[False, True], **options) == xentc.d2_log_loss_score(y, p, **options)


def test_logits_of_several_classes():
    y, p, *_ = data()
    x = np.log(p)
    assert xd.log_loss(*arrays(11, 3)(y, x, y, y)[:2], from_logits=True) == xentc.log_loss(y, x, from_logits=True)


def test_a_delayed_value():
    y, p, w, g = data()
    dy, dp, dw, dg = arrays(25, 3)(y, p, w, g)
    for labels in (None, np.unique(y)):
        options = {"labels": labels, "compute": False}
        values = [xd.log_loss(dy, dp, **options), xd.d2_log_loss_score(dy, dp, sample_weight=dw, **options),
                  xd.metric(dy, dp, groups=dg, **options)]
        assert all(dask.is_dask_collection(value) for value in values)
        assert dask.compute(*values) == (xentc.log_loss(y, p), xentc.d2_log_loss_score(y, p, sample_weight=w),
                                         LogLoss(np.unique(y)).update(y, p, groups=g))


def test_nothing_is_computed_twice_or_before_it_is_asked_for():
    y, p, *_ = data()
    calls = []

    def costly(frame):
        calls.append(len(frame))
        return frame

    frame = pd.DataFrame(p).assign(y=y)
    frame = dd.from_pandas(frame, npartitions=4, sort=False).map_partitions(costly, meta=frame[:0])
    calls.clear()
    value = xd.log_loss(frame["y"], frame[list(range(K))], labels=np.unique(y), compute=False)
    assert calls == []
    assert value.compute() == xentc.log_loss(y, p)
    assert calls == [30] * 4


def test_what_travels_is_small():
    """Whatever the rows are, a task of ours gives a few kB, and merges eight of them."""
    rng = np.random.default_rng(0)
    y, p = da.from_array(rng.integers(0, 2, 200_000), chunks=2000), da.from_array(rng.random(200_000), chunks=2000)
    value = xd.metric(y, p, labels=[0, 1], compute=False, by_class=False)
    graph = dict(value.__dask_graph__())
    merges = [key for key in graph if key[0].startswith("merge-")]
    assert len(merges) == 13 + 2 + 1
    parts = [key for key in graph if key[0].startswith("_log_loss-")]
    assert len(parts) == 100
    sizes = [len(pickle.dumps(part)) for part in dask.threaded.get(graph, parts + merges)]
    assert max(sizes) < 4000


def test_a_task_is_one_thread(monkeypatch):
    monkeypatch.setattr(_config, "_SERIAL_BELOW", 1)
    monkeypatch.setattr(_config, "get_num_threads", lambda: 7)
    threads_for, threads = _config.threads_for, set()

    def told(n_elements, n_threads):
        threads.add(threads_for(n_elements, n_threads))
        return threads_for(n_elements, n_threads)

    monkeypatch.setattr(_config, "threads_for", told)
    for names in ((0, 1, 2, 3), (0, 1, 2, 10**12), ("ant", "bee", "cat", "dog")):
        y, p, w, g = data(names)
        y, p, w, g = (np.concatenate([a] * 200) for a in (y, p, w, g))
        dy, dp, dw, dg = arrays(12_000)(y, p, w, g)
        xd.metric(dy, dp, sample_weight=dw)
        xd.log_loss(dy, dp, labels=names)
        xd.metric(dy, dp, groups=dg)
    assert threads == {1}
    xentc.log_loss(y, p)                                       # here, nothing has changed
    assert 7 in threads


def test_rows_that_do_not_fit():
    y, p, w, g = data()
    dy, dp, dw, dg = arrays(30)(y, p, w, g)
    other = da.from_array(p, chunks=((30, 31, 29, 30), K))
    delayed = xd.log_loss(dy, other, labels=np.unique(y), compute=False)   # a task raises it
    for raises in (delayed.compute, lambda: xd.log_loss(dy, other)):
        with pytest.raises(ValueError, match=r"partition (1|2) has different numbers of rows: 30 of y_true, (31|29) of"):
            raises()
    with pytest.raises(ValueError, match=r"partition 0 .*: 30 of y_true, 30 of y_proba, 29 of groups"):
        xd.metric(dy, dp, groups=dg[1:])
    with pytest.raises(ValueError, match=r"partition 3 .*: 30 of y_true, 30 of y_proba, 0 of sample_weight"):
        xd.log_loss(dy, dp, sample_weight=da.from_array(w[:90], chunks=((30, 30, 30, 0),)))
    with pytest.raises(ValueError, match="y_proba has 2 partitions; expected 4, as many as y_true"):
        xd.log_loss(dy, dp.rechunk(60))
    with pytest.raises(ValueError, match="sample_weight has 1 partitions; expected 4, as many as y_true"):
        xd.log_loss(dy, dp, sample_weight=dw.rechunk(-1))


def test_what_is_wrong_names_its_partition():
    y, p, w, g = data()
    dy, dp, dw, _ = arrays(30)(y, p, w, g)
    for labels in (["ant", "bee", "cat", "elk"], np.array(["ant", "bee", "cat", "elk"])):
        with pytest.raises(ValueError, match=r"y_true contains values \{.*dog.*\} not belonging to the") as error:
            xd.log_loss(dy, dp, labels=labels)
        assert error.value.__notes__[0] in {f"in partition {row // 30}" for row in np.flatnonzero(y == "dog")}
    p, w = p.copy(), w.copy()
    p[70, 1], w[100] = 1.5, np.nan
    dy, bad, dw, _ = arrays(30)(y, p, w, g)
    with pytest.raises(ValueError, match=r"y_prob contains values greater than 1: 1\.5") as error:
        xd.log_loss(dy, bad)
    assert error.value.__notes__ == ["in partition 2"]
    with pytest.raises(ValueError, match="Input sample_weight contains NaN") as error:
        xd.log_loss(dy, dp, sample_weight=dw)
    assert error.value.__notes__ == ["in partition 3"]
    with pytest.raises(ValueError, match="The number of classes in labels is different from that in y_prob"):
        xd.log_loss(dy, dp, labels=["ant", "bee", "cat", "dog", "elk"])


def numbers_in_the_last(block, block_info=None):
    return np.arange(30) if block_info[0]["chunk-location"] == (3,) else block


def test_a_partition_of_no_labels():
    y = np.arange(60.0) % 2
    y[40] = 0.5
    with pytest.raises(ValueError, match="Unknown label type") as error:
        xd.log_loss(da.from_array(y, chunks=15), da.zeros(60, chunks=15))
    assert error.value.__notes__ == ["in partition 2"]


def test_arguments():
    y, p, *_ = data()
    dy, dp = arrays(30)(y, p, y, y)[:2]
    for arguments, options, error, message in (
        ((y, dp), {}, TypeError, "y_true is (.|\n)*; expected an Array, DataFrame or Series of Dask"),
        ((dy, None), {}, TypeError, "y_proba is None; expected an Array"),
        ((dy, dp), {"sample_weight": [1.0] * N}, TypeError, "sample_weight is (.|\n)*; expected an Array"),
        ((dp, dp), {}, ValueError, "y_true has 4 columns; expected one label a row"),
        ((dy, dp), {"labels": ["ant"]}, ValueError, "needs to contain at least two labels"),
        ((dy, dp), {"labels": "ant"}, ValueError, "labels are 'ant'; expected all classes"),
        ((dy, dp), {"from_logits": 2}, TypeError, "from_logits"),
        ((dy, dp), {"compute": "no"}, TypeError, "compute"),
        ((dy[:0], dp[:0]), {}, ValueError, "y_true has no rows; expected some, or labels"),
        ((da.zeros(N, chunks=30, dtype=int), dp), {}, ValueError, r"y_true contains only one label \(0\). Please provide"),
        ((dy, da.zeros((N, 2, 2))), {}, ValueError, "y_proba has 3 dimensions; expected 1 or 2"),
        ((da.from_array(np.array(["a"] * 30 + [1, 2] * 45, object), chunks=30), dp), {}, ValueError, "Unknown label type"),
        ((da.from_array(np.array(["a", "b"] * 60, object), chunks=30).map_blocks(numbers_in_the_last, dtype=object), dp), {},
         ValueError, r"Mix of label input types \(string and number\)"),
    ):
        with pytest.raises(error, match=message):
            xd.log_loss(*arguments, **options)


def test_warnings_are_given_here_where_they_can_be():
    y, p, *_ = data()
    frame = dd.from_pandas(pd.DataFrame(p, columns=["ant", "cat", "bee", "dog"]), npartitions=2, sort=False)
    dy = da.from_array(y, chunks=60)
    with pytest.warns(UserWarning, match="y_proba has the columns .* taken by position") as told:
        xd.log_loss(dy, frame, labels=np.unique(y), compute=False)
    assert [warning.filename for warning in told] == [__file__]
    with pytest.warns(UserWarning, match="Labels passed were .*assumes labels are ordered") as told:
        assert xd.log_loss(dy, da.from_array(p, chunks=(60, 4)), labels=["dog", "cat", "bee", "ant"]) == xentc.log_loss(y, p)
    assert [warning.filename for warning in told] == [__file__]


def test_no_rows_and_no_weight():
    y, p, w, g = data()
    dy, dp, dw, _ = arrays(30)(y, p, w, g)
    labels = np.unique(y)
    assert np.isnan(xd.log_loss(dy[:0], dp[:0], labels=labels))
    with pytest.warns(UserWarning, match="not well-defined with less than two samples"):
        assert np.isnan(xd.d2_log_loss_score(dy[:1], dp[:1], labels=labels))
    with pytest.raises(ZeroDivisionError, match="Weights sum to zero"):
        xd.log_loss(dy, dp, sample_weight=0 * dw)


def test_without_dask():
    code = "import sys; sys.modules['dask'] = None\nimport xentc\nimport xentc.dask"
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert result.stderr.splitlines()[-1] == 'ImportError: xentc.dask needs Dask: pip install "xentc[dask]"'


@pytest.fixture(scope="module")
def client():
    """Of two processes of one thread."""
    distributed = pytest.importorskip("distributed")
    try:
        cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    except (OSError, RuntimeError, TimeoutError) as error:
        pytest.skip(f"no cluster can be started here: {error}")
    with cluster, distributed.Client(cluster) as client:
        yield client


@pytest.mark.slow
def test_a_cluster(client):
    y, p, w, g = data()
    labels = np.unique(y)
    with dask.config.set(scheduler=client):
        for make in (arrays((1, N - 1)), arrays(40, 3), frames(5, empty=True)):
            dy, dp, dw, dg = make(y, p, w, g)
            assert xd.log_loss(dy, dp) == xentc.log_loss(y, p)
            whole = LogLoss(labels).update(y, p, sample_weight=w, groups=g)
            assert xd.metric(dy, dp, sample_weight=dw, groups=dg, labels=labels) == whole
        with pytest.raises(ValueError, match="values greater than 1") as error:
            xd.log_loss(*arrays(30)(y, p + (np.arange(N) == 70)[:, None], w, g)[:2])
        assert error.value.__notes__ == ["in partition 2"]
        assert client.submit(xentc.get_num_threads).result() >= 1      # none has left a limit


@pytest.mark.slow
def test_a_worker_is_killed(client, tmp_path):
    y, p, w, g = data()
    dy, dp, dw, dg = arrays(10)(y, p, w, g)

    def slowly(block, folder):
        import os
        import time
        import uuid

        with open(os.path.join(folder, uuid.uuid4().hex), "w") as file:
            file.write(str(os.getpid()))
        time.sleep(0.2)
        return block

    dp = dp.map_blocks(slowly, str(tmp_path), dtype=float, meta=np.empty((0, 0)))

    def started():
        return [path.read_text() for path in tmp_path.iterdir()]

    future = client.compute(xd.metric(dy, dp, sample_weight=dw, groups=dg, labels=np.unique(y), compute=False))
    while len(started()) < 7:
        time.sleep(0.02)
    pids = [pid for pid in started() if pid]
    os.kill(int(max(pids, key=pids.count)), signal.SIGKILL)
    assert future.result(timeout=120) == LogLoss(np.unique(y)).update(y, p, sample_weight=w, groups=g)
    assert len(started()) > 12                                 # what was lost was computed again
