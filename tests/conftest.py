"""How the tests share the processors when pytest-xdist runs several at once."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Threads that wait for each other in one process must not spin while another one has work.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

    def pytest_collection_modifyitems(items):
        """The longest first: each worker begins with one of them, and the others fill up what is left of the time."""
        items.sort(key=lambda item: "test_all_on" not in item.name)
