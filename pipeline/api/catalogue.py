"""Models as data: prices, what each can see, what it refuses, and what a caption costs.

The shipped table is `models.toml`; `models.NAME.KEY` in the configuration overrides it or adds a model. An unknown
model works: its price is unknown and said to be, its abilities are taken as those of the standard tier.
Arithmetic is exact: prices are read as decimals and multiplied as fractions, rounded once at the end.
"""

import tomllib
from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from functools import cache
from importlib.resources import files
from math import lcm
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ConfigError
from pipeline.images.geometry import HIGH, STANDARD, Bounds
from pipeline.records import Usage

__all__ = ["OURS", "Catalogue", "Model", "cost_usd", "worst_cost_usd"]

BATCH_FACTOR = Fraction(1, 2)
"""Batches cost half, on every kind of token."""
_WRITE_5M = Fraction(5, 4)
_WRITE_1H = Fraction(2)
OURS = ("id", "known")
"""Fields that no entry may set."""


class Model(BaseModel):
    """One model. Prices are US dollars per million tokens, `None` where they are not known.

    `quiet` is sent where `api.thinking` is not set: the cheapest thinking that is fit for captions. `known` says
    whether the shipped table or the configuration has it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    id: str
    aliases: list[str] = Field(default_factory=list, description="other names of the model")
    input: float | None = Field(None, ge=0, description="USD per million input tokens")
    output: float | None = Field(None, ge=0, description="USD per million output tokens")
    cache_read: float | None = Field(None, ge=0, description="USD per million tokens read from the cache; else a tenth")
    tier: Literal["standard", "high"] = Field("standard", description="which images it sees: 1568 px, or 2576 px")
    max_output_tokens: int | None = Field(None, ge=1, description="the most that `api.max_tokens` may be")
    context_tokens: int | None = Field(None, ge=1, description="the most tokens of a request with its answer")
    max_images: int = Field(100, ge=1, description="the most images of one request")
    cache_minimum_tokens: int = Field(4096, ge=0, description="a shorter prefix is not cached")
    characters_per_token: float = Field(4.0, gt=0, description="of English prose, for estimates")
    thinking: list[str] | None = Field(None, description="the values of `thinking.type` that it takes")
    quiet: dict[str, Any] = Field(default_factory=dict, description="sent where `api.thinking` is not set")
    always_thinks: bool = Field(False, description="thinking cannot be switched off")
    sampling: bool = Field(False, description="takes temperature, top_p and top_k")
    temperature_with_top_p: bool = Field(True, description="takes both in one request")
    prefill: bool = Field(False, description="takes the start of an answer")
    effort: bool = Field(True, description="takes `output_config.effort`")
    forced_tools: bool = Field(True, description="can be made to call a tool: `prompt.schema_via`")
    long_prompt_over_tokens: int | None = Field(None, ge=1, description="where a longer prompt costs more")
    long_prompt_factor: float = Field(1.0, ge=1, description="... how many times as much, all of it")
    retires_on: date | None = Field(None, description="the day from which it answers no more")
    earliest_retirement: date | None = Field(None, description="it answers at least until then")
    replacement: str | None = Field(None, description="what the service recommends instead")
    known: bool = True

    @property
    def bounds(self) -> Bounds:
        """The largest image that the model sees."""
        return HIGH if self.tier == "high" else STANDARD

    @property
    def priced(self) -> bool:
        """Whether what an answer costs is known."""
        return self.input is not None and self.output is not None


class Catalogue:
    """The shipped models with a configuration's overrides.

    Args:
        overrides: the `models` section.

    Raises:
        ConfigError: an override has an unknown key or a bad value.
    """

    def __init__(self, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        table = {name: dict(entry) for name, entry in _shipped().items()}
        names = {alias: name for name, entry in table.items() for alias in entry.get("aliases", ())}
        for given, entry in (overrides or {}).items():
            name = names.get(given, given)
            base = table.get(name, {"sampling": True, "prefill": True})
            table[name] = {**base, **entry}
        self._models: dict[str, Model] = {}
        for name, entry in table.items():
            model = _model(name, entry)
            for each in (name, *model.aliases):
                self._models[each] = model

    def model(self, name: str) -> Model:
        """The model of that id or alias; an unknown one where there is none."""
        found = self._models.get(name)
        return found or Model(id=name, known=False, sampling=True, prefill=True)

    @property
    def names(self) -> list[str]:
        """Every id and alias."""
        return sorted(self._models)


def cost_usd(model: Model, usage: Usage, *, batch: bool = False) -> float | None:
    """What an answer cost, `None` where the price is not known.

    Cache writes cost 1.25 times the input price (5 minutes) or 2 times (1 hour), reads the model's own rate (a tenth
    where none is given); a batch half of everything. Where the model has a long-prompt band, the whole request is
    billed at its factor once the prompt, cached tokens included, is longer.
    """
    if not model.priced:
        return None
    total, denominator = _cost(model, usage)
    return total * BATCH_FACTOR.numerator / (denominator * BATCH_FACTOR.denominator) if batch else total / denominator


def worst_cost_usd(model: Model, input_tokens: int, max_tokens: int) -> float | None:
    """The most that a request can cost: all its input at the dearest of its rates, the answer at its cap.

    The dearest is usually a cache write for an hour; a read is where the configuration says so.
    """
    if not model.priced:
        return None
    written = Usage(0, max_tokens, input_tokens, 0, input_tokens)
    read = Usage(0, max_tokens, 0, input_tokens)
    (dear, denominator), (dearer, _) = _cost(model, written), _cost(model, read)
    return max(dear, dearer) / denominator


def _cost(model: Model, usage: Usage) -> tuple[int, int]:
    """The cost as numerator and denominator; the denominator is the model's own."""
    factor = model.long_prompt_factor if model.long_prompt_over_tokens is not None else 1.0
    rates = _rates(model.input or 0.0, model.output or 0.0, model.cache_read, factor)
    hour = min(usage.cache_creation_1h_tokens, usage.cache_creation_input_tokens)
    total = (
        rates.input * usage.input_tokens
        + rates.write_5m * (usage.cache_creation_input_tokens - hour)
        + rates.write_1h * hour
        + rates.read * usage.cache_read_input_tokens
        + rates.output * usage.output_tokens
    )
    prompt = usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens
    is_long = model.long_prompt_over_tokens is not None and prompt > model.long_prompt_over_tokens
    return total * (rates.long_factor if is_long else rates.usual_factor), rates.denominator


class _Rates(NamedTuple):
    """USD per token as integers over one denominator, so that a bill takes no fractions; the factors are in it too."""

    input: int
    write_5m: int
    write_1h: int
    read: int
    output: int
    usual_factor: int
    long_factor: int
    denominator: int


@cache
def _rates(entry: float, answer: float, cache_read: float | None, long_factor: float) -> _Rates:
    price = Fraction(repr(entry))
    read = Fraction(repr(cache_read)) if cache_read is not None else price / 10
    prices = [price, price * _WRITE_5M, price * _WRITE_1H, read, Fraction(repr(answer))]
    shared, factor = lcm(*(each.denominator for each in prices)), Fraction(repr(long_factor))
    whole = (int(each * shared) for each in prices)
    return _Rates._make((*whole, factor.denominator, factor.numerator, shared * factor.denominator * 1_000_000))


@cache
def _shipped() -> dict[str, dict[str, Any]]:
    return tomllib.loads(files("pipeline.api").joinpath("models.toml").read_text("utf-8"))


def _model(name: str, entry: Mapping[str, Any]) -> Model:
    unknown = [key for key in entry if key not in Model.model_fields or key in OURS]
    if unknown:
        allowed = ", ".join(key for key in Model.model_fields if key not in OURS)
        raise ConfigError(f"models.{name}.{unknown[0]}: unknown key; allowed: {allowed}")
    try:
        return Model.model_validate({**entry, "id": name})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(step) for step in first["loc"])
        raise ConfigError(f"models.{name}.{key}: found {first['input']!r}; {first['msg'].lower()}") from None
