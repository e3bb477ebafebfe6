"""Jobs for tests: a folder of small pictures with a manifest, a configuration, and the real program on it."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import load_config
from pipeline.settings import Config
from support.pictures import encoded, smooth

__all__ = ["CANARY", "Job", "environment", "make_job", "pipeline_process", "run_pipeline"]

CANARY = "sk-ant-canary-0123456789abcdef"
"""The key of every test; it must be found in no file, log or output."""


@dataclass(frozen=True)
class Job:
    """A configuration on disk, and where things are."""

    folder: Path
    config_path: Path
    output: Path
    ids: tuple[str, ...] = field(default=())

    def config(self, *overrides: str) -> Config:
        """The configuration as the program reads it."""
        return load_config(self.config_path, overrides, environ={})

    def add_rows(self, *rows: Sequence[str]) -> None:
        """Appends rows to the manifest as they are."""
        with (self.folder / "photos.csv").open("a", newline="") as file:
            csv.writer(file).writerows(rows)


def make_job(folder: Path, url: str, images: int = 6, settings: Mapping[str, Mapping[str, Any]] | None = None) -> Job:
    """Pictures, manifest and configuration under `folder`; `settings` adds to or replaces keys by section."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = tuple(f"item-{number:03}" for number in range(images))
    with (folder / "photos.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "image", "title"])
        for number, item_id in enumerate(ids):
            name = f"{item_id}.jpg"
            (folder / name).write_bytes(encoded(smooth(240 + number % 500, 200, number), quality=80))
            rows.writerow([item_id, name, f"Picture {number}"])
    tree: dict[str, dict[str, Any]] = {
        "manifest": {"path": str(folder / "photos.csv")},
        "api": {"base_url": url, "model": "claude-haiku-4-5", "max_tokens": 300},
        "prompt": {"user": "Describe {{ title }}."},
        "retry": {"max_wait_seconds": 0.05, "drain_seconds": 5.0},
        "output": {"path": str(folder / "out")},
    }
    for section, values in (settings or {}).items():
        tree.setdefault(section, {}).update(values)
    path = folder / "job.toml"
    path.write_text(as_toml(tree))
    return Job(folder, path, Path(tree["output"]["path"]), ids)


def as_toml(tree: Mapping[str, Mapping[str, Any]]) -> str:
    """Sections of plain values as TOML; JSON's strings, numbers and arrays are TOML's too."""
    lines = []
    for section, values in tree.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def environment(**more: str) -> dict[str, str]:
    """This process's environment with the canary as the key, and standard streams that are buffered, as users' are."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**kept, "ANTHROPIC_API_KEY": CANARY, **more}


def pipeline_process(*words: str | Path, **options: Any) -> subprocess.Popen[str]:
    """The program as a real process, its streams as pipes."""
    command = [sys.executable, "-m", "pipeline", *map(str, words)]
    options.setdefault("env", environment())
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def run_pipeline(*words: str | Path, timeout: float = 60, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the program to its end; `timeout` bounds a hang and is no expectation."""
    command = [sys.executable, "-m", "pipeline", *map(str, words)]
    options.setdefault("env", environment())
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **options)
