"""`/v1/models`: what the catalogue says of a model, and its pages."""

from collections.abc import Mapping
from typing import Any

from pipeline.standin.models import MODELS, ModelFacts, find_model
from pipeline.standin.paging import window
from pipeline.standin.problems import Problem

__all__ = ["describe", "page"]

_KINDS = ("adaptive", "between_tools", "disabled", "enabled")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")


def describe(name: str) -> dict[str, Any]:
    """The model of an id or alias.

    Raises:
        Problem: 404 for an unknown one.
    """
    facts = find_model(name)
    if facts is None:
        raise Problem.not_found(f"model: {name}")
    return {
        "type": "model",
        "id": facts.id,
        "display_name": f"{facts.id.replace('-', ' ').title()} (stand-in)",
        "created_at": "1970-01-01T00:00:00Z",  # the API's own value for a date that is not known
        "lifecycle": "deprecated" if facts.retires_at else "active",
        "deprecated_at": None,
        "retires_at": facts.retires_at,
        "max_input_tokens": facts.context,
        "max_tokens": facts.max_tokens,
        "line": facts.id.split("-")[1],
        "capabilities": _capabilities(facts),
    }


def page(query: Mapping[str, str]) -> dict[str, Any]:
    """A page of models: `limit` (1 to 1000, 20 by default), after or before an id.

    Raises:
        Problem: 400 for a bad parameter or an id that is not in the list.
    """
    found, more = window(list(MODELS), query, "model")
    return {
        "data": [describe(name) for name in found],
        "has_more": more,
        "first_id": found[0] if found else None,
        "last_id": found[-1] if found else None,
    }


def _capabilities(facts: ModelFacts) -> dict[str, Any]:
    def support(known: bool) -> dict[str, bool]:
        return {"supported": known}

    return {
        "batch": support(True),
        "citations": support(False),
        "code_execution": support(False),
        "context_management": support(False),
        "effort": {**support(facts.effort), **{level: support(facts.effort) for level in _EFFORTS}},
        "image_input": support(True),
        "pdf_input": support(False),
        "server_tools": {**support(False), "code_execution": support(False), "web_search": support(False)},
        "structured_outputs": support(True),
        "thinking": {**support(True), "types": {kind: support(kind in facts.thinking) for kind in _KINDS}},
    }
