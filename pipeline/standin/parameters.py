"""What a body may ask of a model beside its messages: sampling, thinking, effort, tools, structured output."""

import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from pipeline.standin.models import ModelFacts
from pipeline.standin.problems import Problem
from pipeline.standin.schemas import check_schemas
from pipeline.standin.shapes import Kinds, check_choice, check_fields

__all__ = ["COUNTED", "FIELDS", "check_parameters"]

_NULL = type(None)
COUNTED: Mapping[str, Kinds] = {
    "system": (str, list),
    "thinking": dict,
    "output_config": dict,
    "tools": list,
    "tool_choice": dict,
    "cache_control": (dict, _NULL),
    "speed": (str, _NULL),
}
"""Optional fields of a count."""
FIELDS: Mapping[str, Kinds] = {
    **COUNTED,
    "metadata": dict,
    "stop_sequences": list,
    "stream": bool,
    "service_tier": str,
    "inference_geo": (str, _NULL),
    "diagnostics": (dict, _NULL),
    "temperature": (int, float),
    "top_p": (int, float),
    "top_k": int,
}
"""Optional fields of a message."""
_WITHOUT_SAMPLING = "2026-10-21"
_SAMPLING_DEFAULTS = {"temperature": 1, "top_p": 1, "top_k": None}
_THINKING: Mapping[str, tuple[Mapping[str, Kinds], Mapping[str, Kinds]]] = {
    "adaptive": ({"type": str}, {"display": (str, _NULL)}),
    "enabled": ({"type": str, "budget_tokens": int}, {"display": (str, _NULL)}),
    "disabled": ({"type": str}, {}),
    "between_tools": ({"type": str}, {}),
}
_LEAST_BUDGET = 1024
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MOST_STRICT = 20
_OWN_TOOL = re.compile(r"(computer|text_editor|bash)_\d{8}")
"""Tools that the service describes itself; their options are theirs."""


def check_parameters(body: Mapping[str, Any], model: ModelFacts, version: str) -> None:
    """Checks everything beside the messages.

    Raises:
        Problem: 400 that names the field.
    """
    _plain(body)
    _sampling(body, model, version)
    _output_config(body.get("output_config"), model)
    _thinking(body, model)
    _tools(body.get("tools") or [])
    _tool_choice(body, model)
    check_schemas(_schemas(body))


def _plain(body: Mapping[str, Any]) -> None:
    if "metadata" in body:
        check_fields(body["metadata"], "metadata", {}, {"user_id": (str, _NULL)})
    if body.get("diagnostics") is not None:
        check_fields(body["diagnostics"], "diagnostics", {}, {"previous_message_id": (str, _NULL)})
    for index, text in enumerate(body.get("stop_sequences") or ()):
        if not isinstance(text, str) or not text.strip():
            raise Problem.invalid(f"stop_sequences.{index}: each stop sequence must contain non-whitespace")
    check_choice(body.get("service_tier", "auto"), "service_tier", ("auto", "standard_only"))
    check_choice(body.get("speed") or "standard", "speed", ("standard",))
    if body.get("stream"):
        raise Problem.invalid("stream: this server answers whole messages only")
    if body.get("inference_geo") is not None:
        raise Problem.invalid("inference_geo: this server has no regions")


def _sampling(body: Mapping[str, Any], model: ModelFacts, version: str) -> None:
    for name, default in _SAMPLING_DEFAULTS.items():
        if name in body and version >= _WITHOUT_SAMPLING:
            raise Problem.invalid(f"{name}: Extra inputs are not permitted")
        if name in body and not model.sampling and body[name] != default:
            raise Problem.invalid(f"{name}: this parameter is deprecated for this model")
    for name in ("temperature", "top_p"):
        if not 0 <= body.get(name, 1) <= 1:
            raise Problem.invalid(f"{name}: Input should be between 0 and 1")
    if body.get("top_k", 0) < 0:
        raise Problem.invalid("top_k: Input should be greater than or equal to 0")
    if "haiku-4-5" in model.id and "temperature" in body and "top_p" in body:
        raise Problem.invalid("temperature and top_p cannot both be specified for this model")


def _output_config(config: object, model: ModelFacts) -> None:
    if config is None:
        return
    given = check_fields(config, "output_config", {}, {"effort": (str, _NULL), "format": (dict, _NULL)})
    if given.get("effort") is not None:
        check_choice(given["effort"], "output_config.effort", _EFFORTS)
        if not model.effort:
            raise Problem.invalid("output_config.effort: this model does not support the effort parameter")
    if given.get("format") is not None:
        check_fields(given["format"], "output_config.format", {"type": str, "schema": dict}, {})
        check_choice(given["format"]["type"], "output_config.format.type", ("json_schema",))


def _thinking(body: Mapping[str, Any], model: ModelFacts) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking.get("type")
    check_choice(kind, "thinking.type", tuple(_THINKING))
    required, optional = _THINKING[kind]
    check_fields(thinking, f"thinking.{kind}", required, optional)
    check_choice(thinking.get("display") or "omitted", f"thinking.{kind}.display", ("summarized", "omitted"))
    if kind not in model.thinking:
        raise Problem.invalid(f"thinking.type: '{kind}' is not supported on this model")
    effort = (body.get("output_config") or {}).get("effort")
    if kind == "disabled" and model.cautious and effort in ("xhigh", "max"):
        raise Problem.invalid(f"thinking.type: 'disabled' is not supported on this model with effort '{effort}'")
    if kind == "enabled":
        _budget(thinking["budget_tokens"], body)


def _budget(budget: int, body: Mapping[str, Any]) -> None:
    if budget < _LEAST_BUDGET:
        raise Problem.invalid(f"thinking.enabled.budget_tokens: Input should be at least {_LEAST_BUDGET}")
    if "max_tokens" in body and budget >= body["max_tokens"]:
        raise Problem.invalid("max_tokens must be greater than thinking.budget_tokens")
    if body.get("temperature", 1) != 1 or "top_k" in body:
        raise Problem.invalid("temperature may only be set to 1, and top_k not at all, when thinking is enabled")


def _tools(tools: list[object]) -> None:
    required: Mapping[str, Kinds] = {"name": str, "input_schema": dict}
    optional: Mapping[str, Kinds] = {
        "type": (str, _NULL),
        "description": str,
        "strict": bool,
        "cache_control": (dict, _NULL),
        "input_examples": list,
    }
    names = set()
    for index, tool in enumerate(tools):
        where = f"tools.{index}"
        if _is_own(tool):
            names.add(tool["name"])
            continue
        given = check_fields(tool, where, required, optional)
        check_choice(given.get("type") or "custom", f"{where}.type", ("custom",))
        if not _TOOL_NAME.fullmatch(given["name"]):
            raise Problem.invalid(f"{where}.name: String should match pattern '^{_TOOL_NAME.pattern}$'")
        if given["input_schema"].get("type") != "object":
            raise Problem.invalid(f"{where}.input_schema.type: Input should be 'object'")
        names.add(given["name"])
    if len(names) != len(tools):
        raise Problem.invalid("tools: Tool names must be unique.")


def _is_own(tool: object) -> TypeGuard[dict[str, Any]]:
    return (
        isinstance(tool, dict)
        and _OWN_TOOL.fullmatch(str(tool.get("type"))) is not None
        and isinstance(tool.get("name"), str)
        and "input_schema" not in tool
    )


def _tool_choice(body: Mapping[str, Any], model: ModelFacts) -> None:
    if "tool_choice" not in body:
        return
    choice, tools = body["tool_choice"], body.get("tools") or []
    kind = choice.get("type")
    check_choice(kind, "tool_choice.type", ("auto", "any", "tool", "none"))
    named: Mapping[str, Kinds] = {"name": str} if kind == "tool" else {}
    check_fields(
        choice, "tool_choice", {"type": str, **named}, {} if kind == "none" else {"disable_parallel_tool_use": bool}
    )
    if not tools:
        raise Problem.invalid("tool_choice: may only be specified while providing tools")
    if kind == "tool" and choice["name"] not in [tool["name"] for tool in tools]:
        raise Problem.invalid(f"tool_choice: Tool '{choice['name']}' not found in provided tools")
    if kind in ("any", "tool"):
        if not model.forced_tools:
            raise Problem.invalid("tool_choice: forced tool use is not supported on this model")
        if (body.get("thinking") or {}).get("type") == "enabled":
            raise Problem.invalid("Thinking may not be enabled when tool_choice forces tool use.")


def _schemas(body: Mapping[str, Any]) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    output = (body.get("output_config") or {}).get("format")
    if output is not None:
        found.append(("output_config.format.schema", output["schema"]))
    strict = [
        (f"tools.{index}.input_schema", tool["input_schema"])
        for index, tool in enumerate(body.get("tools") or [])
        if tool.get("strict")
    ]
    if len(strict) > _MOST_STRICT:
        raise Problem.invalid(f"tools: at most {_MOST_STRICT} strict tools are allowed, found {len(strict)}")
    return [*found, *strict]
