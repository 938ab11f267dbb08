"""Python layer: `xentc bench` and `xentc info`: how quick this machine is, and what it has."""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import xentc
from xentc import _report
from xentc.evaluation import Table

# What may be installed beside this package.
_PACKAGES = ("numpy", "scipy", "scikit-learn", "pyarrow", "matplotlib", "rich", "torch")

# For each cell and library of the benchmark.
_SECONDS = 0.5


def bench(options: argparse.Namespace, progress: _report.Progress) -> int:
    cells = []
    for name, calls in _cells():
        cells.append({"cell": name, "milliseconds": {library: _best(call) for library, call in calls.items()}})
    libraries = list(dict.fromkeys(library for cell in cells for library in cell["milliseconds"]))
    columns = {"milliseconds": np.array([cell["cell"] for cell in cells], object)}
    for library in libraries:
        times = [cell["milliseconds"].get(library) for cell in cells]
        columns[library] = np.array(["" if t is None else f"{t:.3g}" if t < 100 else f"{t:,.0f}" for t in times], object)
    return _report.finish(_report.header("bench") | {"cells": cells}, options.json, lambda: [("", Table(columns))])


def _cells() -> Any:
    """Names, and for each library that is installed the call."""
    rng = np.random.default_rng(0)
    others = _libraries()
    for n, k in ((100, 3), (1_000_000, 2), (1_000_000, 10)):
        x = rng.random((n, k))
        proba, y = x / x.sum(axis=1, keepdims=True), rng.integers(0, k, n)
        calls: dict[str, Any] = {"xentc": lambda y=y, p=proba: xentc.log_loss(y, p)}
        if "scikit-learn" in others:
            calls["scikit-learn"] = lambda y=y, p=proba: others["scikit-learn"](y, p)
        yield f"log_loss {n}x{k} float64", calls
    for n, k in ((100, 3), (1_000_000, 10), (20_000, 1000)):
        logits, y = rng.standard_normal((n, k), np.float32), rng.integers(0, k, n)
        calls = {"xentc": lambda x=logits, y=y: xentc.cross_entropy(x, y)}
        if "scipy" in others:
            calls["scipy"] = lambda x=logits, y=y: (others["scipy"](x, axis=1) - x[np.arange(len(y)), y]).mean()
        if "torch" in others:
            tensors = others["torch"].from_numpy(logits), others["torch"].from_numpy(y)
            calls["torch"] = lambda t=tensors: others["torch"].nn.functional.cross_entropy(*t)
        yield f"cross_entropy {n}x{k} float32", calls


def _libraries() -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        from sklearn.metrics import log_loss

        found["scikit-learn"] = log_loss
    except ImportError:
        pass
    try:
        from scipy.special import logsumexp

        found["scipy"] = logsumexp
    except ImportError:
        pass
    try:
        import torch

        found["torch"] = torch
    except ImportError:
        pass
    return found


def _best(call: Callable[[], Any]) -> float:
    """Milliseconds: the best run."""
    end, best, runs = time.perf_counter() + _SECONDS, math.inf, 0
    while runs < 2 or (time.perf_counter() < end and runs < 1000):
        start = time.perf_counter()
        call()
        best, runs = min(best, time.perf_counter() - start), runs + 1
    return 1e3 * best


def info(options: argparse.Namespace, progress: _report.Progress) -> int:
    packages: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = None
    if options.json:
        return _report.finish(_report.header("info") | xentc.show_config(mode="dicts") | {"packages": packages}, True, list)
    xentc.show_config()
    print("packages:        ", ", ".join(f"{name} {version or '(missing)'}" for name, version in packages.items()))
    return 0
