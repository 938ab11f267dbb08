"""The list of the reference, written from `__all__` before autosummary reads it: what is public has a page."""

import importlib
import inspect
import re
from pathlib import Path

import xentc

# The public names of xentc by the module that has them.
GROUPS = {
    "xentc.metrics": ("Evaluate", "As scikit-learn does, from probabilities or from decision values."),
    "xentc.evaluation": ("Data in pieces, and how sure it is", "With tables by class and group."),
    "xentc.comparison": ("Two models compared", "Row by row, with an interval."),
    "xentc.calibration": ("Calibration", "What a log-loss is made of, and the temperature that mends it."),
    "xentc.losses": ("Losses and their gradients", "From logits or probabilities, as in deep-learning frameworks."),
    "xentc.linear": ("A linear layer and its loss", "Whose logits are never stored (extra ``linear``)."),
    "xentc._exact": ("Exact sums", "What the losses are added up with."),
    "xentc._config": ("Threads, and what was built", "``OMP_NUM_THREADS`` and ``XENTC_ISA`` work too."),
}
MODULES = ["xentc.special", "xentc.files", "xentc.plotting", "xentc.scorers", "xentc.dask"]
HEAD = """\
API reference
=============

Every public name, from its docstring.

.. currentmodule:: xentc
"""


def section(title, text, names):
    table = "\n".join(f"   {name}" for name in names)
    return f"{title}\n{'-' * len(title)}\n\n{text}\n\n.. autosummary::\n   :toctree: .\n   :nosignatures:\n\n{table}\n"


def page():
    public = [name for name in xentc.__all__ if not inspect.ismodule(getattr(xentc, name))]
    home = {name: getattr(xentc, name).__module__ for name in public}
    parts = [section(*text, [name for name in public if home[name] == module]) for module, text in GROUPS.items()]
    others = [name for name in public if home[name] not in GROUPS]
    if others:
        parts.append(section("Others", "Of modules that have no heading here yet.", others))
    returned = [
        f"{module.removeprefix('xentc.')}.{name}" for module in ("xentc.evaluation", "xentc.comparison", "xentc.calibration")
        for name in importlib.import_module(module).__all__ if name not in public
    ]
    parts.append(section("What these return", "Made by the functions above.", returned))
    for module in MODULES:
        parts.append(section(module, f".. automodule:: {module}\n   :no-members:", importlib.import_module(module).__all__))
    return "\n".join([HEAD, *parts])


def write(app, config):
    path = Path(app.srcdir, "reference", "index.rst")
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text() != page():
        path.write_text(page())


def resolve(app, env, node, contnode):
    """Docstrings of the submodules name what they use of xentc without its name."""
    if node.get("refdomain") != "py" or not (node.get("py:module") or "").startswith("xentc"):
        return None
    return env.domains["py"].resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], f"xentc.{node['reftarget']}", node, contnode
    )


def escape_initials(app, what, name, obj, options, lines):
    """References begin with an author's initial, which looks like the number of a list."""
    lines[:] = [re.sub(r"^(\s*)([A-Z]\. )", r"\1\\\2", line) for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", escape_initials, priority=900)    # numpydoc before
    app.connect("config-inited", write)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
