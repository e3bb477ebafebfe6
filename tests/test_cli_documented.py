"""Commands, options, exit codes and keys stand in the help and in the README, so that neither drifts from the code."""

import re
from pathlib import Path

import click
import pytest
from support.configs import every_key

from pipeline.cli import cli

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
EXIT_CODES = {0, 1, 2, 3, 4, 75, 130, 143}
"""Of `run`, as the contract lists them."""
PARAMETERS = [(name, parameter) for name, command in sorted(cli.commands.items()) for parameter in command.params]


def table(heading: str) -> dict[str, str]:
    """The rows of the README's table with this heading, by their first cell."""
    lines = README.splitlines()
    start = lines.index(heading)
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        first, second = (cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|"))
        rows[first] = second
    return rows


def help_of(name: str) -> str:
    """What `pipeline NAME --help` prints, on one line."""
    command = cli.commands[name]
    return " ".join(command.get_help(click.Context(command, info_name=f"pipeline {name}")).split())


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help_and_a_row_in_the_readme(name: str) -> None:
    """The row names its argument as the command does."""
    command = cli.commands[name]
    assert command.help
    context = click.Context(command)
    arguments = [each.make_metavar(context) for each in command.params if isinstance(each, click.Argument)]
    words = " ".join(["pipeline", name, *arguments])
    rows = table("| command | does |")
    assert any(does for row, does in rows.items() if re.fullmatch(rf"`{re.escape(words)}( \[?-.*)?`", row))


def test_the_readme_names_no_command_that_is_not_there() -> None:
    """What is not built yet stands under its own heading."""
    named = {row.strip("`").split()[1] for row in table("| command | does |")}
    assert named == set(cli.commands)
    for name in re.findall(r"pipeline ([a-z]+) ", README):
        assert name in cli.commands, name


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS, ids=lambda value: getattr(value, "name", value))
def test_every_option_has_help(name: str, parameter: click.Parameter) -> None:
    """In words, and where it is shown."""
    if isinstance(parameter, click.Option):
        assert parameter.help
        assert not parameter.hidden
        assert parameter.opts[0] in help_of(name)


@pytest.mark.parametrize(
    "option",
    [
        "--set SECTION.KEY=VALUE",
        "--limit",
        "--sample",
        "--shard I/N",
        "--retry-failed",
        "--only ERROR_TYPE",
        "--accept-new-fingerprint",
        "--max-runtime",
        "--engine [local|ray]",
        "--progress [auto|bar|log|none]",
        "--log-format [text|json]",
        "--log-file",
        "--json",
    ],
)
def test_run_has_every_option_of_the_contract(option: str) -> None:
    """By the names and values that scripts use."""
    assert option in help_of("run")


@pytest.mark.parametrize("name", ["run", "check", "status"])
def test_json_is_an_option_where_the_contract_has_it(name: str) -> None:
    """And the README says so."""
    assert "--json" in help_of(name)
    assert name in next(line for line in README.splitlines() if line.startswith("`--json` on "))


def codes_in(text: str) -> set[int]:
    """The numbers that stand where codes are explained."""
    return {int(number) for number in re.findall(r"\d+", text)}


def test_the_readme_explains_every_exit_code_and_no_other() -> None:
    """One row each, the two signals in one."""
    assert {code for row in table("| exit code | meaning |") for code in codes_in(row)} == EXIT_CODES


def test_the_help_of_run_explains_every_exit_code_and_no_other() -> None:
    """The paragraph that begins so."""
    paragraph = next(part for part in cli.commands["run"].help.split("\n\n") if "Exit codes" in part)  # type: ignore[union-attr]
    assert codes_in(paragraph) == EXIT_CODES


@pytest.mark.parametrize("key", sorted(every_key()))
def test_every_key_of_the_configuration_has_a_description(key: str) -> None:
    """It is the reference that users read."""
    description = every_key()[key].description
    assert description
    assert len(description) > 5


def test_help_fits_a_terminal() -> None:
    """No line is wider than it says it may be."""
    for name, command in cli.commands.items():
        context = click.Context(command, info_name=f"pipeline {name}", max_content_width=100, terminal_width=100)
        assert max(map(len, command.get_help(context).splitlines())) <= 100
