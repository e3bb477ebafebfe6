"""The makers of the generated pages, one module a page; `generate.py` beside this folder runs them."""
