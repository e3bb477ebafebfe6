"""Tokens of a text that nobody has counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.api.catalogue import Catalogue
from pipeline.api.text_tokens import Calibration, TextTokens


def test_newer_models_make_more_tokens_of_the_same_text() -> None:
    """The tokenizer since 4.7 yields about 30 % more."""
    models = Catalogue()
    older, newer = (TextTokens.of(models.model(name)) for name in ("claude-haiku-4-5", "claude-opus-4-8"))
    assert newer.expected / older.expected == pytest.approx(1.3, abs=0.1)
    assert older.low < older.expected < older.high


@given(st.integers(1, 100_000), st.integers(0, 5000), st.integers(1, 100_000))
def test_a_counted_request_explains_itself(text_tokens: int, image_tokens: int, characters: int) -> None:
    """What is not images is text, and the rate gives the count back, within a tenth either way."""
    rate = Calibration(text_tokens + image_tokens, image_tokens, characters).text
    assert rate is not None
    assert rate.expected * characters == pytest.approx(text_tokens)
    assert rate.low * characters <= text_tokens <= rate.high * characters


@pytest.mark.parametrize("found", [Calibration(100, 200, 50), Calibration(100, 100, 50), Calibration(100, 10, 0)])
def test_a_count_that_cannot_be_explained_tells_nothing(found: Calibration) -> None:
    """Images alone take more than was counted, or there was no text."""
    assert found.text is None
