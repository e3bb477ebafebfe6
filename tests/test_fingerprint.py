"""The fingerprint: what is in it, what is not, and when two are equal."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.configs import config_with, every_key

from pipeline.fingerprint import fingerprint, reuse_key

MODEL = "claude-haiku-4-5-20251001"
IN = {
    "api.max_tokens": "301",
    "api.temperature": "0",
    "api.top_p": "0.5",
    "api.top_k": "5",
    "api.stop_sequences": '["END"]',
    "api.thinking": '{type = "disabled"}',
    "prompt.system": "Be brief.",
    "prompt.user": "Describe this image!",
    "prompt.turn_images": '["image"]',
    "prompt.label_images": "false",
    "prompt.prefill": "A",
    "prompt.examples": '[{image = "a", user = "b", assistant = "c"}]',
    "prompt.schema": '{type = "object"}',
    "prompt.on_truncated": "retry",
    "prompt.tools": '["zoom"]',
    "images.max_edge": "1000",
    "images.max_tokens": '"model"',
    "images.quality": "80",
    "manifest.image_column": "photo",
}
OUT = {
    "manifest.path": "other.csv",
    "manifest.format": "csv",
    "manifest.id_column": "name",
    "manifest.list_separator": ";",
    "manifest.changed": "detect",
    "manifest.root": "photos",
    "manifest.allow_roots": '["more"]',
    "api.base_url": "embedded",
    "api.api_key_env": "OTHER_KEY",
    "api.auth": "bearer",
    "api.version": "2026-10-21",
    "api.allow_http": "true",
    "api.model": "claude-haiku-4-5",
    "api.service_tier": "standard_only",
    "api.headers": '{x-team = "a"}',
    "api.timeout_seconds": "5",
    "api.mode": "batches",
    "api.deadline": "20h",
    "api.poll_seconds": "5",
    "api.endpoints": '[{base_url = "https://a"}]',
    "prompt.cache": "true",
    "prompt.schema_via": "tool",
    "prompt.schema_retries": "3",
    "prompt.max_tool_turns": "3",
    "images.transport": "file",
    "images.transport_fallback": "false",
    "images.max_bytes": "5",
    "images.max_pixels": "5",
    "images.allow_private_hosts": "true",
    "limits.requests_per_minute": "5",
    "limits.input_tokens_per_minute": "5",
    "limits.output_tokens_per_minute": '"off"',
    "limits.concurrency": "5",
    "limits.budget_usd": "5",
    "limits.max_failures": "1%",
    "limits.share": "0.5",
    "retry.max_attempts": "5",
    "retry.max_wait_seconds": "5",
    "retry.drain_seconds": "5",
    "output.path": "elsewhere",
    "output.rows_per_file": "5",
    "output.flush_seconds": "5",
    "output.compression": "snappy",
    "output.thumbnail_edge": "64",
    "output.reuse": "false",
    "output.format": "delta",
    "models": "{m = {input = 5}}",
}
"""`api.model` is out because the model's full id stands in for it; `schema_via` and `max_tool_turns` have no effect
where there is neither a schema nor a tool."""


def mark(folder: Path, *overrides: str, model: str = MODEL) -> str:
    """The fingerprint of the least configuration with these changes."""
    return fingerprint(config_with(folder, *overrides), model)


def test_every_key_is_in_or_out() -> None:
    """No key of the configuration is undecided."""
    assert set(IN) | set(OUT) == set(every_key())
    assert not set(IN) & set(OUT)


@pytest.mark.parametrize("key", IN)
def test_what_shapes_the_answers_changes_it(tmp_path: Path, key: str) -> None:
    """Prompt, sampling and image settings each give a new fingerprint."""
    assert mark(tmp_path, f"{key}={IN[key]}") != mark(tmp_path)


@pytest.mark.parametrize("key", [key for key in OUT if key != "models"])
def test_what_does_not_shape_them_leaves_it(tmp_path: Path, key: str) -> None:
    """Endpoint, mode, transport, limits, retries and paths leave the fingerprint, and so what is paid for."""
    assert mark(tmp_path, f"{key}={OUT[key]}") == mark(tmp_path)


def test_prices_leave_it(tmp_path: Path) -> None:
    """A corrected price does not bill a dataset again."""
    assert mark(tmp_path, f"models.{MODEL}.input=5") == mark(tmp_path)


def test_the_model_is_in_it(tmp_path: Path) -> None:
    """Another model gives another fingerprint; an alias does not, once it is resolved."""
    assert mark(tmp_path, model="claude-sonnet-5") != mark(tmp_path)
    assert mark(tmp_path, "api.model=claude-haiku-4-5") == mark(tmp_path, f"api.model={MODEL}")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((), ("images.max_edge=1568", "images.quality=85", "prompt.label_images=true", "prompt.on_truncated=keep")),
        (("api.temperature=1",), ("api.temperature=1.0",)),
        (("prompt.prefill=A",), ("prompt.prefill='A \\n'".replace("'", '"'),)),
        ((), ("prompt.prefill=",)),
        ((), ("prompt.system=",)),
        ((), ('prompt.user=["Describe this image."]',)),
        (("prompt.schema={a=1, b=2}",), ("prompt.schema={b=2, a=1}",)),
        (('prompt.turn_images=["x"]',), ('prompt.turn_images=["x"]', "manifest.image_column=y")),
    ],
)
def test_two_ways_to_ask_the_same_are_one(tmp_path: Path, one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """Defaults written out, other spellings and keys without effect give the same fingerprint."""
    assert mark(tmp_path, *one) == mark(tmp_path, *other)


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ("prompt.schema={a=1}", "prompt.schema_via=tool"),
        ("prompt.schema={a=1}", "prompt.schema={a=2}"),
        ('prompt.tools=["zoom"]', "prompt.max_tool_turns=3"),
        ('prompt.user=["a", "b"]', 'prompt.user=["a b"]'),
        ("api.temperature=0", "api.temperature=1"),
        ('prompt.user=["a", "b"]', 'prompt.turn_images=["x", "y"]'),
    ],
)
def test_a_key_counts_where_it_has_an_effect(tmp_path: Path, base: str, change: str) -> None:
    """With a schema or tools the way they are used matters, and so does how texts are cut into turns."""
    assert mark(tmp_path, base) != mark(tmp_path, base, change)


def test_it_is_sixteen_hex_digits(tmp_path: Path) -> None:
    """The fingerprint fits a column and a file name."""
    assert len(mark(tmp_path)) == 16
    assert int(mark(tmp_path), 16) >= 0


texts = st.lists(st.text(max_size=5), max_size=3).map(tuple)
hashes = st.lists(st.lists(st.sampled_from(["aa", "bb"]), max_size=2).map(tuple), max_size=3).map(tuple)
requests = st.tuples(st.sampled_from(["m", "n"]), texts, hashes)


@given(requests, requests)
@settings(deadline=None, max_examples=200)
def test_only_equal_requests_share_an_answer(one: tuple, other: tuple) -> None:  # type: ignore[type-arg]
    """Keys of reuse are equal exactly where fingerprint, texts and images of every turn are."""
    assert (reuse_key(*one) == reuse_key(*other)) == (one == other)
    assert len(reuse_key(*one)) == 32
