# ruff: noqa: INP001 - read by Sphinx, no package
"""How the pages become a site: `make docs`. Nothing on a page is fetched from elsewhere."""

from importlib import metadata

project = "pipeline"
release = metadata.version("pipeline")
extensions = ["myst_parser"]
exclude_patterns = ["texts.toml"]
myst_heading_anchors = 3
highlight_language = "text"
nitpicky = True

html_theme = "furo"
html_title = "pipeline"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
