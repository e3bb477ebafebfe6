"""The models that the stand-in serves: what each refuses, how it sees, what it bills."""

from dataclasses import dataclass, replace
from typing import Any

__all__ = ["ALIASES", "MODELS", "ModelFacts", "find_model"]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One model. Prices are nano-dollars a token (dollars per million tokens times 1000).

    Attributes:
        edge: the longest side in px that it sees.
        cap: the most visual tokens of one image.
        cache_minimum: tokens below which a prefix is not cached.
        thinking: the values of `thinking.type` that it takes.
        thinks: whether it thinks where `thinking` is left out.
        cautious: whether thinking can be switched off only with an effort of at most `high`.
        group: models of one group share their rate limits; empty for a model of its own.
        long_over: a longer prompt makes every token of the request cost five times as much; 0 for no such band.
    """

    id: str
    input_nano: int
    output_nano: int
    read_nano: int
    edge: int = 2576
    cap: int = 4784
    max_tokens: int = 128_000
    context: int = 1_000_000
    images: int = 600
    cache_minimum: int = 512
    prefill: bool = False
    sampling: bool = False
    forced_tools: bool = True
    effort: bool = True
    thinking: tuple[str, ...] = ("adaptive", "disabled")
    thinks: bool = False
    cautious: bool = False
    group: str = ""
    long_over: int = 0
    retires_at: str | None = None


_NEW = ModelFacts("", 0, 0, 0)
_ALWAYS = replace(_NEW, thinking=("adaptive",), thinks=True, forced_tools=False)
_SIX = replace(_NEW, edge=1568, cap=1568, sampling=True, thinking=("adaptive", "enabled", "disabled"))
_OLD = replace(
    _SIX, max_tokens=64_000, context=200_000, images=100, prefill=True, thinking=("enabled", "disabled"), effort=False
)


def _model(base: ModelFacts, name: str, prices: tuple[int, int, int], **more: Any) -> ModelFacts:
    return replace(base, id=name, input_nano=prices[0], output_nano=prices[1], read_nano=prices[2], **more)


_OPUS = (5000, 25_000, 500)
_BETWEEN = ("adaptive", "between_tools")
_TABLE = (
    _model(_NEW, "claude-haiku-5-5", (100, 500, 10), thinks=True, cautious=True, long_over=100_000),
    _model(_ALWAYS, "claude-sonnet-5-5", (2000, 10_000, 100), thinking=_BETWEEN),
    _model(_ALWAYS, "claude-opus-5-5", (4000, 20_000, 200)),
    _model(_ALWAYS, "claude-fable-5-2", (8000, 40_000, 800)),
    _model(_ALWAYS, "claude-fable-5-1", (10_000, 50_000, 250)),
    _model(_NEW, "claude-sonnet-5", (2000, 10_000, 200), thinks=True, cache_minimum=1024),
    _model(_NEW, "claude-opus-5", _OPUS, thinks=True, cautious=True),
    _model(_NEW, "claude-opus-4-8", _OPUS, group="opus-4", cache_minimum=1024),
    _model(_NEW, "claude-opus-4-7", _OPUS, group="opus-4", cache_minimum=2048),
    _model(_SIX, "claude-opus-4-6", _OPUS, group="opus-4", cache_minimum=4096),
    _model(_SIX, "claude-sonnet-4-6", (3000, 15_000, 300), group="sonnet-4", cache_minimum=1024),
    _model(
        _OLD,
        "claude-sonnet-4-5-20250929",
        (3000, 15_000, 300),
        group="sonnet-4",
        cache_minimum=1024,
        retires_at="2026-11-30T00:00:00Z",
    ),
    _model(_OLD, "claude-haiku-4-5-20251001", (1000, 5000, 100), cache_minimum=4096),
    _model(_OLD, "claude-opus-4-5-20251101", _OPUS, group="opus-4", cache_minimum=4096, effort=True),
)
MODELS = {model.id: model for model in _TABLE}
_DATE_LENGTH = len("-20250929")
ALIASES = {name[:-_DATE_LENGTH]: name for name in MODELS if name[-8:].isdigit()}
"""Dated models have an undated name."""


def find_model(name: str) -> ModelFacts | None:
    """The model of an id or alias."""
    return MODELS.get(ALIASES.get(name, name))
