"""A prompt as the service counts and caches it: its blocks in the order tools, system, messages.

Text counts a token for four characters, an image its patches. With a cache mark anywhere each step also has the
hash of everything up to it, so that equal prefixes of different requests are known as such.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pipeline.standin.blocks import Block, texts_of

__all__ = ["Step", "steps_of"]

_CHARS_A_TOKEN = 4
_SHAPES_MESSAGES = ("tool_choice", "thinking", "output_config")


@dataclass(frozen=True, slots=True)
class Step:
    """The prompt up to and with one block.

    Attributes:
        tokens: of everything up to here.
        digest: of everything up to here and of what it was asked with; empty where the body marks no block.
        life: `5m` or `1h` where the block is marked.
    """

    tokens: int
    digest: bytes = b""
    life: str | None = None


def steps_of(body: Mapping[str, Any], model_id: str, visual: Sequence[tuple[Block, int]]) -> list[Step]:
    """Every block's step; the last one's tokens are the whole prompt's.

    Args:
        body: a body that passed.
        model_id: the resolved model: caches are not shared between models.
        visual: the tokens of each image block.
    """
    costs = {id(block): tokens for block, tokens in visual}
    blocks = list(_blocks(body))
    lives = [_life(block) for _, block in blocks]
    if body.get("cache_control") is not None:
        lives[-1] = lives[-1] or body["cache_control"].get("ttl", "5m")
    hashed = any(lives)
    shaping = json.dumps([body.get(name) for name in _SHAPES_MESSAGES], sort_keys=True).encode()
    digest, characters, visuals, steps = sha256(model_id.encode()).digest(), 0, 0, []
    for (level, block), life in zip(blocks, lives, strict=True):
        characters += sum(len(text) for text in texts_of(block))
        visuals += _visual(block, costs)
        if hashed:
            asked_with = shaping if level in ("user", "assistant") else b""
            digest = sha256(digest + level.encode() + asked_with + _canonical(block)).digest()
        steps.append(Step(-(-characters // _CHARS_A_TOKEN) + visuals, digest if hashed else b"", life))
    return steps


def _blocks(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for tool in body.get("tools") or ():
        yield "tools", tool
    system = body.get("system") or []
    yield from (("system", block) for block in ([system] if isinstance(system, str) else system))
    for message in body["messages"]:
        content = message["content"]
        yield from ((message["role"], block) for block in ([content] if isinstance(content, str) else content))


def _life(block: object) -> str | None:
    mark = block.get("cache_control") if isinstance(block, Mapping) else None
    return None if mark is None else str(mark.get("ttl", "5m"))


def _visual(block: object, costs: Mapping[int, int]) -> int:
    if not isinstance(block, Mapping):
        return 0
    inner = block.get("content")
    within = sum(_visual(part, costs) for part in inner) if isinstance(inner, list) else 0
    return costs.get(id(block), 0) + within


def _canonical(block: object) -> bytes:
    if isinstance(block, str):
        block = {"type": "text", "text": block}
    plain = {key: value for key, value in block.items() if key != "cache_control"} if isinstance(block, dict) else block
    return json.dumps(plain, sort_keys=True).encode()
