"""Settings of Sphinx; what pages take from the code and from recorded results is made by the extensions in `_ext`."""

import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import marlx

project = "marlx"
author = "the marlx authors"
copyright = author  # noqa: A001  (Sphinx's word)
release = version = marlx.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "docstrings",
    "mathml",
    "generated",
]
exclude_patterns = ["methods/*", "environments/*"]  # parts of the pages of these names
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
default_role = "code"
highlight_language = "none"  # what docstrings set apart is an equation or a table
smartquotes = False  # options begin with two hyphens

autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
toc_object_entries = False  # contents of pages list modules; hundreds of names would be no help

# Types of other projects are named, not linked: their pages are elsewhere, and a build needs no network.
nitpick_ignore_regex = [
    (
        "py:.*",
        r"(abc|argparse|chex|collections|distrax|enum|flax|jax|matplotlib|np|npt|numpy|optax|pandas|pa|pathlib|pd|pyarrow|rich)\..*",
    ),
    ("py:.*", r"marlx.*\._\w+"),  # private bases
    ("py:.*", r"marlx\.algorithms\.learner\.State|marlx_envs\.discovery\.E"),  # type variables
    ("py:class", r"Figure|Params"),  # imported for type checkers alone
]
suppress_warnings = ["ref.python"]  # `range` is a builtin, and a field of two classes

html_theme = "furo"
html_title = f"marlx {release}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["marlx.css"]
html_show_sourcelink = html_copy_source = False
