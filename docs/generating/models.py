"""`models.md`: the shipped catalogue, and how an image is counted."""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from generating.markdown import table
from pipeline.images.geometry import HIGH, STANDARD
from pipeline.settings import Config

__all__ = ["models"]


def models() -> Iterator[str]:
    """The shipped catalogue."""
    text = files("pipeline.api").joinpath("models.toml").read_text("utf-8")
    date = re.search(r"as of (\d{4}-\d{2}-\d{2})", text)
    if date is None:
        sys.exit("docs/generate.py: models.toml has no date any more")
    yield "# Models and prices"
    yield ""
    yield f"US dollars per million tokens, as of {date[1]}. Batches cost half, on every kind of token; a cache write"
    yield "costs 1.25 times the input price for five minutes, twice for an hour. A model that is not here works too;"
    yield "`[models.NAME]` in the [configuration](configuration.md#models) gives it a price, or another one."
    yield ""
    yield from table(
        ["model", "input", "output", "cache read", "tier", "images a request", "cached from", "notes"],
        [_model(name, entry) for name, entry in tomllib.loads(text).items()],
    )
    bound = Config.model_fields["images"].default
    yield "An image costs one token for each patch of 28 x 28 px that it covers, once it is shrunk to what the tier"
    yield f"sees: at most {STANDARD.max_edge} px and {STANDARD.max_tokens:,} tokens on `standard`, {HIGH.max_edge} px"
    yield f"and {HIGH.max_tokens:,} tokens on `high`. By default `images.max_edge` is {bound.max_edge} and"
    yield f"`images.max_tokens` {bound.max_tokens}, so that a picture costs on `high` no more tokens."


def _model(name: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    notes = [
        f"also `{', '.join(entry['aliases'])}`" if "aliases" in entry else "",
        f"retires on {entry['retires_on']}; then `{entry['replacement']}`" if "retires_on" in entry else "",
        "always thinks" if entry.get("always_thinks") else "",
        "takes sampling parameters" if entry.get("sampling") else "",
        "takes a prefill" if entry.get("prefill") else "",
        f"{entry['long_prompt_factor']:g} times the price above {entry['long_prompt_over_tokens']:,} tokens"
        if "long_prompt_factor" in entry
        else "",
    ]
    numbers = (f"{entry[key]:.2f}" for key in ("input", "output", "cache_read"))
    bounds = (entry["tier"], str(entry["max_images"]), f"{entry['cache_minimum_tokens']:,}")
    return f"`{name}`", *numbers, *bounds, "; ".join(filter(None, notes))
