"""Pages that hold everything they need: style and scripts inside, and a policy that allows these and nothing else.

Captions, ids, paths and messages are data. They come into a page through the template engine, which escapes them, or
as JSON in a block that is never run; the policy names the hashes of the page's own scripts and style, so that whatever
slipped through would not run, load or send anything.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["PageParts", "asset", "page_parts", "rendered"]


@dataclass(frozen=True, slots=True)
class PageParts:
    """What a template puts into a page as it is."""

    policy: str
    style: Markup
    scripts: tuple[Markup, ...]


def asset(name: str) -> str:
    """One of the files that pages are made of."""
    return files("pipeline.faces").joinpath("assets", *name.split("/")).read_text("utf-8")


def page_parts(styles: Sequence[str], scripts: Sequence[str], *, more: str = "img-src data:") -> PageParts:
    """Style and scripts by their assets' names, with the policy that allows them.

    Args:
        styles: joined into one element.
        scripts: an element each.
        more: what the policy allows besides.
    """
    style = "\n".join(asset(name) for name in styles)
    codes = [asset(name) for name in scripts]
    policy = (
        f"default-src 'none'; {more}; style-src {_hash(style)}; script-src {' '.join(map(_hash, codes))}; "
        "base-uri 'none'; form-action 'none'"
    )
    return PageParts(policy, Markup(style), tuple(map(Markup, codes)))  # noqa: S704 - files of this package


def rendered(template: str, **values: Any) -> str:
    """A page from a template among the assets."""
    return _ENVIRONMENT.get_template(template).render(**values)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_ENVIRONMENT = Environment(
    autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(asset)
)
_ENVIRONMENT.policies["json.dumps_kwargs"] = {
    "ensure_ascii": False,
    "separators": (",", ":"),
}  # in the order of columns
