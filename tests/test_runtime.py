"""The process around a call: threads, forks, signals, floating-point modes, imports."""

import io
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from native import COMPILER
from threadpoolctl import threadpool_limits

import xentc
from xentc import _config, _core, cross_entropy

WITHOUT_OPENMP = pytest.mark.skipif(not _core.build_info()["openmp"], reason="built without OpenMP")
X = np.random.default_rng(0).standard_normal((20_000, 10))
Y = np.random.default_rng(1).integers(0, 10, 20_000)


def run(code, timeout=60, **environment):
    """The output of a fresh interpreter, started where no folder named xentc can be found."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env={**os.environ, **environment}, timeout=timeout, text=True,
        capture_output=True, cwd=os.path.dirname(sys.executable), check=False,
    )


def threads(code="", **environment):
    done = run(f"import os, xentc\n{code}\nprint(xentc.get_num_threads())", **environment)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


# ---- Threads.


@WITHOUT_OPENMP
def test_limits_are_obeyed():
    cpus = len(os.sched_getaffinity(0))
    assert threads(OMP_NUM_THREADS="1") == 1
    assert threads(OMP_NUM_THREADS="3") == min(3, cpus)
    assert threads("os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})") == 1
    assert threads("xentc.set_num_threads(1)") == 1
    with threadpool_limits(1):
        assert xentc.get_num_threads() == 1
        assert xentc.show_config(mode="dicts")["threads"] == {"number": 1, "from": "OpenMP's limit"}


def test_set_num_threads():
    try:
        xentc.set_num_threads(1)
        assert xentc.get_num_threads() == 1
        assert xentc.show_config(mode="dicts")["threads"]["from"] == "set_num_threads"
        with pytest.raises(ValueError, match="n must be at least 1, got 0"):
            xentc.set_num_threads(0)
        with pytest.raises(TypeError, match="n must be an integer, got 'two'"):
            xentc.set_num_threads("two")
    finally:
        xentc.set_num_threads(None)


def test_set_num_threads_in_a_with_block(monkeypatch):
    monkeypatch.setattr(_config, "_limit", 8)
    with xentc.set_num_threads(2) as nothing:
        assert nothing is None
        assert _config._limit == 2
        with xentc.set_num_threads(None):
            assert _config._limit is None
            with pytest.raises(ValueError, match="n must be at least 1"), xentc.set_num_threads(0):
                pass
            assert _config._limit is None
        assert _config._limit == 2
    assert _config._limit == 8
    with pytest.raises(ZeroDivisionError), xentc.set_num_threads(1):
        raise ZeroDivisionError
    assert _config._limit == 8

    one = xentc.set_num_threads(1)
    assert _config._limit == 1, "at once"
    assert repr(one) == "set_num_threads(1)"
    for _ in range(2):
        xentc.set_num_threads(3)
        with one:
            assert _config._limit == 1
            xentc.set_num_threads(4)
        assert _config._limit == 8, "what was there before the call"


QUOTA = "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"
PERIOD = "/sys/fs/cgroup/cpu/cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"/sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"/sys/fs/cgroup/cpu.max": "1000 100000\n"}, 1),
        ({"/sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"/sys/fs/cgroup/cpu.max": ""}, None),
        ({QUOTA: "300000\n", PERIOD: "100000\n"}, 3),
        ({QUOTA: "-1\n", PERIOD: "100000\n"}, None),
        ({QUOTA: "300000\n"}, None),
        ({}, None),
    ],
)
def test_quotas_of_cgroups(monkeypatch, files, cpus):
    """Of both versions, absent and unlimited ones too."""

    def opened(path):
        if path not in files:
            raise FileNotFoundError
        return io.StringIO(files[path])

    monkeypatch.setattr(_config, "open", opened, raising=False)
    assert _config._cgroup_quota.__wrapped__() == cpus
    monkeypatch.setattr(_config, "_cgroup_quota", lambda: 1)
    assert xentc.get_num_threads() == 1


def test_more_threads_than_rows():
    assert cross_entropy(X[:3], Y[:3], n_threads=64) == cross_entropy(X[:3], Y[:3])


@WITHOUT_OPENMP
def test_more_threads_than_a_machine_has():
    done = run("""
        import os
        import numpy, xentc
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        x, y = numpy.ones((128 * 64, 2)), numpy.zeros(128 * 64, int)
        before = len(os.listdir("/proc/self/task"))
        xentc.cross_entropy(x, y, n_threads=10**6)
        print(len(os.listdir("/proc/self/task")) - before)
    """)
    assert done.returncode == 0, done.stderr
    assert 1 <= int(done.stdout) <= 8 - 1, "eight a CPU at the most, and one is there already"


def test_many_python_threads_at_once():
    want = cross_entropy(X, Y, return_grad=True)
    wrong = []

    def hammer():
        for _ in range(8):
            loss, grad = cross_entropy(X, Y, return_grad=True, n_threads=2)
            if loss != want[0] or not np.array_equal(grad, want[1]):
                wrong.append(loss)

    workers = [threading.Thread(target=hammer) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_labels_written_while_they_are_read_are_never_out_of_bounds():
    y = Y.copy()
    stop = threading.Event()

    def scribble():
        while not stop.is_set():
            y[:] = 10**12
            y[:] = 3

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        for _ in range(30):
            try:
                loss = cross_entropy(X, y, return_grad=True)[0]
            except ValueError as error:
                assert "but logits have 10 classes" in str(error)  # noqa: PT017 - either outcome is right
            else:
                assert np.isfinite(loss)
    finally:
        stop.set()
        writer.join()


# ---- Forks and signals.


def test_a_forked_child_works_after_the_parent_used_threads():
    done = run("""
        import os
        import numpy as np, xentc
        x, y = np.random.default_rng(0).standard_normal((20_000, 10)), np.zeros(20_000, int)
        want = xentc.cross_entropy(x, y, n_threads=2)
        child = os.fork()
        if child == 0:
            os._exit(0 if (xentc.cross_entropy(x, y, n_threads=2), xentc.get_num_threads()) == (want, 1) else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """)
    assert done.stdout.strip() == "0", done.stderr


def test_ctrl_c_ends_a_long_call():
    # Seconds of work, over rows that share their memory; a timer interrupts it after a moment.
    done = run("""
        import signal, time
        import numpy as np, xentc
        x = np.broadcast_to(np.random.default_rng(0).standard_normal(1000), (20_000_000, 1000))
        y = np.broadcast_to(np.int64(0), (20_000_000,))
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        start = time.perf_counter()
        try:
            xentc.cross_entropy(x, y)
        except KeyboardInterrupt:
            print(time.perf_counter() - start)
        """)
    assert done.returncode == 0, done.stderr
    assert 0.3 <= float(done.stdout) < 10  # the whole call takes longer than that on anything that runs this


# ---- The floating-point environment.


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="writes x86's control word")
@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")
@pytest.mark.parametrize("n_threads", [1, 2])
def test_flush_to_zero_of_another_library_changes_nothing(tmp_path, n_threads):
    source = tmp_path / "flush.c"
    swap = "unsigned swap(unsigned c) { unsigned old = _mm_getcsr(); _mm_setcsr(c); return old; }"
    source.write_text(f"#include <xmmintrin.h>\n{swap}")
    library = tmp_path / "flush.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    done = run(f"""
        import ctypes
        import numpy as np, xentc
        swap = ctypes.CDLL({str(library)!r}).swap
        x = np.array([[0.0, 720.0, 1e-310]] * 5000)
        def call():
            options = {{"reduction": "none", "return_grad": True, "n_threads": {n_threads}}}
            loss, grad = xentc.cross_entropy(x, np.ones(5000, int), **options)
            return loss.tobytes() + grad.tobytes()
        want = call()
        swap(0x1f80 | 0x8040 | 0x4000)          # flush to zero, denormals are zero, round up
        got = call()
        after = swap(0x1f80)
        print(got == want, hex(after & ~0x3f))
        """)
    assert done.stdout.split() == ["True", hex(0x1F80 | 0x8040 & ~0x3F | 0x4000)], done.stderr


def test_we_do_not_switch_it_on():
    cross_entropy(X, Y)
    assert np.float64(5e-324) * 1.0 == 5e-324


# ---- Import.


def test_an_unusable_instruction_set_is_an_import_error():
    done = run("import xentc", XENTC_ISA="mmx")
    assert done.returncode != 0
    usable = ", ".join(_core.build_info()["instruction_sets"]["usable"])
    assert f"ImportError: XENTC_ISA is 'mmx', but the instruction sets usable here are {usable}" in done.stderr


@pytest.mark.parametrize("name", _core.build_info()["instruction_sets"]["usable"])
def test_every_usable_instruction_set_can_be_chosen(name):
    done = run("import xentc; print(xentc.show_config(mode='dicts')['instruction_sets']['chosen'])", XENTC_ISA=name)
    assert done.stdout.strip() == name


def test_the_source_folder_says_what_to_do(tmp_path):
    package = tmp_path / "xentc"
    package.mkdir()
    (package / "__init__.py").write_text(Path(xentc.__file__).read_text())
    # Without site, whose hooks find the extension module of an editable install.
    done = subprocess.run([sys.executable, "-S", "-c", "import xentc"], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=False)
    assert "extension module is missing" in done.stderr
    assert "pip install ." in done.stderr


def test_import_starts_no_thread_and_imports_little():
    done = run("""
        import sys, numpy
        before = set(sys.modules)
        import os, xentc
        print(len(os.listdir("/proc/self/task")))
        print(sorted(m.split(".")[0] for m in set(sys.modules) - before if m.split(".")[0] in
              ("scipy", "sklearn", "pandas", "matplotlib", "importlib_metadata")))
        """, OMP_NUM_THREADS="4", OPENBLAS_NUM_THREADS="1")
    assert done.stdout.split() == ["1", "[]"], done.stderr


def test_show_config_prints(capsys):
    xentc.show_config()
    out = capsys.readouterr().out
    assert xentc.__version__ in out
    assert _core.build_info()["instruction_sets"]["chosen"] in out
    with pytest.raises(ValueError, match='mode must be "stdout" or "dicts"'):
        xentc.show_config(mode="json")


@pytest.mark.parametrize("rows", [[10], [150_001], [399_999], [250_000, 399_999]])
def test_the_first_invalid_row_is_named_whichever_thread_finds_it(rows):
    x, target = np.zeros((400_000, 3)), np.zeros(400_000, np.int64)
    target[rows] = 3
    for _ in range(5):
        with pytest.raises(ValueError, match=rf"target\[{rows[0]}\] is 3"):
            xentc.cross_entropy(x, target, n_threads=2)
