"""Settings: the documented keys and defaults, and that nothing can be changed once it is read."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.configs import config_with, every_key

REQUIRED = {"manifest.path", "api.model", "api.max_tokens", "prompt.user", "output.path"}
DEFAULTS: dict[str, Any] = {
    "manifest.format": "auto",
    "manifest.id_column": "id",
    "manifest.image_column": "image",
    "manifest.list_separator": "|",
    "manifest.changed": "ignore",
    "manifest.root": None,
    "manifest.allow_roots": [],
    "api.base_url": "https://api.anthropic.com",
    "api.api_key_env": "ANTHROPIC_API_KEY",
    "api.auth": "x-api-key",
    "api.version": "2023-06-01",
    "api.allow_http": False,
    "api.temperature": None,
    "api.top_p": None,
    "api.top_k": None,
    "api.stop_sequences": None,
    "api.service_tier": None,
    "api.thinking": None,
    "api.headers": {},
    "api.timeout_seconds": 600.0,
    "api.mode": "messages",
    "api.deadline": None,
    "api.poll_seconds": 60.0,
    "api.endpoints": None,
    "prompt.system": None,
    "prompt.turn_images": None,
    "prompt.label_images": True,
    "prompt.prefill": None,
    "prompt.examples": None,
    "prompt.cache": False,
    "prompt.schema": None,
    "prompt.schema_via": "output",
    "prompt.schema_retries": 1,
    "prompt.on_truncated": "keep",
    "prompt.tools": None,
    "prompt.max_tool_turns": 8,
    "images.transport": "base64",
    "images.transport_fallback": True,
    "images.max_edge": 1568,
    "images.max_tokens": 1568,
    "images.quality": 85,
    "images.max_bytes": 50_000_000,
    "images.max_pixels": 178_956_970,
    "images.allow_private_hosts": False,
    "limits.requests_per_minute": "auto",
    "limits.input_tokens_per_minute": "auto",
    "limits.output_tokens_per_minute": "auto",
    "limits.concurrency": "auto",
    "limits.budget_usd": None,
    "limits.max_failures": 0,
    "limits.share": 1.0,
    "retry.max_attempts": 8,
    "retry.max_wait_seconds": 60.0,
    "retry.drain_seconds": 30.0,
    "output.rows_per_file": 50_000,
    "output.flush_seconds": 60.0,
    "output.compression": "zstd",
    "output.thumbnail_edge": 0,
    "output.reuse": True,
    "output.format": "parquet",
    "models": {},
}
"""The table of the interface that users see."""


def test_the_keys_are_those_of_the_interface() -> None:
    """No documented key is missing, and none exists that is not documented."""
    assert set(every_key()) == REQUIRED | set(DEFAULTS)
    assert {key for key, field in every_key().items() if field.is_required()} == REQUIRED


@pytest.mark.parametrize("key", DEFAULTS)
def test_a_key_that_is_left_out_has_the_documented_default(tmp_path: Path, key: str) -> None:
    """A configuration of required keys alone behaves as the interface says."""
    plain = config_with(tmp_path).model_dump(by_alias=True)
    for part in key.split("."):
        plain = plain[part]
    assert plain == DEFAULTS[key]


@pytest.mark.parametrize("key", [key for key, default in DEFAULTS.items() if isinstance(default, str | int | float)])
def test_a_default_that_is_written_out_changes_nothing(tmp_path: Path, key: str) -> None:
    """Writing a default into the file is the same configuration."""
    default = DEFAULTS[key]
    text = str(default).lower() if isinstance(default, bool) else repr(default)
    assert config_with(tmp_path, f"{key}={text}") == config_with(tmp_path)


def test_a_configuration_cannot_be_changed(tmp_path: Path) -> None:
    """What was validated stays as it was validated."""
    config = config_with(tmp_path)
    with pytest.raises(ValidationError):
        config.api.max_tokens = 5  # type: ignore[misc]
    with pytest.raises(ValidationError):
        config.api = config.api  # type: ignore[misc]


def test_two_configurations_share_no_list(tmp_path: Path) -> None:
    """Defaults that are lists and tables are each configuration's own."""
    first, second = config_with(tmp_path), config_with(tmp_path)
    first.manifest.allow_roots.append("x")
    assert second.manifest.allow_roots == []
    assert config_with(tmp_path).manifest.allow_roots == []
