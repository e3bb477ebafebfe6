"""README and docs: every command and configuration in them is run, or parsed where it needs a network or a cluster.

A page is a script: its blocks are taken in order, in a folder of their own with the demo's photographs, ten pictures
as the user's own, and a stand-in that answers. `sh` is run: a line exits with 0, or with N where it says `# exit code
N`. `toml` is loaded and checked, `python` is executed; in blocks of other kinds calls of the program are parsed.
"""

import ast
import asyncio
import csv
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import jsonschema
import pytest
from click.testing import CliRunner
from support.configs import LEAST, every_key
from support.documents import Block, blocks, inline, invocations, links, shell_lines, shell_words
from support.jobs import CANARY
from support.logging_state import logging_kept
from support.pictures import encoded, smooth

from pipeline.cli import cli
from pipeline.config_schema import config_schema
from pipeline.settings import Config
from pipeline.standin.options import StandinOptions
from pipeline.standin.server import StandinServer

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = ROOT / "docs" / "reference" / "commands.md"
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
OTHERS = {"--requeue"}
"""Options of other programs that pages name."""
ENDLESS = {"serve", "view"}
"""Commands that run until they are stopped: parsed alone."""
JOB = """
[manifest]
path = "photos.csv"
[api]
model = "claude-haiku-4-5"
max_tokens = 300
[prompt]
user = "Describe this photograph."
[output]
path = "out/photos"
"""


def name_of(page: Path) -> str:
    """A page as tests name it."""
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A stand-in for all pages."""
    log = tmp_path_factory.mktemp("standin") / "log.jsonl"
    with StandinServer(StandinOptions(log=log)) as server:
        yield server.url


@pytest.fixture
def folder(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder as a reader has it: the configurations, the demo's photographs, and ten of their own."""
    place = tmp_path / "project"
    place.mkdir()
    for name in ("configs", "data"):
        (place / name).symlink_to(ROOT / name)
    home = tmp_path / "home"
    (home / "Pictures").mkdir(parents=True)
    (place / "photos").symlink_to(home / "Pictures")
    with (place / "photos.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "image", "title"])
        for number in range(10):
            (home / "Pictures" / f"{number}.jpg").write_bytes(encoded(smooth(200 + number, 160, number), quality=80))
            rows.writerow([number, f"photos/{number}.jpg", f"Picture {number}"])
    (place / "job.toml").write_text(JOB)
    monkeypatch.chdir(place)
    for name, value in {"HOME": home, "ANTHROPIC_API_KEY": CANARY, "PIPELINE__API__BASE_URL": url}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("PIPELINE__MANIFEST__ALLOW_ROOTS", f'["{home}"]')
    monkeypatch.setenv("PIPELINE__API__POLL_SECONDS", "0.05")
    return place


def called(place: str, words: list[str], code: int = 0) -> None:
    """Runs the program in this process; what needs a network or never ends is parsed alone."""
    command = parsed(place, words)
    if command.name in ENDLESS or any(word.startswith(("s3://", "gs://", "az://")) for word in words):
        return
    with logging_kept():
        result = CliRunner().invoke(cli, words, prog_name="pipeline", standalone_mode=False)
    assert result.exception is None, f"{place}: pipeline {' '.join(words)}: {result.exception!r}\n{result.output}"
    assert (result.return_value or 0) == code, f"{place}: pipeline {' '.join(words)}\n{result.output}"


def parsed(place: str, words: list[str]) -> click.Command:
    """The command that these words call; wrong ones are named with their place."""
    command: click.Command = cli
    rest = words
    try:
        while isinstance(command, click.Group) and not rest[0].startswith("-"):
            name, rest = rest[0], rest[1:]
            command = command.commands[name]
        if not {"--help", "--version"} & set(rest):
            command.make_context(f"pipeline {command.name}", list(rest))
    except (click.ClickException, KeyError, IndexError) as error:
        pytest.fail(f"{place}: pipeline {' '.join(words)}: {error}")
    return command


def run_line(block: Block, line: str) -> None:
    """One line of a shell block."""
    if line.startswith("python "):
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        subprocess.run(["bash", "-c", line], env=environment, check=True)
        return
    words = shell_words(line, os.environ)
    program = Path(words[0]).name
    if words[0] == "export":
        [(name, _, _)] = [word.partition("=") for word in words[1:]]
        assert name in os.environ, f"{block}: {line}"  # the test's own value is used
    elif program == "make":
        for recipe in make_lines(words[1]):
            called(str(block), recipe)
    elif program == "pipeline":
        said = re.search(r"# exit code (\d+)", line)
        answered_by_now = "--no-wait" not in words and words[1] != "batches"
        url = f"{os.environ['PIPELINE__API__BASE_URL']}/_standin/batches"
        httpx.post(url, json={"held": not answered_by_now}, trust_env=False).raise_for_status()
        called(str(block), words[1:], int(said[1]) if said else 0)
    elif words[0] == "cp":
        shutil.copy(words[1], words[2])
    else:
        pytest.fail(f"{block}: no test knows how to run: {line}")


def make_lines(target: str) -> list[list[str]]:
    """The calls of the program in a target's recipe."""
    recipe = re.search(rf"^{target}:[^\n]*\n((?:\t[^\n]*\n)*)", MAKEFILE, re.MULTILINE)
    assert recipe is not None, f"no target {target} in the Makefile"
    return [found.split() for found in re.findall(r"python -m pipeline ([^\n;&|]+)", recipe[1])]


def check_toml(block: Block) -> None:
    """Loads a configuration; a whole one is written to the file that its first line names, and checked."""
    tree = tomllib.loads(block.text)
    least = tomllib.loads(LEAST)
    if not all(least[section].keys() <= tree.get(section, {}).keys() for section in least):
        merged = {section: {**least.get(section, {}), **tree.get(section, {})} for section in least | tree}
        if "endpoints" in merged["api"]:
            merged["api"].pop("base_url", None)
        problems = list(jsonschema.Draft7Validator(config_schema()).iter_errors(merged))
        assert not problems, f"{block}: {problems[0].message}"
        Config.model_validate(merged)
        return
    named = re.match(r"# (\S+\.toml)\n", block.text)
    path = Path(named[1] if named else "page.toml")
    path.write_text(block.text)
    assert not list(jsonschema.Draft7Validator(config_schema()).iter_errors(tree)), str(block)
    called(str(block), ["check", str(path)])


def execute(block: Block, names: dict[str, Any]) -> None:
    """Executes a block as a notebook does: `await` is allowed, and names last to the end of the page."""
    code = compile(block.text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:

        async def cell() -> None:
            await eval(code, names)

        asyncio.run(cell())
    else:
        exec(code, names)


@pytest.mark.parametrize("page", [page for page in PAGES if page != COMMANDS], ids=name_of)
def test_a_page_runs_from_top_to_bottom(page: Path, folder: Path) -> None:
    """Commands exit with 0, configurations are sound, Python raises nothing."""
    names: dict[str, Any] = {"__name__": "page"}
    assert folder == Path.cwd()
    for block in blocks(page):
        if block.language == "sh":
            for line in shell_lines(block):
                run_line(block, line)
        elif block.language == "toml":
            check_toml(block)
        elif block.language == "python":
            execute(block, names)
        else:
            for words in invocations(block):
                parsed(str(block), shlex.split(re.sub(r"\$\(\(.*?\)\)|\$\{?\w+\}?", "1", words)))


def test_the_examples_of_the_commands_run(folder: Path, tmp_path: Path) -> None:
    """Each by itself, on a dataset that is there already; `run` on none."""
    called("first", ["run", "job.toml"])
    (folder / "out").rename(tmp_path / "made")
    for block in blocks(COMMANDS):
        for line in shell_lines(block) if block.language == "sh" else ():
            if line.startswith("pipeline compare"):  # of datasets that only the reader has
                parsed(str(block), shlex.split(line)[1:])
                continue
            shutil.rmtree("out", ignore_errors=True)
            if not line.startswith("pipeline run"):
                shutil.copytree(tmp_path / "made", "out")
            run_line(block, line)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_the_help_of_every_command_has_an_example(name: str) -> None:
    """Of that very command."""
    examples = (cli.commands[name].help or "").partition("Examples:")[2]
    assert f"pipeline {name}" in examples


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page: Path) -> None:
    """So that none escapes its test."""
    known = {"sh", "toml", "python", "text", "ini", "yaml", "{toctree}"}
    for block in blocks(page):
        pictures = block.language == "" and not invocations(block)  # drawings and listings of folders
        assert block.language in known or pictures, f"{block}: {block.language}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_keys_options_targets_and_extras_that_a_page_names_are_there(page: Path) -> None:
    """In running text, between backticks."""
    keys = every_key()
    sections = {key.partition(".")[0] for key in keys} - {"models"}
    options = {name for command in cli.commands.values() for each in command.params for name in each.opts}
    for text in inline(page):
        found = re.match(r"([a-z]+)\.([a-z_]+)(?![\w(./])", text)
        if found is not None and found[1] in sections and found[2] not in ("py", "toml", "md"):
            assert found[0] in keys, f"{page.name}: `{text}`"
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text):
            assert option in options | OTHERS | {"--help"}, f"{page.name}: `{text}`"
        if text.startswith("make "):
            make_lines(text.split()[1])
        for extras in re.findall(r"pip install .*\[([a-z,-]+)\]", text):
            assert set(extras.split(",")) <= EXTRAS.keys(), f"{page.name}: `{text}`"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Within the repository; the site's own build looks at headings."""
    for target in links(page):
        path, _, _ = target.partition("#")
        if path and "://" not in path:
            assert (page.parent / path).exists(), f"{page.name}: {target}"


def test_a_new_user_reaches_a_report_in_five_commands() -> None:
    """The clone included, on their own photographs, as the README has it."""
    block = next(block for block in blocks(ROOT / "README.md") if "--sample 10" in block.text)
    lines = list(shell_lines(block))
    assert len(lines) + 1 <= 5
    assert "report" in lines[-1]


def test_the_generated_pages_are_what_the_sources_make_of_them() -> None:
    """`python docs/generate.py` brings them along."""
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
