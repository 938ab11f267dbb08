"""ONNX's published node vectors: softmax cross-entropy, negative log-likelihood, softmax, log-softmax, logsumexp."""

import warnings
from collections import Counter

import numpy as np
import pytest

from xentc import cross_entropy, nll_loss, special

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    onnx = pytest.importorskip("onnx")
    from onnx.backend.test.case.node import collect_testcases

    ALL = collect_testcases(None)

EXPECTED = {
    "SoftmaxCrossEntropyLoss": 34, "NegativeLogLikelihoodLoss": 18, "LogSoftmax": 7, "Softmax": 7, "ReduceLogSumExp": 9,
}


def operator(case):
    if case.model is None or "_expanded" in case.name or len(case.model.graph.node) != 1:
        return None
    return case.model.graph.node[0].op_type


CASES = {case.name: case for case in ALL if operator(case) in EXPECTED}


def attributes(case):
    return {a.name: onnx.helper.get_attribute_value(a) for a in case.model.graph.node[0].attribute}


def check(got, want, case):
    got = np.asarray(got)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=case.rtol, atol=case.atol)


def losses(case, function, inputs, outputs):
    options = attributes(case)
    weight = inputs[2] if len(inputs) > 2 else None
    got = function(
        inputs[0], inputs[1], class_weight=weight, ignore_index=options.get("ignore_index"), axis=1,
        reduction=options.get("reduction", b"mean").decode(),
    )
    check(got, outputs[0], case)


def run(case, inputs, outputs):
    name, options = operator(case), attributes(case)
    if name == "SoftmaxCrossEntropyLoss":
        losses(case, cross_entropy, inputs, outputs)
        if len(outputs) > 1:
            check(special.log_softmax(inputs[0], axis=1), outputs[1], case)
    elif name == "NegativeLogLikelihoodLoss":
        losses(case, nll_loss, inputs, outputs)
    elif name in ("Softmax", "LogSoftmax"):
        function = special.softmax if name == "Softmax" else special.log_softmax
        check(function(inputs[0], axis=options.get("axis", -1)), outputs[0], case)
    else:
        axes = tuple(int(a) for a in inputs[1]) if len(inputs) > 1 and inputs[1].size else None
        axes = tuple(options["axes"]) if "axes" in options else axes
        check(special.logsumexp(inputs[0], axis=axes, keepdims=bool(options.get("keepdims", 1))), outputs[0], case)


@pytest.mark.parametrize("name", sorted(CASES))
def test_vector(name):
    case = CASES[name]
    assert case.data_sets
    for inputs, outputs in case.data_sets:
        run(case, inputs, outputs)


def test_all_vectors_are_there():
    assert Counter(operator(case) for case in CASES.values()) == EXPECTED
