"""The prefix that all requests of a run share, whether caching it pays, and the writers that mark it. Pure.

The prefix is what stands before the first message of an item: tools, system prompt, few-shot examples. Below a length
that depends on the model the service caches nothing and says nothing, so it is marked only where it may reach that.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.api.body import marked
from pipeline.api.catalogue import Model
from pipeline.api.messages import BodyWriter
from pipeline.api.text_tokens import TextTokens
from pipeline.records import Message

__all__ = ["SharedPrefix", "body_writer"]


class SharedPrefix:
    """What the requests of one run have in common.

    Args:
        settings: everything of the body beside `messages`.
        examples: the few-shot messages.
        model: whose minimum holds.

    Attributes:
        low: tokens at the least.
        tokens: as expected.
        high: tokens at the most.
    """

    def __init__(self, settings: Mapping[str, Any], examples: Sequence[Message], model: Model) -> None:
        parts = {name: settings[name] for name in ("tools", "system") if name in settings}
        visual, characters = BodyWriter(parts, examples).shared
        text = TextTokens.of(model)
        self._minimum, self._name = model.cache_minimum_tokens, model.id
        self.low, self.tokens, self.high = (visual + round(characters * rate) for rate in text)

    @property
    def may_be_cached(self) -> bool:
        """Whether the service may cache it."""
        return self.high >= max(1, self._minimum)

    @property
    def is_cached(self) -> bool:
        """Whether it is expected to."""
        return self.tokens >= max(1, self._minimum)

    @property
    def is_surely_cached(self) -> bool:
        """Whether it is above the minimum at the least."""
        return self.low >= max(1, self._minimum)

    def remark(self) -> str | None:
        """Why `prompt.cache` is of no use here, `None` where it is."""
        if self.is_cached:
            return None
        short = f"the prefix that all requests share is about {self.tokens} tokens; {self._name} caches from"
        verdict = "caching may not pay" if self.may_be_cached else "caching cannot pay, and nothing is marked"
        return f"prompt.cache: {short} {self._minimum} on, so {verdict}"


def body_writer(
    settings: Mapping[str, Any], examples: Sequence[Message], model: Model, *, mark: Mapping[str, str] | None
) -> BodyWriter:
    """The writer of a run's bodies, its prefix marked at its end where a mark is given."""
    unseen = model.bounds.max_tokens if model.known else None
    if mark is not None and not examples:
        settings = marked(settings, mark)
    more = {} if unseen is None else {"unseen_tokens": unseen}
    return BodyWriter(settings, examples, mark=mark if examples else None, **more)
