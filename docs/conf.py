"""How the pages are built: `uv run sphinx-build -W --keep-going docs dist/docs`, then open dist/docs/index.html.

Nothing is asked of the network, neither when the pages are built nor when they are read: formulas become MathML, fonts
are those of the reader, and the search works on pages that lie on a disk.
"""

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "decision_phases"
author = "The decision-phases authors"
copyright = author
version = release = installed("decision-phases")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated", "mathml", "sources"]
source_suffix = {".md": "markdown", ".ipynb": "markdown"}
exclude_patterns = ["extensions"]

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
default_role = "literal"  # `x` in docstrings is code, as in Markdown
autodoc_typehints = "none"  # docstrings say shapes in words
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"decision_phases {release}"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_search_summary = False  # it would fetch pages, which a browser refuses on a disk
