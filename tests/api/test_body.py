"""The constant part of a body, for every model and setting."""

from typing import Any

import pytest

from pipeline.api.body import body_settings
from pipeline.api.catalogue import Catalogue
from pipeline.settings import Config


def config(
    model: str = "claude-haiku-4-5", max_tokens: int = 300, prompt: dict[str, Any] | None = None, **api: Any
) -> Config:
    """The least configuration with this."""
    return Config.model_validate(
        {
            "manifest": {"path": "m.csv"},
            "api": {"model": model, "max_tokens": max_tokens, **api},
            "prompt": {"user": "Describe.", **(prompt or {})},
            "output": {"path": "out"},
        }
    )


def body(chosen: Config, **arguments: Any) -> dict[str, Any]:
    """Its settings, with its model from the shipped catalogue."""
    return body_settings(chosen, Catalogue().model(chosen.api.model), **arguments)


def test_the_least_body_has_model_and_cap_alone() -> None:
    """No sampling parameter is sent unasked, so every API version takes the body."""
    assert body(config()) == {"model": "claude-haiku-4-5", "max_tokens": 300}


def test_what_is_configured_is_sent_as_it_is() -> None:
    """Sampling, stops, tier, thinking and system, zeros included."""
    given: dict[str, Any] = {
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 0,
        "stop_sequences": ["END"],
        "service_tier": "standard_only",
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    found = body(config(prompt={"system": "Be brief."}, **given))
    assert found == {"model": "claude-haiku-4-5", "max_tokens": 300, "system": "Be brief.", **given}


@pytest.mark.parametrize("system", ["", "  \n"])
def test_an_empty_system_prompt_is_left_out(system: str) -> None:
    """The service refuses empty texts."""
    assert "system" not in body(config(prompt={"system": system}))


@pytest.mark.parametrize(
    ("model", "quiet"),
    [
        ("claude-haiku-5-5", {"thinking": {"type": "disabled"}}),
        ("claude-sonnet-5", {"thinking": {"type": "disabled"}}),
        ("claude-opus-5", {"thinking": {"type": "disabled"}}),
        ("claude-sonnet-5-5", {"thinking": {"type": "between_tools"}, "output_config": {"effort": "low"}}),
        ("claude-opus-5-5", {"output_config": {"effort": "low"}}),
        ("claude-fable-5-2", {"output_config": {"effort": "low"}}),
        ("claude-opus-4-8", {}),
        ("claude-sonnet-4-6", {}),
        ("a-model-of-mine", {}),
    ],
)
def test_thinking_is_kept_off_or_low_where_it_would_eat_the_caption(model: str, quiet: dict[str, Any]) -> None:
    """Models that think by default are asked not to, in the way that each of them takes."""
    assert body(config(model)) == {"model": model, "max_tokens": 300, **quiet}


def test_thinking_that_is_asked_for_is_left_alone() -> None:
    """`api.thinking` replaces the quiet default as a whole."""
    found = body(config("claude-sonnet-5-5", thinking={"type": "adaptive"}))
    assert found == {"model": "claude-sonnet-5-5", "max_tokens": 300, "thinking": {"type": "adaptive"}}


def test_a_larger_cap_stays_within_the_model() -> None:
    """Four times the cap is asked for where the model can answer that much, else its most."""
    assert body(config(max_tokens=1000), max_tokens=4000)["max_tokens"] == 4000
    assert body(config(max_tokens=60_000), max_tokens=240_000)["max_tokens"] == 64_000
    assert body(config("mine", max_tokens=60_000), max_tokens=240_000)["max_tokens"] == 240_000
