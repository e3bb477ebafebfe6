"""What each model takes beside its messages, and what it refuses."""

from typing import Any

import pytest

from pipeline.standin.models import find_model
from pipeline.standin.parameters import check_parameters
from pipeline.standin.problems import Problem

OLD, NEW = "2023-06-01", "2026-10-21"
HAIKU, SONNET_45, OPUS_45 = "claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5"
SIX, OPUS_47 = "claude-sonnet-4-6", "claude-opus-4-7"
SONNET_55, HAIKU_55, OPUS_5, FABLE = "claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-5", "claude-fable-5-1"
TOOL = {"name": "record", "input_schema": {"type": "object", "properties": {}}}
CLOSED = {"type": "object", "properties": {}, "additionalProperties": False}
FORMAT = {"format": {"type": "json_schema", "schema": CLOSED}}
FORCED = {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "record"}}
BUDGET = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


def check(model: str, body: dict[str, Any], version: str = OLD) -> None:
    """Checks these fields for this model."""
    facts = find_model(model)
    assert facts is not None
    check_parameters({"max_tokens": 4000, **body}, facts, version)


TAKEN = [
    (HAIKU, {"temperature": 0.0, "top_k": 5}),
    (SONNET_45, {"temperature": 1, "top_p": 0.9}),
    (SIX, {"top_p": 0.5, "stop_sequences": ["END"], "service_tier": "standard_only", "metadata": {"user_id": None}}),
    (OPUS_47, {"temperature": 1}),
    (SONNET_45, BUDGET),
    (SIX, {"thinking": {"type": "adaptive", "display": "omitted"}}),
    (SONNET_55, {"thinking": {"type": "between_tools"}, "output_config": {"effort": "low"}}),
    (HAIKU_55, {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}),
    (OPUS_45, {"output_config": {"effort": "low"}}),
    (HAIKU, {"output_config": FORMAT}),
    (HAIKU, FORCED),
    (FABLE, {"tools": [TOOL], "tool_choice": {"type": "auto"}}),
    (HAIKU, {"tools": [{**TOOL, "strict": True, "input_schema": CLOSED}]}),
]
REFUSED = [
    (OPUS_47, {"temperature": 0.5}, "temperature"),
    (HAIKU_55, {"top_k": 1}, "top_k"),
    (HAIKU, {"temperature": 1.5}, "temperature"),
    (HAIKU, {"top_p": -0.1}, "top_p"),
    (HAIKU, {"top_k": -1}, "top_k"),
    (HAIKU, {"temperature": 0.5, "top_p": 0.5}, "both"),
    (HAIKU, {"thinking": {"type": "adaptive"}}, "thinking.type"),
    (OPUS_47, BUDGET, "thinking.type"),
    (SONNET_55, {"thinking": {"type": "disabled"}}, "thinking.type"),
    (FABLE, {"thinking": {"type": "between_tools"}}, "thinking.type"),
    (HAIKU, {"thinking": {"type": "perhaps"}}, "thinking.type"),
    (HAIKU, {"thinking": {"type": "disabled", "budget_tokens": 2000}}, "thinking.disabled.budget_tokens"),
    (HAIKU, {"thinking": {"type": "enabled", "budget_tokens": 1023}}, "1024"),
    (HAIKU, {"thinking": {"type": "enabled", "budget_tokens": 4000}}, "max_tokens"),
    (HAIKU, {**BUDGET, "temperature": 0.3}, "temperature"),
    (OPUS_5, {"thinking": {"type": "disabled"}, "output_config": {"effort": "max"}}, "effort"),
    (HAIKU, {"output_config": {"effort": "low"}}, "effort"),
    (OPUS_45, {"output_config": {"effort": "huge"}}, "effort"),
    (HAIKU, {"output_config": {"format": {"type": "json", "schema": CLOSED}}}, "output_config.format.type"),
    (HAIKU, {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}, "schema"),
    (HAIKU, {"output_config": {"verbosity": "low"}}, "output_config.verbosity"),
    (SONNET_55, FORCED, "forced"),
    (SONNET_45, {**FORCED, **BUDGET}, "Thinking"),
    (HAIKU, {"tool_choice": {"type": "any"}}, "tools"),
    (HAIKU, {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "other"),
    (HAIKU, {"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
    (HAIKU, {"tools": [TOOL, TOOL]}, "unique"),
    (HAIKU, {"tools": [{**TOOL, "name": "two words"}]}, "tools.0.name"),
    (HAIKU, {"tools": [{**TOOL, "input_schema": {"type": "string"}}]}, "input_schema"),
    (HAIKU, {"tools": [{**TOOL, "strict": True}]}, "additionalProperties"),
    (HAIKU, {"stop_sequences": ["ok", " "]}, "stop_sequences.1"),
    (HAIKU, {"service_tier": "priority"}, "service_tier"),
    (HAIKU, {"metadata": {"email": "x"}}, "metadata.email"),
    (HAIKU, {"stream": True}, "stream"),
    (HAIKU, {"speed": "fast"}, "speed"),
]


@pytest.mark.parametrize(("model", "body"), TAKEN)
def test_what_the_model_takes_passes(model: str, body: dict[str, Any]) -> None:
    """Documented combinations are accepted under the older version."""
    check(model, body)


@pytest.mark.parametrize(("model", "body", "word"), REFUSED)
def test_what_the_model_refuses_is_named(model: str, body: dict[str, Any], word: str) -> None:
    """A combination that the service answers with 400 is one here, and the message names the field or the reason."""
    with pytest.raises(Problem) as caught:
        check(model, body)
    assert caught.value.status == 400
    assert word in caught.value.message


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_the_newer_version_has_no_sampling_at_all(name: str) -> None:
    """Even a default value of a sampling parameter is refused under 2026-10-21."""
    check(SIX, {name: 1})
    with pytest.raises(Problem, match=name):
        check(SIX, {name: 1}, NEW)


def test_more_than_twenty_strict_tools_are_refused() -> None:
    """The limit on strict tools holds for the request."""
    tools = [{"name": f"t{n}", "strict": True, "input_schema": CLOSED} for n in range(21)]
    check(HAIKU, {"tools": tools[:20]})
    with pytest.raises(Problem, match="20 strict tools"):
        check(HAIKU, {"tools": tools})


def test_a_count_may_think_without_a_cap() -> None:
    """`count_tokens` has no `max_tokens` for the budget to stay below."""
    facts = find_model(HAIKU)
    assert facts is not None
    check_parameters(BUDGET, facts, OLD)
