"""`commands.md`: every command with its options and examples, from click."""

from collections.abc import Iterator

import click

from generating.markdown import table
from pipeline.cli import cli

__all__ = ["commands"]


def commands() -> Iterator[str]:
    """Every command with its options, as click has them."""
    yield "# Commands"
    yield ""
    yield "`pipeline COMMAND --help` says the same. `-h` and `--help` are options of every command. What is asked for"
    yield "goes to standard output; logs, progress and errors go to standard error."
    yield ""
    for name, command in sorted(cli.commands.items()):
        yield from _command(f"pipeline {name}", command)


def _command(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    about, examples = _split(command.help or "")
    yield f"## {name}"
    yield ""
    yield "```text"
    yield " ".join([name, *command.collect_usage_pieces(context)])
    yield "```"
    yield ""
    yield from (*about, "")
    rows = [
        (_option(option, context), _default(option, context), option.help or "")
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    ]
    if rows:
        yield from table(["option", "default", "meaning"], rows)
    if examples:
        yield from ("```sh", *examples, "```", "")
    for inner, each in sorted(getattr(command, "commands", {}).items()):
        yield from _command(f"{name} {inner}", each)


def _split(text: str) -> tuple[list[str], list[str]]:
    """The paragraphs of a help text as Markdown, and its examples."""
    about, _, examples = text.partition("Examples:\n")
    paragraphs = [" ".join(part.replace("\b", "").split()) for part in about.split("\n\n")]
    lines = [line.strip() for line in examples.splitlines()]
    return "\n\n".join(filter(None, paragraphs)).splitlines(), [line for line in lines if line]


def _option(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    if option.is_flag:
        return names
    return f"{names} {_plain(option.make_metavar(context))}"


def _plain(text: str) -> str:
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("[", r"\[")


def _default(option: click.Option, context: click.Context) -> str:
    if option.required:
        return "required"
    value = option.get_default(context)
    shown = option.show_default and not option.is_flag and isinstance(value, str | int | float)
    return f"`{value}`" if shown else ""
