"""Configurations for tests: the least that is valid, and what it becomes with changes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipeline.config import load_config
from pipeline.settings import Config

__all__ = ["LEAST", "config_with", "every_key", "written"]

LEAST = """
[manifest]
path = "photos.csv"
[api]
model = "claude-haiku-4-5"
max_tokens = 300
[prompt]
user = "Describe this image."
[output]
path = "out"
"""


def written(folder: Path, text: str = LEAST) -> Path:
    """A configuration file with this text."""
    path = folder / "job.toml"
    path.write_text(text, "utf-8")
    return path


def config_with(folder: Path, *overrides: str, environ: Mapping[str, str] | None = None) -> Config:
    """The least configuration with `--set` texts and an environment of its own."""
    return load_config(written(folder), overrides, environ or {})


def every_key() -> dict[str, Any]:
    """Every key of the configuration, as users write it, and its field."""
    keys: dict[str, Any] = {}
    for section, field in Config.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            keys |= {f"{section}.{each.alias or name}": each for name, each in model.model_fields.items()}
        else:
            keys[section] = field
    return keys
