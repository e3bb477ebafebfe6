"""The catalogue against the published price table, written out here once more."""

from datetime import date
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.api.catalogue import Catalogue, cost_usd, worst_cost_usd
from pipeline.errors import ConfigError
from pipeline.images.geometry import HIGH, STANDARD
from pipeline.records import Usage

# USD per million tokens: input, output, cache write for 5 minutes and for 1 hour, cache read, batch input and output.
PRICES = {
    "claude-haiku-5-5": ("0.10", "0.50", "0.125", "0.20", "0.01", "0.05", "0.25"),
    "claude-sonnet-5-5": ("2", "10", "2.50", "4", "0.10", "1", "5"),
    "claude-opus-5-5": ("4", "20", "5", "8", "0.20", "2", "10"),
    "claude-fable-5-1": ("10", "50", "12.50", "20", "0.25", "5", "25"),
    "claude-sonnet-5": ("2", "10", "2.50", "4", "0.20", "1", "5"),
    "claude-opus-5": ("5", "25", "6.25", "10", "0.50", "2.50", "12.50"),
    "claude-opus-4-8": ("5", "25", "6.25", "10", "0.50", "2.50", "12.50"),
    "claude-opus-4-7": ("5", "25", "6.25", "10", "0.50", "2.50", "12.50"),
    "claude-opus-4-6": ("5", "25", "6.25", "10", "0.50", "2.50", "12.50"),
    "claude-sonnet-4-6": ("3", "15", "3.75", "6", "0.30", "1.50", "7.50"),
    "claude-sonnet-4-5": ("3", "15", "3.75", "6", "0.30", "1.50", "7.50"),
    "claude-haiku-4-5": ("1", "5", "1.25", "2", "0.10", "0.50", "2.50"),
    "claude-opus-4-5": ("5", "25", "6.25", "10", "0.50", "2.50", "12.50"),
}
LONG_HAIKU = ("0.50", "2.50", "0.625", "1.00", "0.05", "0.25", "1.25")
STANDARD_TIER = {"claude-opus-4-6", "claude-sonnet-4-6", "claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-5"}
SHIPPED = Catalogue()


def bill(prices: tuple[str, ...], usage: Usage, *, batch: bool = False) -> float:
    """The bill by the table, in exact fractions."""
    entry, answer, write_5m, write_1h, read, batch_entry, batch_answer = (Fraction(price) for price in prices)
    factor = Fraction(1, 2) if batch else 1
    hour = usage.cache_creation_1h_tokens
    total = (
        (batch_entry if batch else entry) * usage.input_tokens
        + (batch_answer if batch else answer) * usage.output_tokens
        + factor * write_5m * (usage.cache_creation_input_tokens - hour)
        + factor * write_1h * hour
        + factor * read * usage.cache_read_input_tokens
    )
    return float(total / 1_000_000)


usages = st.builds(
    lambda entry, answer, five, hour, read: Usage(entry, answer, five + hour, read, hour),
    *[st.integers(0, 20_000) for _ in range(5)],
)


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("name", PRICES)
def test_every_kind_of_token_costs_what_the_table_says(name: str, batch: bool) -> None:
    """Input, output, both cache writes and reads, alone and together, to the last digit."""
    model = SHIPPED.model(name)
    for usage in (
        Usage(input_tokens=1_551),
        Usage(output_tokens=71),
        Usage(cache_creation_input_tokens=4_097),
        Usage(cache_creation_input_tokens=4_097, cache_creation_1h_tokens=4_097),
        Usage(cache_read_input_tokens=33_333),
        Usage(1_551, 71, 5_000, 7_001, 1_234),
    ):
        assert cost_usd(model, usage, batch=batch) == bill(PRICES[name], usage, batch=batch)


@given(usages, st.sampled_from(sorted(PRICES)), st.booleans())
@settings(deadline=None, max_examples=60)
def test_any_usage_costs_what_the_table_says(usage: Usage, name: str, batch: bool) -> None:
    """No mixture of tokens is a rounding step off."""
    assert cost_usd(SHIPPED.model(name), usage, batch=batch) == bill(PRICES[name], usage, batch=batch)


@pytest.mark.parametrize(
    ("usage", "long"),
    [
        (Usage(100_000, 500), False),
        (Usage(100_001, 500), True),
        (Usage(1, 500, 50_000, 50_000), True),
        (Usage(0, 500, 50_000, 50_000, 50_000), False),
        (Usage(0, 128_000), False),
    ],
)
def test_a_long_prompt_on_haiku_bills_the_whole_request_in_its_band(usage: Usage, long: bool) -> None:
    """Above 100,000 tokens of prompt, cached ones included, every token costs fivefold; output length is no matter."""
    prices = LONG_HAIKU if long else PRICES["claude-haiku-5-5"]
    assert cost_usd(SHIPPED.model("claude-haiku-5-5"), usage) == bill(prices, usage)
    assert cost_usd(SHIPPED.model("claude-haiku-5-5"), usage, batch=True) == bill(prices, usage, batch=True)


def test_other_large_models_have_no_long_prompt_band() -> None:
    """A prompt of half a million tokens costs its rate."""
    assert cost_usd(SHIPPED.model("claude-sonnet-5-5"), Usage(500_000)) == 1.0


@given(usages, st.sampled_from(sorted(PRICES)))
@settings(deadline=None, max_examples=60)
def test_nothing_costs_more_than_the_worst(usage: Usage, name: str) -> None:
    """Whatever becomes of its input, a request stays within what is reserved for it."""
    model = SHIPPED.model(name)
    entry = usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens
    worst, cost = worst_cost_usd(model, entry, usage.output_tokens), cost_usd(model, usage)
    assert worst is not None
    assert cost is not None
    assert cost <= worst


def test_the_worst_heeds_a_read_price_above_the_input_price() -> None:
    """A configuration may make reads the dearest kind of token."""
    model = Catalogue({"m": {"input": 1.0, "output": 1.0, "cache_read": 50.0}}).model("m")
    assert worst_cost_usd(model, 1_000_000, 0) == 50.0


@pytest.mark.parametrize("name", sorted(PRICES))
def test_models_see_what_their_tier_sees(name: str) -> None:
    """4.6 and earlier are of the standard tier, later ones of the high one."""
    assert SHIPPED.model(name).bounds == (STANDARD if name in STANDARD_TIER else HIGH)


def test_an_alias_is_its_dated_model() -> None:
    """Both names lead to one entry, and an override by either name changes it."""
    assert SHIPPED.model("claude-sonnet-4-5").id == "claude-sonnet-4-5-20250929"
    assert SHIPPED.model("claude-sonnet-4-5").retires_on == date(2026, 11, 30)
    changed = Catalogue({"claude-sonnet-4-5": {"input": 1}})
    assert changed.model("claude-sonnet-4-5-20250929").input == 1.0
    assert changed.model("claude-sonnet-4-5-20250929").output == 15.0


def test_an_unknown_model_works_at_an_unknown_price() -> None:
    """A name of next year, or of a local server, has no cost rather than a wrong one."""
    model = SHIPPED.model("qwen3-vl:8b")
    assert not model.known
    assert not model.priced
    assert model.bounds == STANDARD
    assert cost_usd(model, Usage(1, 1)) is None
    assert worst_cost_usd(model, 1, 1) is None
    assert (model.sampling, model.prefill) == (True, True)


def test_a_configuration_can_add_a_model() -> None:
    """With its two prices a model of one's own is known and billed, reads at a tenth."""
    model = Catalogue({"mine": {"input": 0.3, "output": 0.7, "tier": "high"}}).model("mine")
    assert model.known
    assert cost_usd(model, Usage(1_000_000, 1_000_000, 0, 1_000_000)) == 1.03
    assert model.bounds == HIGH


def test_half_a_price_is_no_price() -> None:
    """A cost that leaves out the answer would be wrong, so there is none."""
    assert cost_usd(Catalogue({"mine": {"input": 1.0}}).model("mine"), Usage(1)) is None


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"inputs": 1.0}, ["models.m.inputs", "unknown key", "allowed", "input"]),
        ({"id": "other"}, ["models.m.id", "unknown key"]),
        ({"known": False}, ["models.m.known", "unknown key"]),
        ({"input": -1.0}, ["models.m.input", "-1.0"]),
        ({"input": float("inf")}, ["models.m.input", "inf"]),
        ({"input": float("nan")}, ["models.m.input", "nan"]),
        ({"input": "free"}, ["models.m.input", "'free'"]),
        ({"input": True}, ["models.m.input", "True"]),
        ({"tier": "huge"}, ["models.m.tier", "'huge'"]),
        ({"max_output_tokens": 0}, ["models.m.max_output_tokens"]),
        ({"aliases": [1]}, ["models.m.aliases.0"]),
    ],
)
def test_a_bad_override_names_key_and_value(entry: dict[str, Any], words: list[str]) -> None:
    """A mistake in the `models` section is a configuration error that says where."""
    with pytest.raises(ConfigError) as caught:
        Catalogue({"m": entry})
    assert all(word in str(caught.value) for word in words)


def test_lists_every_name_that_it_knows() -> None:
    """Ids and aliases alike, sorted, with those of the configuration."""
    names = Catalogue({"mine": {}}).names
    assert names == sorted(names)
    assert {"mine", "claude-haiku-4-5", "claude-haiku-4-5-20251001", *PRICES} <= set(names)
