"""Pages in Markdown: their fenced blocks, what they say inline, and the words of their shell lines."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "blocks", "inline", "invocations", "links", "shell_lines", "shell_words"]

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
_PROGRAM = re.compile(r"(?:^|[\s/;=])pipeline ((?:run|check|estimate|status|report|[a-z]+)\b[^;&|#\n]*)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language as written after the fence, its text, and the line on which it begins."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    text = page.read_text("utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[1].strip(), found[2])
        for found in _FENCE.finditer(text)
    ]


def inline(page: Path) -> list[str]:
    """What stands between single backticks, outside of blocks."""
    return re.findall(r"`([^`\n]+)`", _FENCE.sub("", page.read_text("utf-8")))


def links(page: Path) -> list[str]:
    """Targets of links and pictures, outside of blocks."""
    return re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", page.read_text("utf-8")))


def shell_lines(block: Block) -> Iterator[str]:
    """Commands of a block, one a line; a line that ends in a backslash goes on in the next."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def shell_words(line: str, environment: Mapping[str, str]) -> list[str]:
    """The words of a simple command as a shell makes them: comments gone, variables and quotes resolved."""
    script = f"printf '%s\\0' {line}\n"
    done = subprocess.run(["bash", "-c", script], env=dict(environment), capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def invocations(block: Block) -> list[str]:
    """Calls of the program within a block of any kind, such as a crontab: what follows its name."""
    return [found[1].strip() for found in _PROGRAM.finditer(block.text)]
