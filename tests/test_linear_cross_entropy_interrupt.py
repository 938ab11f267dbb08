"""An interrupt, as by Ctrl-C, in a call of linear_cross_entropy."""

import _thread
import signal
import threading

import numpy as np
import pytest
from layers import blas_threads

from xentc import linear_cross_entropy


@pytest.mark.thread_unsafe
def test_an_interrupt_ends_a_call_and_leaves_no_limit(rng):
    before = blas_threads()
    hidden, weight = np.ones((200_000, 64), np.float32), np.ones((6000, 64), np.float32)

    def call_and_call():
        for _ in range(100):
            linear_cross_entropy(hidden, weight, np.zeros(200_000, int), return_grad=True)

    timer = threading.Timer(0.3, _thread.interrupt_main)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)       # a shell's background job has none
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            call_and_call()
    finally:
        timer.join()
        signal.signal(signal.SIGINT, handler)
    assert blas_threads() == before
