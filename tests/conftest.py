"""How the tests share the processors when pytest-xdist runs several at once, and what tests of several files are given."""

import os
import zlib

import numpy as np
import pytest

from xentc import _core, linear

os.environ.setdefault("MPLBACKEND", "Agg")  # no window opens

if "PYTEST_XDIST_WORKER" in os.environ:
    # Threads that wait for each other in one process must not spin while another one has work.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

    def pytest_collection_modifyitems(items):
        """The longest first: each worker begins with one of them, and the others fill up what is left of the time."""
        items.sort(key=lambda item: "test_all_on" not in item.name)


@pytest.fixture
def rng(request):
    """A test sees the same numbers whichever other tests run."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


@pytest.fixture(scope="session")
def c(tmp_path_factory):
    """The pieces of the C layer, of the instruction set in use."""
    from units import Units  # what it needs is not in a minimal install

    return Units(_core.build_info()["instruction_sets"]["chosen"], tmp_path_factory.mktemp("units"))


# How rows and classes of linear_cross_entropy are cut: each thread has rows, or threads share tiles of classes, which are
# added up in one part or several.
CUTS = {
    "rows": {},
    "many chunks": {"_FEW_ROWS": 1, "_PARTS": 1 << 20},
    "classes": {"_SMALL_WEIGHT": 0},
    "one part": {"_SMALL_WEIGHT": 0, "_PARTS": 1},
    "short blocks": {"_SMALL_WEIGHT": 0, "_LOGITS": 1 << 13},
}


@pytest.fixture(params=CUTS)
def cut(request, monkeypatch):
    for name, value in CUTS[request.param].items():
        monkeypatch.setattr(linear, name, value)
    return request.param


@pytest.fixture
def closed_figures():
    """Figures are drawn without a window, and closed after the test."""
    from matplotlib import pyplot  # what is not in a minimal install

    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")
