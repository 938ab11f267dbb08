"""If you run one file, run this: the main calls, on numbers that anyone can check."""

import math
import subprocess
import sys
import sysconfig

import numpy as np
import pytest

import xentc


def test_log_loss():
    assert xentc.log_loss([0, 1, 1], [0.25, 0.5, 0.75]) == pytest.approx(-(2 * math.log(0.75) + math.log(0.5)) / 3)


def test_cross_entropy_of_the_textbook_example():
    # PyTorch's CrossEntropyLoss in float64 gives 0.8178186621560152; the exact value is 0.81781866215601527.
    loss = xentc.cross_entropy([[0.1, 0.4, 0.5], [0.8, 0.1, 0.1]], [2, 0])
    assert loss == pytest.approx(0.8178186621560152, rel=2**-52)
    assert loss == 0.8178186621560153


def test_categorical_cross_entropy_is_minus_the_mean_of_y_log_p():
    y = np.array([[0, 1, 0], [1, 0, 0], [0.2, 0.3, 0.5]])
    p = np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25], [0.3, 0.3, 0.4]])
    assert xentc.cross_entropy(np.log(p), y) == pytest.approx(-(y * np.log(p)).sum() / 3, rel=1e-15)


def test_binary_cross_entropy_is_log_loss_of_a_vector():
    y, p = np.array([1, 0, 1, 0]), np.array([0.9, 0.2, 0.4, 0.6])
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert xentc.log_loss(y, p) == pytest.approx(expected, rel=1e-15)
    assert xentc.log_loss(y, np.log(p / (1 - p)), from_logits=True) == pytest.approx(expected, rel=1e-14)


def test_a_confident_row_keeps_its_digits():
    assert xentc.cross_entropy([[0.0, 50.0]], [1]) == pytest.approx(math.exp(-50), rel=1e-15)


def test_gradient_descends():
    x, y = np.array([[1.0, -1.0, 0.5], [0.0, 2.0, -2.0]]), np.array([1, 0])
    before, grad = xentc.cross_entropy(x, y, return_grad=True)
    assert xentc.cross_entropy(x - 0.1 * grad, y) < before
    np.testing.assert_allclose(grad.sum(axis=1), 0, atol=1e-16)


def test_losses_add_up_in_any_order():
    total, reverse = xentc.ExactMean(), xentc.ExactMean()
    values = [0.1, 1e16, 0.2, -1e16, 0.3]
    total.add(values)
    reverse.add(values[::-1])
    assert total.sum() == reverse.sum() == math.fsum(values)


def test_build():
    config = xentc.show_config(mode="dicts")
    assert config["versions"]["xentc"] == xentc.__version__
    assert config["threads"]["number"] >= 1


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="for free-threaded Python")
def test_the_lock_stays_off():
    subprocess.run([sys.executable, "-P", "-c", "import sys, xentc; assert not sys._is_gil_enabled()"], check=True)
