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
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ConfigError
from pipeline.images.geometry import HIGH, STANDARD, Bounds
from pipeline.records import Usage

__all__ = ["Catalogue", "Model", "cost_usd", "worst_cost_usd"]

BATCH_FACTOR = Fraction(1, 2)
"""Batches cost half, on every kind of token."""
_WRITE_5M = Fraction(5, 4)
_WRITE_1H = Fraction(2)
_OURS = ("id", "known")


class Model(BaseModel):
    """One model. Prices are US dollars per million tokens, `None` where they are not known.

    `quiet` is sent where `api.thinking` is not set: the cheapest thinking that is fit for captions. `known` says
    whether the shipped table or the configuration has it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    id: str
    aliases: list[str] = Field(default_factory=list)
    input: float | None = Field(None, ge=0)
    output: float | None = Field(None, ge=0)
    cache_read: float | None = Field(None, ge=0)
    tier: Literal["standard", "high"] = "standard"
    max_output_tokens: int | None = Field(None, ge=1)
    context_tokens: int | None = Field(None, ge=1)
    max_images: int = Field(100, ge=1)
    cache_minimum_tokens: int = Field(4096, ge=0)
    characters_per_token: float = Field(4.0, gt=0)
    thinking: list[str] | None = None
    quiet: dict[str, Any] = Field(default_factory=dict)
    always_thinks: bool = False
    sampling: bool = False
    temperature_with_top_p: bool = True
    prefill: bool = False
    effort: bool = True
    forced_tools: bool = True
    long_prompt_over_tokens: int | None = Field(None, ge=1)
    long_prompt_factor: float = Field(1.0, ge=1)
    retires_on: date | None = None
    earliest_retirement: date | None = None
    replacement: str | None = None
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
    return float(_cost(model, usage) * (BATCH_FACTOR if batch else 1))


def worst_cost_usd(model: Model, input_tokens: int, max_tokens: int) -> float | None:
    """The most that a request can cost: all its input at the dearest of its rates, the answer at its cap.

    The dearest is usually a cache write for an hour; a read is where the configuration says so.
    """
    if not model.priced:
        return None
    written = Usage(0, max_tokens, input_tokens, 0, input_tokens)
    read = Usage(0, max_tokens, 0, input_tokens)
    return float(max(_cost(model, written), _cost(model, read)))


def _cost(model: Model, usage: Usage) -> Fraction:
    price = _fraction(model.input)
    read = _fraction(model.cache_read) if model.cache_read is not None else price / 10
    hour = min(usage.cache_creation_1h_tokens, usage.cache_creation_input_tokens)
    total = (
        price * usage.input_tokens
        + price * _WRITE_5M * (usage.cache_creation_input_tokens - hour)
        + price * _WRITE_1H * hour
        + read * usage.cache_read_input_tokens
        + _fraction(model.output) * usage.output_tokens
    )
    prompt = usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens
    if model.long_prompt_over_tokens is not None and prompt > model.long_prompt_over_tokens:
        total *= _fraction(model.long_prompt_factor)
    return total / 1_000_000


@cache
def _fraction(value: float | None) -> Fraction:
    return Fraction(repr(value)) if value is not None else Fraction(0)


@cache
def _shipped() -> dict[str, dict[str, Any]]:
    return tomllib.loads(files("pipeline.api").joinpath("models.toml").read_text("utf-8"))


def _model(name: str, entry: Mapping[str, Any]) -> Model:
    unknown = [key for key in entry if key not in Model.model_fields or key in _OURS]
    if unknown:
        allowed = ", ".join(key for key in Model.model_fields if key not in _OURS)
        raise ConfigError(f"models.{name}.{unknown[0]}: unknown key; allowed: {allowed}")
    try:
        return Model.model_validate({**entry, "id": name})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(step) for step in first["loc"])
        raise ConfigError(f"models.{name}.{key}: found {first['input']!r}; {first['msg'].lower()}") from None
