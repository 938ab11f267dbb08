"""LogLoss: the bits of one call in any pieces, its statistics in fractions, its tables, and what it refuses."""

import copy
import math
import pickle
import random
import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
from depth import slow_but
from hypothesis import given, settings
from hypothesis import strategies as st

from xentc import LogLoss, _log_loss, d2_log_loss_score, log_loss, log_loss_per_sample


def data(n, k, seed=0, kind="int"):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(k, 0.5), n)
    y = np.array([rng.choice(k, p=row) for row in p])
    labels = {
        "int": np.arange(k),
        "gaps": np.arange(k) * 3 - 5,
        "str": np.array([f"class {i:03}" for i in range(k)]),
        "object": np.array([f"c{i:03}" for i in range(k)], object),
        "far": np.arange(k) * 10**12,
        "float": np.arange(k) * 1.0,
    }[kind]
    w = rng.uniform(-0.2, 2, n)
    groups = rng.choice(["de", "en", "fr"], n)
    return labels, labels[y], p, w, groups


def outcomes(metric):
    """All that a LogLoss tells, as text that shows every bit."""
    tables = [table() for table in (metric.by_class, metric.by_group)]
    columns = [(name, column.tolist()) for table in tables for name, column in table.items()]
    return repr((metric.count, metric.weight_sum, metric.result(), metric.d2(), metric.standard_error(),
                 metric.confidence_interval(0.9), columns))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["int", "gaps", "str", "object", "far", "float"])
@pytest.mark.parametrize("k", slow_but([3], [2, 3, 17]))
def test_any_pieces_give_the_bits_of_one_call(k, kind, weighted):
    labels, y, p, w, groups = data(700, k, kind=kind)
    weight = w if weighted else None
    whole = LogLoss(labels).update(y, p, sample_weight=weight, groups=groups)
    assert whole.result() == log_loss(y, p, labels=labels, sample_weight=weight)
    assert whole.d2() == d2_log_loss_score(y, p, labels=labels, sample_weight=weight)
    assert (whole.count, whole.weight_sum) == (700, math.fsum(w) if weighted else 700.0)
    want = outcomes(whole)
    for seed in range(20):
        order = random.Random(seed)
        rows = np.array(order.sample(range(700), 700))
        cuts = sorted(order.sample(range(1, 700), order.randrange(12)))
        parts = [LogLoss(labels).update(y[i], p[i], sample_weight=None if weight is None else w[i], groups=groups[i],
                                        n_threads=order.choice([1, 2, 5])) for i in np.split(rows, cuts)]
        while len(parts) > 1:                                  # any tree of merges
            a = parts.pop(order.randrange(len(parts)))
            b = parts.pop(order.randrange(len(parts)))
            parts.append(order.choice([lambda a, b: a + b, lambda a, b: a.merge(b), lambda a, b: sum([a, b])])(a, b))
        assert outcomes(parts[0]) == want
        assert parts[0] == whole


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_other_types_and_forms(dtype):
    labels, y, p, *_ = data(300, 2)
    p = p.astype(dtype)
    p[:, 1] = 1 - p[:, 0]
    for form in (p, p[:, 1], p[:, 1:], np.asfortranarray(p), pd.DataFrame(p), p.astype(float)[:, 1].tolist()):
        metric = LogLoss(labels)
        for i in np.split(np.arange(300), [1, 100, 101, 299]):
            metric.update(y[i], form.iloc[i] if isinstance(form, pd.DataFrame) else np.asarray(form)[i])
        assert metric.result() == log_loss(y, form)


@pytest.mark.parametrize("k", [2, 5])
def test_from_logits(k):
    labels, y, p, w, _ = data(300, k, kind="str")
    x = np.log(p / p[:, :1])
    forms = [x, x.astype(np.float32)] + ([x[:, 1], x[:, 1:]] if k == 2 else [])
    for form in forms:
        metric = LogLoss(labels, from_logits=True)
        for i in np.split(np.arange(300), [7, 8]):
            metric.update(y[i], form[i], sample_weight=w[i])
        assert metric.result() == log_loss(y, form, sample_weight=w, from_logits=True)
        losses = log_loss_per_sample(y, form, from_logits=True)
        for i, label in enumerate(labels):
            want = np.average(losses[y == label], weights=w[y == label])
            assert metric.by_class()["log_loss"][i] == pytest.approx(want, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(2, 6), st.booleans(), st.integers(0, 10**6))
def test_statistics_in_fractions(n, k, weighted, seed):
    """Of all rows, and in the tables of each class and group."""
    labels, y, p, w, groups = data(n, k, seed)
    w = np.abs(w)
    metric = LogLoss(labels).update(y, p, sample_weight=w if weighted else None, groups=groups)
    losses = log_loss_per_sample(y, p, labels=labels)
    weights = w if weighted else np.ones(n)

    def check(rows, of_rows):
        of_rows = {name: float(value) for name, value in of_rows.items()}
        x, v = ([Fraction(float(a)) for a in array[rows]] for array in (losses, weights))
        v1, v2 = sum(v), sum(a * a for a in v)
        total = sum(a * b for a, b in zip(x, v, strict=True))
        assert of_rows["rows"] == len(x)
        assert of_rows["weight"] == float(v1)
        assert of_rows["log_loss"] == float(total) / float(v1)
        if len(x) < 2 or v1 * v1 == v2:
            assert math.isnan(of_rows["standard_error"])
            return total
        variance = sum(b * (a - total / v1) ** 2 for a, b in zip(x, v, strict=True)) / (v1 - v2 / v1)
        assert of_rows["standard_error"] == math.sqrt(float(variance * v2 / v1**2))
        return total

    total = check(np.full(n, True), {"rows": metric.count, "weight": metric.weight_sum, "log_loss": metric.result(),
                                     "standard_error": metric.standard_error()})
    for table, of_rows in ((metric.by_class(), y), (metric.by_group(), groups)):
        assert list(table) == ["label", "rows", "weight", "log_loss", "standard_error", "share"]
        np.testing.assert_array_equal(table["label"], labels if of_rows is y else np.unique(groups))
        for i, label in enumerate(table["label"]):
            if (of_rows == label).any():
                part = check(of_rows == label, {name: column[i] for name, column in table.items() if name != "label"})
                assert table["share"][i] == float(part) / float(total)
            else:
                assert (table["rows"][i], table["weight"][i], table["share"][i]) == (0, 0, 0)
                assert math.isnan(table["log_loss"][i])


def test_intervals_are_those_of_student():
    from scipy import stats

    labels, y, p, w, _ = data(50, 3)
    losses = log_loss_per_sample(y, p, labels=labels)
    metric = LogLoss(labels).update(y, p)
    for level in (0.5, 0.95, 0.999):
        want = stats.t.interval(level, 49, loc=losses.mean(), scale=stats.sem(losses))
        np.testing.assert_allclose(metric.confidence_interval(level), want, rtol=1e-12)
    w = np.abs(w)
    n = w.sum() ** 2 / (w**2).sum()
    low, high = LogLoss(labels).update(y, p, sample_weight=w).confidence_interval()
    assert (high - low) / 2 == pytest.approx(
        stats.t.ppf(0.975, n - 1) * np.sqrt(np.cov(losses, aweights=w) * (w**2).sum()) / w.sum(), rel=1e-12
    )
    for level in (0, 1, 1.5, -0.1, math.nan):
        with pytest.raises(ValueError, match=r"level (is|must be) "):
            metric.confidence_interval(level)
    assert np.isnan(LogLoss(labels).update(y[:1], p[:1]).confidence_interval()).all()


def test_data_frames_take_the_tables():
    labels, y, p, _, groups = data(30, 3, kind="str")
    metric = LogLoss(labels).update(y, p, groups=groups)
    for table in (metric.by_class(), metric.by_group()):
        assert pd.DataFrame(table)["rows"].sum() == 30
        assert pl.DataFrame(table)["share"].sum() == pytest.approx(1)
        lines = repr(table).split("\n")
        assert lines[0].split() == list(table)
        assert lines[1].startswith(str(table["label"][0]))
        assert len({len(line) for line in lines}) == 1
    many = LogLoss(range(100)).update(range(100), np.eye(100)).by_class()
    assert len(repr(many).split("\n")) == 42


@pytest.mark.parametrize(
    ("groups", "want"),
    [
        ([3, 1, 3, 2], [1, 2, 3]),
        ([2.5, 1.0, 2.5, 1.0], [1.0, 2.5]),
        (["b", "a", "b", "c"], ["a", "b", "c"]),
        (pd.Categorical(["b", "a", "b", "b"]), ["a", "b"]),
        (pd.Series(["x", "y", "x", "x"]), ["x", "y"]),
        (pl.Series(["x", "y", "x", "x"]), ["x", "y"]),
        ([True, False, False, True], [False, True]),
        (np.array(["2024-01-02", "2024-01-01"] * 2, "M8[ns]"), np.array(["2024-01-01", "2024-01-02"], "M8[ns]").tolist()),
        ([10**12, -5, 10**12, 7], [-5, 7, 10**12]),
    ],
)
def test_kinds_of_groups(groups, want):
    y, p = [0, 1, 1, 0], [0.1, 0.8, 0.4, 0.3]
    metric = LogLoss([0, 1])
    metric.update(y[:2], p[:2], groups=groups[:2]).update(y[2:], p[2:], groups=groups[2:])
    table = metric.by_group()
    assert table["label"].tolist() == want
    assert table["rows"].sum() == 4
    assert metric == LogLoss([0, 1]).update(y, p, groups=groups)


def test_groups_may_be_missing_in_a_piece_and_of_two_kinds():
    metric = LogLoss([0, 1]).update([0, 1], [0.1, 0.9]).update([0, 1], [0.2, 0.7], groups=["a", "b"])
    metric.update([1], [0.5], groups=[3])
    assert metric.count == 5
    assert metric.by_group()["label"].tolist() == [3, "a", "b"]
    assert metric.by_group()["rows"].tolist() == [1, 1, 1]


def test_many_groups_and_many_classes():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 5000, 20_000)
    y, p = rng.integers(0, 2, 20_000), rng.random(20_000)
    metric = LogLoss([0, 1])
    for i in np.array_split(np.arange(20_000), 7):
        metric.update(y[i], p[i], groups=groups[i])
    table, losses = metric.by_group(), log_loss_per_sample(y, p)
    np.testing.assert_array_equal(table["label"], np.unique(groups))
    np.testing.assert_array_equal(table["rows"], np.unique(groups, return_counts=True)[1])
    for i in (0, 77, 4000):
        assert table["log_loss"][i] == math.fsum(losses[groups == table["label"][i]]) / table["rows"][i]


def test_sums_by_class_only_where_they_are_asked_for():
    labels, y, p, w, _ = data(200, 5)
    for kept in (LogLoss(labels), LogLoss(labels, by_class=True), LogLoss(range(1000)), LogLoss(range(1001), by_class=True)):
        kept.by_class()
    for other in (LogLoss(range(1001)), LogLoss(labels, by_class=False)):
        with pytest.raises(ValueError, match=r"not kept; make it with LogLoss\(..., by_class=True\)"):
            other.by_class()
    with_classes = LogLoss(labels).update(y, p)
    without = LogLoss(labels, by_class=False).update(y[:50], p[:50]).update(y[50:], p[50:])
    for name in ("result", "d2", "standard_error", "confidence_interval"):
        assert getattr(without, name)() == getattr(with_classes, name)()
    assert pickle.loads(pickle.dumps(without)) == without
    without.update(y, p, sample_weight=w)
    assert without.result() == with_classes.update(y, p, sample_weight=w).result()
    with pytest.raises(ValueError, match=r"d2 needs the weights of each class, which LogLoss\(..., by_class=True\) keeps"):
        without.d2()
    # 100,000 classes take little, unasked.
    assert len(pickle.dumps(LogLoss(range(100_000)))) < 2_000_000


def test_pieces_without_rows_or_weight():
    labels, y, p, w, _ = data(50, 3)
    metric = LogLoss(labels).update([], np.empty((0, 3))).update([], [])
    assert (metric.count, metric.weight_sum) == (0, 0.0)
    assert math.isnan(metric.result())
    assert math.isnan(metric.standard_error())
    with pytest.warns(UserWarning, match="D\\^2 score is not well-defined with less than two samples"):
        assert math.isnan(metric.d2())
    metric.update(y[:20], p[:20], sample_weight=np.zeros(20))
    with pytest.raises(ZeroDivisionError, match="Weights sum to zero, can't be normalized"):
        metric.result()
    metric.update(y[20:], p[20:], sample_weight=w[20:])
    assert metric.result() == log_loss(y, p, sample_weight=np.append(np.zeros(20), w[20:]))
    assert metric.reset() is metric
    assert metric == LogLoss(labels)


def test_pickles_copies_and_equality():
    labels, y, p, w, groups = data(60, 4, kind="str")
    metric = LogLoss(labels).update(y, p, sample_weight=w, groups=groups)
    for twin in (pickle.loads(pickle.dumps(metric)), copy.copy(metric), copy.deepcopy(metric)):
        assert twin == metric
        assert outcomes(twin) == outcomes(metric)
        twin.update(y, p)
        assert twin != metric
        assert metric.count == 60
    assert metric != LogLoss(labels)
    assert LogLoss(labels) != LogLoss(labels[:3])
    assert LogLoss([0, 1]) != LogLoss([0, 1], from_logits=True)
    assert LogLoss([0, 1]) != LogLoss([0, 1], by_class=False)
    one, two = LogLoss([0, 1]).update([0], [0.1], groups=["a"]), LogLoss([0, 1]).update([0], [0.1], groups=["b"])
    assert one != two
    assert one != 3
    assert repr(one) == "<LogLoss of 2 classes: 0.10536051565782631 over 1 row>"
    with pytest.raises(TypeError, match="unhashable"):
        hash(metric)

    class Named(LogLoss):
        pass

    assert type(copy.copy(Named([0, 1]).update([0], [0.1]) + one)) is Named


STATE = LogLoss(["a", "b"]).update(["a", "b", "b"], [0.1, 0.8, 0.7], groups=[1, 2, 2]).__getstate__()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 7}, "a LogLoss was saved in format 7; this xentc reads 1"),
        ({"more": 1}, "expected a dict of version, by_group"),
        ({"labels": ["a"]}, "needs to contain at least two labels"),
        ({"labels": ["a", "b", "c"]}, "the counts of a LogLoss are 16 bytes; expected 24 bytes"),
        ({"from_logits": 3}, "from_logits"),
        ({"keeps_classes": False}, "expected 8 bytes"),
        ({"class_counts": np.ones(2, np.int64)}, "the class_counts of a LogLoss are no counts of 3 rows"),
        ({"rows": {**STATE["rows"], "sums": b"x"}}, "the sums of a LogLoss are 1 bytes"),
        ({"rows": {**STATE["rows"], "counts": np.array([-1, 2]).tobytes()}}, "a count of a LogLoss is -1"),
        ({"groups": [1, 1]}, "the groups of a LogLoss are not all different"),
        ({"groups": [1]}, "the counts of a LogLoss are 16 bytes; expected 8 bytes"),
    ],
)
def test_damaged_states(changes, message):
    metric = LogLoss([0, 1]).update([0], [0.3])
    with pytest.raises((ValueError, TypeError), match=message):
        metric.__setstate__({**STATE, **changes})
    assert metric == LogLoss([0, 1]).update([0], [0.3])  # as it was


BAD = [
    ((["a"], [[0.1, 0.9]]), {}, ValueError, r"y_true contains values \{'a'\} not belonging to the passed labels \[0, 1\]"),
    (([0, 7, 1, 9], [0.1, 0.2, 0.3, 0.4]), {}, ValueError, "y_true contains values .* not belonging to the passed labels"),
    (([0, 1], [[0.1, 0.2, 0.7]] * 2), {}, ValueError, "The number of classes in labels is different from that in y_prob"),
    (([0, 1], [0.1]), {}, ValueError, r"inconsistent numbers of samples: \[1, 2\]"),
    (([0, 1], [0.1, 1.5]), {}, ValueError, "y_prob contains values greater than 1: 1.5"),
    (([0, 1], [0.1, math.nan]), {}, ValueError, "Input contains NaN"),
    (([0, 1], [0.1, 0.2]), {"sample_weight": [1.0]}, ValueError, "inconsistent numbers of samples"),
    (([0, 1], [0.1, 0.2]), {"sample_weight": [1.0, math.inf]}, ValueError, "Input sample_weight contains infinity"),
    (([0, 1], [0.1, 0.2]), {"groups": ["a"]}, ValueError, r"groups has shape \(1,\); expected one label a row, \(2,\)"),
    (([0, 1], [0.1, 0.2]), {"groups": [["a"], ["b"]]}, ValueError, r"groups has shape \(2, 1\)"),
    (([0, 1], [0.1, 0.2]), {"groups": ["a", None]}, ValueError, r"groups\[1\] is missing \(None\); expected a label"),
    (([0, 1], [0.1, 0.2]), {"groups": [math.nan, 1.0]}, ValueError, r"groups\[0\] is missing \(nan\)"),
    (([0, 1], [0.1, 0.2]), {"groups": ["a", 1j]}, TypeError, "groups are strings and others: .*; expected labels that can"),
    (([0, 1], [0.1, 0.2]), {"groups": np.array(["a", 3], object)}, TypeError, "groups are .*; expected labels that can"),
    (([0, 1], [0.1, 0.2]), {"n_threads": 0}, ValueError, "n_threads must be at least 1"),
    (([0, 1], []), {}, ValueError, "0 sample"),
]


@pytest.mark.parametrize(("arguments", "options", "error", "message"), BAD)
def test_what_is_wrong_leaves_the_state(arguments, options, error, message):
    metric = LogLoss([0, 1]).update([0, 1], [0.3, 0.6], groups=["x", "y"])
    before = copy.copy(metric)
    with pytest.raises(error, match=message):
        metric.update(*arguments, **options)
    assert metric == before
    assert outcomes(metric) == outcomes(before)


@pytest.mark.slow
def test_a_bad_row_far_on_leaves_the_state(monkeypatch):
    """In a later piece of the pass, whichever way the labels are looked up."""
    monkeypatch.setattr(_log_loss, "PIECE", 1)
    for kind in ("int", "str", "far"):
        labels, y, p, _, groups = data(5000, 3, kind=kind)
        good = LogLoss(labels).update(y, p, groups=groups)
        assert good.result() == log_loss(y, p)
        wrong_y, wrong_p = y.copy(), p.copy()
        wrong_y[4321] = "zzz" if kind == "str" else 99
        wrong_p[4800, 1] = -0.5
        for arguments, message in (((wrong_y, p), "y_true contains values"), ((y, wrong_p), "values lower than 0: -0.5"),
                                   ((wrong_y, wrong_p), "values lower than 0: -0.5")):
            metric = LogLoss(labels)
            with pytest.raises(ValueError, match=message):
                metric.update(*arguments, groups=groups)
            with pytest.raises(ValueError, match=message):
                metric.update(*arguments)
            assert metric == LogLoss(labels)


def test_merges_of_what_does_not_belong_together():
    metric = LogLoss([0, 1]).update([0], [0.2])
    for other, message in ((LogLoss([0, 2]), r"other has the labels \[0, 2\]; expected \[0, 1\]"),
                           (LogLoss([0, 1], from_logits=True), "other has from_logits=True; expected False"),
                           (LogLoss([0, 1], by_class=False), "other has by_class=False; expected True")):
        with pytest.raises(ValueError, match=message):
            metric.merge(other)
        with pytest.raises(ValueError, match=message):
            metric + other
    with pytest.raises(TypeError, match="other must be a LogLoss, got float"):
        metric.merge(0.5)
    with pytest.raises(TypeError, match="unsupported operand"):
        metric + 0.5
    assert metric == LogLoss([0, 1]).update([0], [0.2])


def test_constructor():
    for labels, message in (([0], "needs to contain at least two labels"), ("ab", "labels are 'ab'; expected all classes"),
                            (None, "labels are None; expected"), ([], "y has 0 samples")):
        with pytest.raises(ValueError, match=message):
            LogLoss(labels)
    with pytest.warns(UserWarning, match="Labels passed were \\['b', 'a'\\]. But this function assumes") as told:
        metric = LogLoss(["b", "a"])
    assert told[0].filename == __file__
    assert metric.classes_.tolist() == ["a", "b"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")                         # said once is enough
        assert metric.update(["b"], [[0.1, 0.9]]).result() == pytest.approx(-math.log(0.9))
    with pytest.warns(UserWarning, match="y_prob values do not sum to one") as told:
        metric.update(["b"], [[0.1, 0.8]])
    assert told[0].filename == __file__
