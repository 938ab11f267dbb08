"""The command xentc in processes of its own: at a terminal, in pipes that close, interrupted, without what is optional."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import predictions
import pytest
from predictions import OLD, TABLE, TRUTH

import xentc

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("predictions")
    predictions.write_into(path)
    return path


COMMAND = [sys.executable, "-P", "-m", "xentc"]


def environment(**more):
    # The package that is tested here, not the folder of its source.
    path = os.pathsep.join([str(Path(xentc.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "TERM": "xterm-256color", **more}


def run(folder, *arguments, **more):
    return subprocess.run([*COMMAND, *arguments], cwd=folder, env=environment(), text=True, check=False, **more)


FAILS = (*TABLE, "--fail-above", "0")


@pytest.mark.parametrize(
    ("arguments", "both", "status"), [(TABLE, False, 0), (FAILS, False, 1), (FAILS, True, 1), (["--help"], False, 0)]
)
def test_a_closed_pipe_is_quiet(arguments, both, status, folder):
    """Where stderr goes into it too, the status is still that of the threshold."""
    read, write = os.pipe()
    os.close(read)
    done = run(folder, *arguments, stdout=write, stderr=write if both else subprocess.PIPE)
    os.close(write)
    assert done.returncode == status
    assert both or re.fullmatch("" if status == 0 else r"xentc: failed: .*\n", done.stderr)


def test_no_stdout_and_no_stderr(folder):
    """They are closed, or lead to a full disk."""
    for closed in (">&-", "2>&-"):
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, *FAILS], cwd=folder, env=environment(), capture_output=True,
            text=True, check=False,
        )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = run(folder, *TABLE, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (2, "xentc: [Errno 28] No space left on device\n")


def test_nothing_but_the_result_in_a_pipe(folder):
    done = run(folder, *TABLE, "--json", capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["log_loss"] == xentc.log_loss(TRUTH, OLD)


def at_a_terminal(folder, arguments, stdout=True, **more):
    """What appears at a terminal, and the exit status."""
    control, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, env=environment(**more), stdin=terminal, stderr=terminal,
        stdout=terminal if stdout else subprocess.DEVNULL,
    )
    os.close(terminal)
    seen = b""
    while select.select([control], [], [], 300)[0]:
        try:
            part = os.read(control, 65536)
        except OSError:                                        # its end
            break
        if not part:
            break
        seen += part
    os.close(control)
    return seen.decode(), process.wait()


@pytest.mark.parametrize("columns", ["80", "160"])
def test_at_a_terminal(columns, folder):
    pytest.importorskip("rich")
    seen, status = at_a_terminal(folder, [*TABLE, "--by", "country"], COLUMNS=columns, NO_COLOR="1")
    assert status == 0
    assert "rows/s" in seen
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
    assert "by country" in plain
    assert "─" in plain
    assert max(map(len, re.split(r"[\r\n]+", plain))) <= int(columns)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", seen)         # no colour


def test_at_a_narrow_terminal(folder):
    """Numbers are not cut."""
    pytest.importorskip("rich")
    seen, status = at_a_terminal(folder, TABLE, COLUMNS="30", NO_COLOR="1")
    assert status == 0
    for line in str(xentc.LogLoss(["a", "b", "c"]).update(TRUTH, OLD).by_class()).splitlines()[1:]:
        assert line.split()[3] in seen.split()


def test_progress_goes_to_stderr(folder):
    """Also without rich, and where stdout goes elsewhere."""
    (folder / "plain").mkdir(exist_ok=True)
    (folder / "plain" / "rich.py").write_text("raise ImportError\n")
    seen, status = at_a_terminal(folder, TABLE, stdout=False, PYTHONPATH=os.pathsep.join(
        [str(folder / "plain"), environment()["PYTHONPATH"]]
    ))
    assert status == 0
    assert re.search(r"3,000 rows, [\d,]+ rows/s, 0 s left", seen)
    assert seen.endswith("\r\x1b[K")
    assert "log-loss" not in seen


# Reads row by row, and says when it does.
SLOWLY = """
import sys, time
from xentc import _npy, command_line

def read(self, columns, n_rows, whole=_npy.Npy.read):
    for piece in whole(self, columns, 1):
        print("reading", file=sys.stderr, flush=True)
        time.sleep(0.05)
        yield piece

_npy.Npy.read = read
sys.exit(command_line.main())
"""


def test_interrupted(folder):
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", SLOWLY, "score", "truth.npy", "old.npy", "--labels", "a,b,c"], cwd=folder,
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    for _ in range(6):
        assert process.stderr.readline() == "reading\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert re.search(r"^xentc: interrupted after \d+ rows\n\Z", err, re.MULTILINE)
    assert "Traceback" not in err


def test_without_pyarrow_and_scipy(folder):
    """Arrays need neither; tables say what is missing."""
    hidden = folder / "hidden"
    hidden.mkdir(exist_ok=True)
    for name in ("pyarrow", "scipy", "rich", "matplotlib"):
        (hidden / f"{name}.py").write_text(f"raise ImportError('no {name}')\n")
    env = environment()
    env["PYTHONPATH"] = os.pathsep.join([str(hidden), env["PYTHONPATH"]])

    def run(*arguments):
        return subprocess.run([*COMMAND, *arguments], cwd=folder, env=env, capture_output=True, text=True)

    got = run("score", "truth.npy", "old.npy")
    assert (got.returncode, got.stderr) == (0, "")
    assert re.match(r"log-loss  [\d.]+ \(standard error [\d.]+\)\n", got.stdout)
    got = run(*TABLE)
    assert (got.returncode, got.stdout) == (2, "")
    assert got.stderr == 'xentc: xentc.files needs pyarrow for tables: pip install "xentc[files]"\n'
    got = run("compare", "truth.npy", "old.npy", "new.npy")
    assert (got.returncode, got.stdout) == (2, "")
    assert got.stderr == 'xentc: intervals and p-values need SciPy: pip install "xentc[stats]"\n'
    got = run("score", "truth.npy", "old.npy", "--plot", "x.png")
    assert (got.returncode, got.stdout) == (2, "")
    assert got.stderr == 'xentc: --plot needs matplotlib: pip install "xentc[plot]"\n'
