"""Sphinx configuration; built with warnings as errors by `make docs`."""

project = "leadline"
author = "The leadline authors"
copyright = "2026, The leadline authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "leadline"
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}
napoleon_numpy_docstring = True
napoleon_use_ivar = True
exclude_patterns = ["_build"]
nb_execution_mode = "cache"  # notebooks run when they change
nb_execution_raise_on_error = True
nb_execution_timeout = 300
