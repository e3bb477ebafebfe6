"""Pages that hold everything they need."""

import base64
import hashlib
import re

import pytest
from jinja2 import UndefinedError

from pipeline.faces.page import asset, page_parts, rendered

STYLES = ["base.css"]
SCRIPTS = ["gallery.js", "report.js"]


def test_the_policy_allows_the_pages_own_scripts_and_style_alone() -> None:
    """By their hashes; nothing is asked of any host, and no form is sent."""
    parts = page_parts(STYLES, SCRIPTS)
    for text in (*parts.scripts, parts.style):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in parts.policy
    assert parts.policy.startswith("default-src 'none'; img-src data:;")
    assert "form-action 'none'" in parts.policy
    assert "unsafe" not in parts.policy


def test_assets_can_stand_inside_a_page() -> None:
    """None of them ends the element that it is put into, or loads anything."""
    for name in ("gallery.js", "report.js", "view.js", "compare.js"):
        assert "</script" not in asset(name).lower()
        assert "<!--" not in asset(name)
    for name in ("base.css", "charts.css", "view.css", "compare.css"):
        assert "</style" not in asset(name).lower()
        assert not re.search(r"url\(|@import", asset(name))


def test_a_template_says_what_it_lacks() -> None:
    """A name that nobody gave is an error, not a blank."""
    with pytest.raises(UndefinedError):
        rendered("report.html.j2", page=page_parts(STYLES, SCRIPTS))
