"""What an ExactMean is saved as: which states are read, and that damaged ones end in an error."""

import copy
import pickle

import numpy as np
import pytest

from xentc import ExactMean


def state_of(*values):
    total = ExactMean()
    total.add(list(values))
    return total.__getstate__()


def with_sums(**changes):
    """A state with some of its integers exchanged."""
    state = state_of(1.0, 2.5)
    sums = np.frombuffer(state["sums"], np.int64).copy().reshape(2, -1)
    for place, value in changes.items():
        sums[0, int(place[1:].replace("m", "-"))] = value
    return {**state, "sums": sums.tobytes()}


def with_count(count):
    return {**state_of(1.0), "counts": np.int64(count).tobytes()}


DAMAGED = {
    "none": (None, "the state of an ExactMean is None"),
    "list": ([1], r"the state of an ExactMean is \[1\]"),
    "key missing": ({"version": 1, "count": 0}, "expected a dict of version, counts, n_sums, sums"),
    "key too many": ({**state_of(1.0), "more": 1}, "expected a dict of version, counts, n_sums, sums"),
    "version": ({**state_of(1.0), "version": 2}, "saved in format 2; this xentc reads 1"),
    "huge version": ({**state_of(1.0), "version": 10**5000}, "saved in format <int of 16610 bits>"),
    "version of another kind": ({**state_of(1.0), "version": np.array([1, 2])}, "saved in format array"),
    "n_sums": ({**state_of(1.0), "n_sums": 3}, "the n_sums of an ExactMean is 3; expected 2 or 4"),
    "sums of another number": ({**state_of(1.0), "n_sums": 4}, "are 1136 bytes; expected 2272 bytes"),
    "negative count": (with_count(-1), "a count of an ExactMean is -1; expected an integer"),
    "huge count": (with_count(2**45), "a count of an ExactMean is 35184372088832; expected an integer"),
    "integer as counts": ({**state_of(1.0), "counts": 1}, "the counts of an ExactMean are 1; expected 8 bytes"),
    "array": ({**state_of(1.0), "sums": np.zeros((2, 71), np.int64)}, r"the sums of an ExactMean are array\("),
    "short": ({**state_of(1.0), "sums": bytes(8)}, "the sums of an ExactMean are 8 bytes; expected 1136 bytes"),
    "text": ({**state_of(1.0), "sums": "0" * 1136}, "the sums of an ExactMean are '000"),
    "count of nothing": (with_count(0), "are no sums of 0 values: the state is damaged"),
    "chunk too large": (with_sums(c3=2**62), "are no sums of 2 values"),
    "chunk too small": (with_sums(c3=-(2**62)), "are no sums of 2 values"),
    "last chunk": (with_sums(c66=5), "are no sums of 2 values"),
    "infinities below 0": (with_sums(c67=-1), "are no sums of 2 values"),
    "more infinities than values": (with_sums(c68=5), "are no sums of 2 values"),
    "nans below 0": (with_sums(c69=-(2**63)), "are no sums of 2 values"),
    "pending below 0": (with_sums(c70=-1), "are no sums of 2 values"),
    "pending too many": (with_sums(c70=1000), "are no sums of 2 values"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_states_of_exact_means(case):
    state, message = DAMAGED[case]
    total = ExactMean()
    total.add([0.5])
    with pytest.raises(ValueError, match=message):
        total.__setstate__(state)
    assert (total.sum(), total.count) == (0.5, 1)  # as it was


@pytest.mark.parametrize("scale", [1.0, 1e300, 5e-324, -1.0, -1e300])
def test_states_that_additions_make_are_read(scale):
    total = ExactMean()
    moments = ExactMean(second_moment=True)
    for n in (0, 1, 7, 1000, 1001, 20_000):
        total.add(np.random.default_rng(n).standard_normal(n) * scale, np.random.default_rng(n).random(n))
        total.add([np.inf, -np.inf, np.nan][: n % 4], [2.0] * min(n % 4, 3))
        again = pickle.loads(pickle.dumps(total))
        assert again.__getstate__() == total.__getstate__()
        again.merge(total)
        pickle.loads(pickle.dumps(again))
        moments.add(np.random.default_rng(n).standard_normal(n) * scale, np.random.default_rng(n).random(n))
        assert pickle.loads(pickle.dumps(moments)) == moments


def test_an_exact_mean_without_a_state_is_empty():
    new = ExactMean.__new__(ExactMean)
    assert (new.sum(), new.count) == (0.0, 0)


def test_copies_of_subclasses():
    class Named(ExactMean):
        pass

    total = Named()
    total.add([1.0, 2.0])
    for other in (copy.copy(total), copy.deepcopy(total)):
        assert type(other) is Named
        assert other.sum() == 3.0
