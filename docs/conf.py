"""The documentation site: `make docs` builds it."""

import sys
from pathlib import Path

import chunkscale

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "chunkscale"
author = "The chunkscale developers"
copyright = f"2026, {author}"
version = release = chunkscale.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "command_line",
    "drawing",
    "public_names",
]
exclude_patterns = ["_build"]
# Names in backticks of docstrings are words as often as links; other references must be right.
nitpicky = True
nitpick_ignore_regex = [("py:obj", ".*")]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

# A name in backticks is a link where there is something to link to, and else a word.
default_role = "autolink"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False

# Prompts and what commands print are not copied.
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

html_theme = "pydata_sphinx_theme"
html_title = "chunkscale"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
# Pages without pages below them have nothing to list at their side.
html_sidebars = {
    name: []
    for name in ("changelog", "comparison", "glossary", "how-it-works", "install", "tutorial")
}
