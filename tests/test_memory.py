"""Where memory is short: small stacks of threads, and none left."""

import os
import subprocess
import sys
import textwrap

import pytest

# A thread needs what NumPy needs, which is less than the first figure, and that much more.
NUMPY_KILOBYTES, MORE_KILOBYTES = 32, 64

# Every loop, in rows of which few or many are in a group, in elements that are read as they are or copied.
CALLS = """
    import functools, os, sys, threading, warnings
    import numpy as np, scipy.sparse, xentc
    from xentc import special
    warnings.simplefilter("ignore")

    def calls(k, dtype, order, n_threads):
        n = 130 if k < 1000 else 9
        rng = np.random.default_rng(k)
        x = np.asarray(rng.standard_normal((n, k)), dtype, order=order)
        y, t = rng.integers(0, k, n), rng.random((n, k))
        p = np.asarray(np.abs(x) / np.abs(x).sum(axis=1, keepdims=True), dtype, order=order)
        grad = functools.partial(dict, return_grad=True, n_threads=n_threads)
        for target in (y, t, t.astype(dtype), t.astype(np.float16), scipy.sparse.csr_array(t)):
            xentc.cross_entropy(x, target, **grad())
            xentc.cross_entropy(x, target, **grad(label_smoothing=0.1, out_grad=np.empty(x.shape, np.float16)))
            xentc.cross_entropy(x, target, **grad(focal_gamma=1.5, z_loss=0.1, return_hess=True))
            xentc.categorical_cross_entropy(p, target, **grad(normalize_rows=True, eps=1e-7))
            xentc.nll_loss(x, target, **grad())
            if target is not y:
                xentc.kl_divergence(x, target, **grad())
        xentc.cross_entropy(x.astype(np.float16), y, **grad(return_hess=True))
        xentc.perplexity(x, y, n_threads=n_threads)
        xentc.binary_cross_entropy_with_logits(x, t, **grad(focal_gamma=2.0, return_hess=True))
        xentc.binary_cross_entropy(p, t, **grad())
        for function in (special.softmax, special.log_softmax, special.logsumexp):
            function(x, axis=1, n_threads=n_threads)
        if k > 1:
            xentc.set_num_threads(n_threads)
            xentc.log_loss(y, p, labels=range(k))
            xentc.d2_log_loss_score(y, p, labels=range(k))
            xentc.log_loss_per_sample(np.eye(k, dtype=int)[y], p)
            xentc.log_loss(y.astype(str), p, labels=sorted(map(str, range(k))))
        xentc.ExactMean().add(x)

    def all_calls(n_threads=1):
        for itemsize, dtype in ((8, np.float64), (4, np.float32)):
            for k in xentc._core.kernel_shapes(itemsize)["classes"]:
                if k < 20_000:
                    for order in "CF":
                        calls(k, dtype, order, n_threads)
                        calls(k + 1, dtype, order, n_threads)
    """


def run(code, command=(sys.executable,), **environment):
    done = subprocess.run(
        [*command, "-c", textwrap.dedent(CALLS) + textwrap.dedent(code)], capture_output=True, text=True, check=False,
        env={**os.environ, **environment}, cwd=os.path.dirname(sys.executable),
    )
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr[-2000:]


@pytest.mark.slow
def test_threads_of_python_with_small_stacks():
    run(f"""
        threading.stack_size({(NUMPY_KILOBYTES + MORE_KILOBYTES) * 1024})
        thread = threading.Thread(target=all_calls)
        thread.start()
        thread.join()
        print("done")
        """)


@pytest.mark.slow
def test_threads_of_openmp_with_small_stacks():
    run("all_calls(n_threads=2); print('done')", OMP_STACKSIZE="64K", OMP_WAIT_POLICY="passive")


@pytest.mark.skipif(any(hasattr(finder, "_build_path") for finder in sys.meta_path),
                    reason="an editable install, which builds on import: the tools of that need more stack")
@pytest.mark.slow
def test_a_process_with_a_small_stack():
    run("all_calls(n_threads=2); print('done')", ["sh", "-c", 'ulimit -s 128 && exec "$0" "$@"', sys.executable])


def test_no_memory_is_a_memory_error():
    """Whichever allocation of a call fails: the result is the right one, or there is a MemoryError. Not of all that is
    around it: CPython 3.13 itself crashes where it has no memory for a frame."""
    pytest.importorskip("_testcapi")
    run("""
        import _testcapi
        x, y = np.random.default_rng(0).standard_normal((40, 300)), np.arange(40)
        sums, counts = np.zeros((1, 4, xentc._core.SUM_SIZE), np.int64), np.zeros(1, np.int64)
        def loss():
            call = xentc._core.Call(x, None, 2)
            call.set_target(y)
            return call.cross_entropy()
        def moments():
            sums[...], counts[...] = 0, 0
            call = xentc._core.Call(x[0], None, 2, with_classes=False)
            call.set_sums(sums, counts)
            call.values()
            return sums.tobytes()
        for function in (loss, moments):
            want = function()
            failed = 0
            for first in range(400):
                try:
                    _testcapi.set_nomemory(first, first + 1)
                    got = function()
                except MemoryError:
                    failed += 1
                    continue
                finally:
                    _testcapi.remove_mem_hooks()
                assert got == want
            assert 0 < failed < 400
        print("done")
        """)
