"""What several benchmarks need: a stand-in in another process, its account of what it answered, and pictures."""

import json
import os
import random
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageFilter

__all__ = ["KEY", "MODEL", "PROMPT", "answers", "environment", "message", "photograph", "served"]

KEY = "sk-ant-benchmark-0123456789"
MODEL = "claude-haiku-4-5"
PROMPT = "Describe picture {number} in one sentence."


@contextmanager
def served(log: Path, *options: str) -> Iterator[str]:
    """The address of `pipeline serve` with these options and that log."""
    command = [sys.executable, "-m", "pipeline", "serve", "--port", "0", "--log", str(log), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline() if process.stderr else ""
        found = re.search(r"http://\S+", line)
        if found is None:
            raise RuntimeError(f"the stand-in did not start: {line}")
        yield found[0]
    finally:
        process.terminate()
        process.wait(timeout=20)


def answers(log: Path) -> list[dict[str, Any]]:
    """What the stand-in answered so far, refusals included."""
    whole = log.read_text("utf-8").rpartition("\n")[0] if log.exists() else ""
    lines = [json.loads(line) for line in whole.splitlines()]
    return [line for line in lines if line["event"] == "answer" and line["path"] == "/v1/messages"]


def environment() -> dict[str, str]:
    """This process's environment with the benchmark's key."""
    return {**os.environ, "ANTHROPIC_API_KEY": KEY}


def photograph(width: int, height: int, seed: int, quality: int = 85) -> bytes:
    """A JPEG with the grain and the flat parts of a photograph, some 0.15 bytes a pixel at quality 85."""
    chance = random.Random(seed)
    small = (max(2, width // 24), max(2, height // 24))
    base = Image.frombytes("RGB", small, chance.randbytes(small[0] * small[1] * 3)).filter(ImageFilter.GaussianBlur(2))
    picture = base.resize((width, height), Image.Resampling.BICUBIC)
    tile = Image.effect_noise((256, 256), 18).convert("L")
    grain = Image.new("L", (width, height))
    for left in range(0, width, 256):
        for top in range(0, height, 256):
            grain.paste(tile, (left, top))
    picture = Image.blend(picture, Image.merge("RGB", [grain] * 3), 0.25)
    sink = BytesIO()
    picture.save(sink, "JPEG", quality=quality)
    return sink.getvalue()


def message(image: bytes, number: int) -> dict[str, Any]:
    """The arguments of the official SDK's `messages.create` for one picture."""
    source = {"type": "base64", "media_type": "image/jpeg", "data": b64encode(image).decode()}
    content = [{"type": "image", "source": source}, {"type": "text", "text": PROMPT.format(number=number)}]
    return {"model": MODEL, "max_tokens": 300, "messages": [{"role": "user", "content": content}]}
