"""How Sphinx builds the pages: CONTRIBUTING.md has the command. Nothing is fetched, neither here nor by the pages."""

import os
import sys
import warnings
from importlib.metadata import version as version_of
from pathlib import Path

from docutils.nodes import Text, literal_block

# The examples multiply small matrices: on a busy processor threads that spin while they wait take most of the time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

sys.path.append(str(Path(__file__).parent / "_extensions"))

project, author, copyright = "xentc", "the authors of xentc", "the authors of xentc"
version = release = version_of("xentc")

extensions = [
    "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_parser", "sphinx_gallery.gen_gallery",
    "sphinx_copybutton", "llms_txt", "mathml", "public_names",
]
templates_path = ["_templates"]
exclude_patterns = ["_extensions", "gallery/backreferences", "gallery/*.ipynb"]

# ---- References: every one must be found, but for those to other projects, whose lists of names are on the network.

nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(collections|dask|math|matplotlib|numpy|pandas|scipy|sklearn|typing)\..*")]
default_role = "code"

# ---- Docstrings.

autodoc_typehints = "none"                                     # numpydoc's parameters say it in words
autosummary_generate = True
toc_object_entries_show_parents = "hide"
autosummary_filename_map = {"xentc.files.Batches": "xentc.files.Batches-class"}    # files.batches differs in case only
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# ---- Pages in Markdown.

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

# ---- Examples: those of clusters and of several processes are shown, and not run.

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/(?!joblib|ray|spark)\w+\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": False,
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("xentc",),
    "reference_url": {"xentc": None},
    "reset_argv": "gallery_arguments.folder",
    "remove_config_comments": True,
    "write_computation_times": False,
    "show_signature": False,
    "download_all_examples": False,
    "capture_repr": (),
}
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")

# ---- The site.

html_theme = "pydata_sphinx_theme"
html_title = "xentc"
html_static_path = ["_static"]
html_css_files = ["xentc.css"]
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
html_sidebars = {"start": [], "performance": [], "how_it_works": [], "contributing": [], "changes": []}
html_theme_options = {
    "logo": {"text": "xentc"},
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": {"*": ["page-toc"], "[!c]*/*": ["page-toc"], "coming_from/*": []},    # whose tables are wide
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True


def without_last_line(app, doctree):
    """Examples in Markdown end with an empty line, for doctest."""
    for block in doctree.findall(literal_block):
        block.rawsource = block.rawsource.rstrip()
        block[:] = [Text(block.astext().rstrip())]


def setup(app):
    app.connect("doctree-read", without_last_line)
