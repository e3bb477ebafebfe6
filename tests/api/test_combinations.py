"""What is refused before anything is sent, and what is only said; each names its key."""

from datetime import date
from typing import Any

import pytest

from pipeline.api.catalogue import Catalogue
from pipeline.api.combinations import refusals, remarks
from pipeline.settings import Config

TODAY = date(2026, 11, 23)
SCHEMA = {"type": "object"}


def config(model: str, models: dict[str, Any] | None = None, **sections: dict[str, Any]) -> Config:
    """The least configuration with this."""
    return Config.model_validate(
        {
            "manifest": {"path": "m.csv"},
            "api": {"model": model, "max_tokens": 300, **sections.get("api", {})},
            "prompt": {"user": "Describe.", **sections.get("prompt", {})},
            "limits": sections.get("limits", {}),
            "output": {"path": "out"},
            "models": models or {},
        }
    )


def refused(chosen: Config) -> list[str]:
    """The keys that are refused."""
    return [text.split(":")[0] for text in refusals(chosen, Catalogue(chosen.models).model(chosen.api.model))]


def remarked(chosen: Config, today: date = TODAY) -> str:
    """The remarks, as one text."""
    return "\n".join(remarks(chosen, Catalogue(chosen.models).model(chosen.api.model), today))


@pytest.mark.parametrize("name", Catalogue().names)
def test_the_least_configuration_suits_every_model(name: str) -> None:
    """No shipped model refuses a plain caption request."""
    assert refused(config(name)) == []


THINKING_1024 = {"type": "enabled", "budget_tokens": 1024}


@pytest.mark.parametrize(
    ("model", "sections", "key"),
    [
        ("claude-sonnet-5-5", {"api": {"temperature": 1.0}}, "api.temperature"),
        ("claude-opus-4-7", {"api": {"top_k": 5}}, "api.top_k"),
        ("claude-sonnet-4-6", {"api": {"top_p": 0.5, "version": "2026-10-21"}}, "api.top_p"),
        ("claude-haiku-4-5", {"api": {"temperature": 0.5, "top_p": 0.5}}, "api.top_p"),
        ("claude-sonnet-4-6", {"prompt": {"prefill": "A"}}, "prompt.prefill"),
        ("claude-haiku-4-5", {"prompt": {"prefill": "A", "schema": SCHEMA}}, "prompt.prefill"),
        (
            "claude-haiku-4-5",
            {"prompt": {"prefill": "A"}, "api": {"thinking": THINKING_1024, "max_tokens": 2000}},
            "prompt.prefill",
        ),
        ("claude-haiku-4-5", {"api": {"max_tokens": 64_001}}, "api.max_tokens"),
        ("claude-opus-5-5", {"prompt": {"schema": SCHEMA, "schema_via": "tool"}}, "prompt.schema_via"),
        (
            "claude-haiku-4-5",
            {
                "prompt": {"schema": SCHEMA, "schema_via": "tool"},
                "api": {"thinking": THINKING_1024, "max_tokens": 2000},
            },
            "prompt.schema_via",
        ),
        ("claude-haiku-4-5", {"api": {"thinking": {"type": "adaptive"}}}, "api.thinking"),
        ("claude-sonnet-5-5", {"api": {"thinking": {"type": "disabled"}}}, "api.thinking"),
        ("claude-opus-5-5", {"api": {"thinking": THINKING_1024, "max_tokens": 2000}}, "api.thinking"),
        ("claude-haiku-4-5", {"api": {"thinking": THINKING_1024}}, "api.thinking"),
        ("claude-haiku-4-5", {"api": {"thinking": {"type": "enabled"}}}, "api.thinking"),
        ("claude-haiku-4-5", {"api": {"thinking": {}}}, "api.thinking"),
        ("mine", {"api": {"thinking": {"budget_tokens": 5}}}, "api.thinking"),
        ("mine", {"limits": {"budget_usd": 1.0}}, "limits.budget_usd"),
    ],
)
def test_each_combination_that_cannot_work_is_named_once(model: str, sections: dict[str, Any], key: str) -> None:
    """One refusal that begins with the key to change."""
    assert refused(config(model, **sections)) == [key]


@pytest.mark.parametrize(
    ("model", "sections"),
    [
        ("claude-haiku-4-5", {"api": {"temperature": 0.0}, "prompt": {"prefill": "A"}}),
        ("claude-sonnet-4-6", {"api": {"temperature": 0.5, "top_p": 0.5}}),
        ("claude-haiku-4-5", {"api": {"thinking": THINKING_1024, "max_tokens": 1025}}),
        ("claude-haiku-4-5", {"api": {"thinking": {"type": "disabled"}}, "prompt": {"prefill": "A"}}),
        ("claude-opus-4-7", {"prompt": {"prefill": "  \n"}}),
        ("claude-sonnet-5", {"prompt": {"schema": SCHEMA, "schema_via": "tool"}}),
        ("claude-haiku-4-5", {"limits": {"budget_usd": 0.0}}),
        ("mine", {"api": {"temperature": 0.5, "top_p": 0.5, "thinking": {"type": "adaptive"}}}),
    ],
)
def test_what_the_service_takes_is_not_refused(model: str, sections: dict[str, Any]) -> None:
    """Allowed neighbours of the refusals pass, and an unknown model is not second-guessed."""
    assert refused(config(model, **sections)) == []


def test_a_budget_is_kept_once_the_price_is_given() -> None:
    """The remedy that the refusal names works; half of it does not."""
    limits = {"budget_usd": 1.0}
    assert refused(config("mine", {"mine": {"input": 1.0, "output": 2.0}}, limits=limits)) == []
    assert refused(config("mine", {"mine": {"input": 1.0}}, limits=limits)) == ["limits.budget_usd"]


def test_an_unknown_model_and_price_are_said() -> None:
    """What is not in the catalogue works, and the cost of 0 is explained."""
    said = remarked(config("mine"))
    assert "not in the catalogue" in said
    assert "price is not known" in said
    assert remarked(config("claude-haiku-5-5")) == ""


@pytest.mark.parametrize(
    ("today", "words"),
    [
        (date(2026, 8, 1), ""),
        (date(2026, 9, 1), "retires on 2026-11-30"),
        (date(2026, 11, 30), "retires on 2026-11-30"),
        (date(2026, 12, 1), "was to retire on 2026-11-30"),
    ],
)
def test_a_near_retirement_is_said_with_the_replacement(today: date, words: str) -> None:
    """Ninety days ahead and ever after, not before."""
    said = remarked(config("claude-sonnet-4-5"), today)
    assert words in said
    assert ("claude-sonnet-5-5" in said) == bool(words)


def test_a_cap_that_thinking_may_use_up_is_said() -> None:
    """A model that always thinks gets a warning below a thousand tokens."""
    assert "always thinks" in remarked(config("claude-opus-5-5"))
    assert remarked(config("claude-opus-5-5", api={"max_tokens": 1024})) == ""
