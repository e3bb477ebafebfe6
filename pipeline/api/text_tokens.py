"""How many tokens a text may be, before anybody has counted it. Pure.

English prose takes about four characters a token with the older tokenizer, and some 30 % more tokens from Claude 4.7
on (the service's pages on pricing and on token counting, read August 2026). Lists, markup and other languages take up
to twice as many; scripts that few texts on the web are written in take more, which one counted request tells.
"""

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.api.catalogue import Model

__all__ = ["Calibration", "TextTokens"]

_FEWEST = 0.6
_MOST = 2.0
_COUNTED_WITHIN = 0.1


class TextTokens(NamedTuple):
    """Tokens for each character: at the least, as expected, at the most."""

    low: float
    expected: float
    high: float

    @classmethod
    def of(cls, model: Model) -> "TextTokens":
        """By the model's tokenizer."""
        expected = 1 / model.characters_per_token
        return cls(expected * _FEWEST, expected, expected * _MOST)

    @classmethod
    def counted(cls, tokens: int, characters: int) -> "TextTokens":
        """By a text that was counted; others of its kind are within a tenth of it."""
        expected = tokens / max(1, characters)
        return cls(expected * (1 - _COUNTED_WITHIN), expected, expected * (1 + _COUNTED_WITHIN))


@dataclass(frozen=True, slots=True)
class Calibration:
    """One counted request: what the service counted, and what of it were images and characters by our own rules."""

    counted_tokens: int
    image_tokens: int
    characters: int

    @property
    def text(self) -> TextTokens | None:
        """The rate that explains the count, `None` where the images alone are more than it."""
        tokens = self.counted_tokens - self.image_tokens
        return TextTokens.counted(tokens, self.characters) if tokens > 0 and self.characters else None
