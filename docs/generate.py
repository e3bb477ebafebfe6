# ruff: noqa: INP001, T201 - a program beside the pages, no package
"""Writes `docs/reference/`: configuration, dataset, commands, failures and models, from the sources themselves.

`make docs` runs it. The pages are kept in the repository, so that they can be read where the code is; a test holds
them against the sources. What the sources have no words for stands in `texts.toml`.

    python docs/generate.py            writes the pages
    python docs/generate.py --check    exits with 1 where one is not what it would write
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from generating.commands import commands
from generating.configuration import configuration
from generating.dataset import dataset
from generating.failures import failures
from generating.models import models

PAGES = Path(__file__).parent / "reference"
MARK = "<!-- Written by docs/generate.py: change the sources, not this page. -->\n"
MAKERS: dict[str, Callable[[], Iterable[str]]] = {
    "configuration.md": configuration,
    "dataset.md": dataset,
    "commands.md": commands,
    "errors.md": failures,
    "models.md": models,
}


def pages() -> dict[str, str]:
    """Every page by its file name."""
    return {name: MARK + "\n" + "\n".join(make()).rstrip() + "\n" for name, make in MAKERS.items()}


def main(arguments: list[str]) -> int:
    """Writes the pages, or says which are not as they would be written."""
    PAGES.mkdir(exist_ok=True)
    stale = []
    for name, text in pages().items():
        path = PAGES / name
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.write_text(text, "utf-8")
    if stale:
        print(
            f"docs/reference: {'differ' if '--check' in arguments else 'written'}: {', '.join(stale)}", file=sys.stderr
        )
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
