"""The command xentc: what it prints in a pipe, its JSON, its exit statuses."""

import json
import re

import numpy as np
import predictions
import pytest
from predictions import COUNTRY, NEW, OLD, TABLE, TRUTH, WEIGHT, N

import xentc
from xentc import _bench, command_line, files
from xentc.command_line import main

SCORE_KEYS = [
    "schema", "command", "version", "log_loss", "standard_error", "low", "high", "level", "d2", "rows", "weight", "labels",
    "by_class", "by_group", "worst", "warnings", "failed",
]
LINE_KEYS = ["label", "rows", "weight", "log_loss", "standard_error", "share"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("predictions")
    predictions.write_into(path)
    return path


@pytest.fixture
def run(folder, capsys, monkeypatch):
    """Runs the command in the folder: status, stdout and stderr."""
    monkeypatch.chdir(folder)

    def call(*arguments):
        try:
            status = main(list(arguments))
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return call


def test_score_as_text(run):
    status, out, err = run(*TABLE, "--by", "country", "--worst", "2", "--weight", "w")
    assert (status, err) == (0, "")
    metric = xentc.LogLoss(["a", "b", "c"]).update(TRUTH, OLD, sample_weight=WEIGHT, groups=COUNTRY)
    low, high = metric.confidence_interval()
    head = f"log-loss  {metric.result():.6g} (95 % interval {low:.6g} to {high:.6g})\nD2        {metric.d2():.6g}\n"
    assert out.startswith(head)
    assert f"rows      {N:,}\nweight    {WEIGHT.sum():,}\n" in out
    assert f"by class\n{metric.by_class()}\n" in out
    assert f"by country\n{metric.by_group()}\n" in out
    losses = xentc.log_loss_per_sample(TRUTH, OLD)
    rows = re.findall(r"^(\d+) +(\w) +([\d.]+)$", out.partition("worst rows")[2], re.MULTILINE)
    assert [int(row[0]) for row in rows] == np.argsort(-losses)[:2].tolist()
    assert [row[1] for row in rows] == [TRUTH[int(row[0])] for row in rows]


def test_score_as_json(run):
    arguments = "score truth.npy old.npy --weight w.npy --labels a,b,c --worst 3 --json".split()
    status, out, err = run(*arguments)
    assert (status, err, out.count("\n")) == (0, "", 1)
    got = json.loads(out)
    assert list(got) == SCORE_KEYS
    metric = xentc.LogLoss(["a", "b", "c"]).update(TRUTH, OLD, sample_weight=WEIGHT)
    assert (got["schema"], got["command"], got["version"]) == (1, "score", xentc.__version__)
    assert got["log_loss"] == metric.result()
    assert (got["low"], got["high"]) == metric.confidence_interval()
    assert (got["d2"], got["rows"], got["weight"]) == (metric.d2(), N, WEIGHT.sum())
    assert [list(line) for line in got["by_class"]] == [LINE_KEYS] * 3
    assert got["by_class"][1]["log_loss"] == metric.by_class()["log_loss"][1]
    assert got["by_group"] is None
    assert [list(line) for line in got["worst"]] == [["file", "row", "label", "log_loss"]] * 3
    worst = np.argsort(-xentc.log_loss_per_sample(TRUTH, OLD))[:3].tolist()
    assert [line["row"] for line in got["worst"]] == worst
    assert run(*arguments)[1] == out
    assert json.loads(run(*TABLE, "--by", "country", "--json")[1])["by_group"][0]["label"] == "de"


def test_the_worst_rows_do_not_depend_on_batches(folder):
    options = type("Options", (), {"worst": 7, "from_logits": False})
    proba = OLD[np.arange(N) % 40]                              # many equal losses
    losses = xentc.log_loss_per_sample(TRUTH, proba)
    want = np.argsort(-losses, kind="stable")[:7].tolist()
    for size in (1, 10, 1000, N):
        worst = []
        for start in range(0, N, size):
            part = slice(start, start + size)
            batch = files.Batch(TRUTH[part], [proba[part]], None, None, "f", start, [("f", start)])
            worst = command_line._worst(worst, batch, start, np.array(["a", "b", "c"]), options)
        assert [row[3] for row in worst] == want


def test_compare(run):
    status, out, err = run("compare", "truth.npy", "old.npy", "new.npy")
    want = xentc.compare_log_loss(TRUTH, OLD, NEW)
    assert (status, out, err) == (0, f"{want!r}\n", "")
    got = json.loads(run("compare", "truth.npy", "old.npy", "new.npy", "--json", "--weight", "w.npy")[1])
    want = xentc.compare_log_loss(TRUTH, OLD, NEW, sample_weight=WEIGHT)
    names = ["log_loss_a", "log_loss_b", "difference", "standard_error", "low", "high", "level", "p_value"]
    assert list(got) == ["schema", "command", "version", *names, "rows", "warnings", "failed"]
    assert [got[name] for name in names] == [getattr(want, name) for name in names]
    two = run("compare", "t.parquet", "--target", "y", "--proba-a", "p_*", "--proba-b", "p_c, p_b, p_a", "--json")[1]
    assert json.loads(two)["difference"] == 0


def test_thresholds(run, folder):
    loss = xentc.log_loss(TRUTH, OLD)
    assert run(*TABLE, "--fail-above", str(loss))[::2] == (0, "")
    status, out, err = run(*TABLE, "--fail-above", "0.5", "--json")
    assert (status, err) == (1, f"xentc: failed: the log-loss of {loss!r} is above 0.5\n")
    assert json.loads(out)["failed"] == [f"the log-loss of {loss!r} is above 0.5"]
    (folder / "old.json").write_text(out)
    assert run(*TABLE, "--fail-if-worse-than", "old.json")[0] == 0
    status, _, err = run("score", "truth.npy", "new.npy", "--fail-if-worse-than", "old.json")
    assert status == 1
    assert re.fullmatch(rf"xentc: failed: the log-loss of \S+ is above the {loss} of old\.json\n", err)
    difference = xentc.compare_log_loss(TRUTH, OLD, NEW).difference
    assert run("compare", "truth.npy", "old.npy", "new.npy", "--fail-above", "1")[0] == 0
    status, _, err = run("compare", "truth.npy", "old.npy", "new.npy", "--fail-above", "0.001")
    assert (status, err) == (1, f"xentc: failed: B's log-loss minus A's is {difference!r}, above 0.001\n")
    numbers = ("null", "true", "NaN", "-Infinity", "1" * 400, '"1"')
    for text in ("{}", "no", "[]", "[" * 100_000, *(f'{{"log_loss": {number}}}' for number in numbers)):
        (folder / "bad.json").write_text(text)
        status, out, err = run(*TABLE, "--fail-if-worse-than", "bad.json")
        assert (status, out) == (2, "")
        assert err == 'xentc: bad.json has no number "log_loss"; expected what xentc score --json printed\n'


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("score none.npy old.npy", "xentc: none.npy does not exist"),
        ("score truth.npy w.npy --from-logits", "xentc: 'w' of w.npy has 1 probabilities a row; expected 3, one for each"),
        ("score t.parquet", "xentc: target is None; expected one of the columns of t.parquet"),
        ("score t.parquet --target y --proba q_*", "xentc: t.parquet has no column 'q_*' (proba); it has ['y', 'country'"),
        ("score t.parquet --target y --proba p_* --by z", "xentc: t.parquet has no column 'z' (by), and there is no such"),
        ("score truth.npy old.npy --labels a,b", "xentc: 'old' of old.npy has 3 probabilities a row; expected 2"),
        ("score truth.npy old.npy --labels a,b,d", "xentc: truth.npy, row "),
        ("score truth.npy old.npy --plot x.gif", "xentc: --plot is x.gif; expected a name that ends in .png, .svg or .html"),
        ("score truth.npy old.npy --fail-above nan", "xentc score: argument --fail-above: 'nan' is no finite number"),
        ("compare truth.npy old.npy new.npy --fail-above x", "xentc compare: argument --fail-above: 'x' is no finite"),
        ("score truth.npy old.npy --weight zero.npy", "xentc: Weights sum to zero, can't be normalized"),
        ("score truth.npy old.npy --labels a,b,b", "xentc: labels: labels are ['a', 'b', 'b']; expected each class once"),
        ("score truth.npy old.npy --level 2", "xentc score: argument --level: '2' is no number between 0 and 1"),
        ("score truth.npy old.npy --plot no/x.png", "xentc: --plot is no/x.png, in a folder that does not exist"),
        ("compare truth.npy old.npy", "xentc: the predictions of A are given, but not those of B"),
        ("score", "xentc score: the following arguments are required: data (see xentc score --help)"),
        ("score truth.npy old.npy --worst x", "xentc score: argument --worst: 'x' is no number of rows"),
        ("score truth.npy old.npy --what", "xentc: unrecognized arguments: --what"),
        ("", "xentc: the following arguments are required: command"),
        ("guess", "xentc: argument command: invalid choice: 'guess'"),
    ],
)
def test_bad_input(arguments, text, run, folder):
    np.save(folder / "zero.npy", np.zeros(N))
    status, out, err = run(*arguments.split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(text)


def test_a_damaged_file(run, folder):
    content = (folder / "t.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(content[:-100])
    status, out, err = run("score", "cut.parquet", "--target", "y", "--proba", "p_*", "--json")
    assert (status, out) == (2, "")
    assert err.startswith("xentc: cut.parquet cannot be read as parquet: ")


def test_warnings_are_said_once(run, folder):
    np.save(folder / "half.npy", OLD / 2)
    status, out, err = run("score", "truth.npy", "half.npy", "--json")
    text = "The y_prob values do not sum to one. Make sure to pass probabilities."
    assert (status, err) == (0, f"xentc: warning: {text}\n")
    assert json.loads(out)["warnings"] == [text]


def test_numbers_that_are_not_finite(run, folder):
    np.save(folder / "y1.npy", np.array([0]))
    np.save(folder / "p1.npy", np.array([0.5]))
    status, out, _ = run("score", "y1.npy", "p1.npy", "--labels", "0,1", "--json")
    assert status == 0
    got = json.loads(out)
    assert (got["standard_error"], got["d2"], got["by_class"][1]["log_loss"]) == (None, None, None)
    assert got["labels"] == [0, 1]


def test_losses_that_are_infinite(run, folder):
    """They pass every threshold."""
    np.save(folder / "yi.npy", np.array([0, 1]))
    np.save(folder / "xi.npy", np.array([1e308, 1e308]) * np.array([1, -1]))
    np.save(folder / "wi.npy", np.array([1e300, 1e300]))
    arguments = "score yi.npy xi.npy --weight wi.npy --from-logits --fail-above 1e308 --json"
    status, out, _ = run(*arguments.split())
    assert (status, json.loads(out)["log_loss"]) == (1, None)


def test_labels_control_no_terminal(run, folder):
    np.save(folder / "ye.npy", np.array(["\x1b[31mred", "b" * 50] * 5))
    np.save(folder / "pe.npy", np.full(10, 0.5))
    status, out, _ = run("score", "ye.npy", "pe.npy")
    assert status == 0
    assert "?[31mred" in out
    assert "bbbbb...bbbbb" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("suffix", ["png", "svg", "html"])
def test_pictures(suffix, run, folder):
    start = {"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!DOCTYPE html>"}[suffix]
    assert run(*TABLE, "--by", "country", "--plot", f"score.{suffix}")[0] == 0
    assert run("compare", "truth.npy", "old.npy", "new.npy", "--plot", f"compare.{suffix}")[0] == 0
    for name in ("score", "compare"):
        content = (folder / f"{name}.{suffix}").read_bytes()
        assert content.startswith(start)
        assert suffix != "html" or (b"<svg" in content and content.count(b"log-loss") >= 1)


def test_info(run):
    assert run("info")[1].startswith("versions:         xentc ")
    got = json.loads(run("info", "--json")[1])
    assert got["packages"]["numpy"] == np.__version__
    assert got["instruction_sets"] == xentc.show_config(mode="dicts")["instruction_sets"]


def test_bench(run, monkeypatch):
    monkeypatch.setattr(_bench, "_SECONDS", 0.01)
    cells = [(name, calls) for name, calls in _bench._cells() if "100x3" in name]
    monkeypatch.setattr(_bench, "_cells", lambda: cells)
    _, out, err = run("bench", "--json")
    got = json.loads(out)["cells"]
    assert err == ""
    assert [cell["cell"] for cell in got] == [name for name, _ in cells]
    assert all(time > 0 for cell in got for time in cell["milliseconds"].values())
    assert run("bench")[1].startswith("milliseconds")


@pytest.mark.parametrize("arguments", ["--help", "score --help", "compare --help", "bench -h", "info -h"])
def test_help_fits_a_screen(arguments, run):
    arguments = arguments.split()
    status, out, err = run(*arguments)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert arguments[0] not in ("--help", "score", "compare") or "examples:" in out
