"""What NumPy alone is enough for. tools/versions.sh runs it where nothing else is installed."""

import os
import subprocess
import sys
import textwrap

import pytest

OTHERS = ["dask", "matplotlib", "ml_dtypes", "pandas", "polars", "pyarrow", "rich", "scipy", "sklearn", "threadpoolctl"]


def run_alone(code, folder):
    """The output of an interpreter for which the other packages are not there."""
    start = f"import sys\nsys.modules.update(dict.fromkeys({OTHERS}))\nimport numpy as np, xentc\n"
    return subprocess.run([sys.executable, "-c", start + textwrap.dedent(code)], cwd=folder, env=dict(os.environ), text=True,
                          capture_output=True, check=False)


def test_all_functions(tmp_path):
    done = run_alone("""
        from xentc import special
        x, y = np.arange(12.0).reshape(4, 3) % 5, np.array([0, 1, 2, 1])
        p = special.softmax(x, axis=1)
        for loss, rows in ((xentc.cross_entropy, x), (xentc.categorical_cross_entropy, p), (xentc.nll_loss, np.log(p))):
            loss(rows, y, return_grad=True)
        xentc.kl_divergence(x, p), xentc.perplexity(x, y), special.log_softmax(x, axis=1), special.logsumexp(x, axis=1)
        xentc.binary_cross_entropy(p, p > 0.5), xentc.binary_cross_entropy_with_logits(x, p > 0.5)
        for labels in (y, list("abcb"), np.array(list("abcb"), object)):
            xentc.log_loss(labels, p), xentc.d2_log_loss_score(labels, p), xentc.log_loss_per_sample(labels, p)
        metric = xentc.LogLoss(list("abc")).update(list("abcb"), p, groups=list("xyxy"))
        print(metric.by_group(), metric.by_class(), metric.result() == xentc.log_loss(y, p))
        xentc.show_config()
    """, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "True" in done.stdout


def test_files_of_numpy(tmp_path):
    done = run_alone("""
        from xentc import command_line, files
        np.save("y.npy", np.array([0, 1, 1])), np.save("p.npy", np.array([0.1, 0.8, 0.7]))
        print(files.score("y.npy", "p.npy").result() == xentc.log_loss([0, 1, 1], [0.1, 0.8, 0.7]))
        sys.exit(command_line.main(["score", "y.npy", "p.npy"]))
    """, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "True" in done.stdout


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("from xentc import scorers", "sklearn"),
        ("xentc.fit_temperature([[0.0, 1.0], [1.0, 0.0], [0.0, 2.0]], [1, 0, 0])", "stats"),
        ("from xentc.plotting import LogLossDisplay; LogLossDisplay.from_predictions([0, 1], [0.2, 0.9])", "plot"),
        ("from xentc import files; open('t.csv', 'w').write('y,p\\n0,0.1\\n'); files.score('t.csv', target='y', proba='p')",
         "files"),
        ("from xentc import dask", "dask"),
        ("xentc.linear_cross_entropy(np.eye(2), np.eye(2), [0, 1])", "linear"),
    ],
)
def test_an_extra_that_is_not_installed_is_named(code, extra, tmp_path):
    done = run_alone(code, tmp_path)
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert "ImportError" in error or "ModuleNotFoundError" in error
    assert f"xentc[{extra}]" in error
