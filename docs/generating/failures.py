"""`errors.md`: the types of failures, and what each error ends."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping

import pipeline.errors
from generating.markdown import TEXTS, agree, table
from pipeline.cli import cli
from pipeline.errors import ErrorType, ItemError, PipelineError

__all__ = ["failures"]


def failures() -> Iterator[str]:
    """The types of failures, and what each error ends."""
    yield "# Failures and exit codes"
    yield ""
    yield "A bad row, image or answer costs that row alone: it becomes a row of `failures/`, with its `error_type` and"
    yield "a message. What may pass is taken up again by the next run by itself; for the rest mend the cause and give"
    yield "`--retry-failed`, with `--only ERROR_TYPE` for one type alone."
    yield ""
    yield "## Types of failures"
    yield ""
    agree("[errors]", TEXTS["errors"], [each.value for each in ErrorType])
    rows = [(f"`{each}`", TEXTS["errors"][each.value]) for each in ErrorType]
    yield from _failures(rows)
    yield "The service's own types stand beside them as they came:"
    yield ""
    yield from _failures([(f"`{name}`", text) for name, text in TEXTS["service"].items()])
    yield "## Errors that end a run"
    yield ""
    yield "No new request is sent, what is in flight is awaited, everything received is kept. In Python each is an"
    yield "exception of `pipeline.errors`, with the exit code as `exit_code`."
    yield ""
    found = [
        each
        for name in pipeline.errors.__all__
        if isinstance(each := getattr(pipeline.errors, name), type) and issubclass(each, PipelineError)
    ]
    ending = [each for each in found if not issubclass(each, ItemError) and each is not PipelineError]
    yield from table(
        ["error", "exit code", "meaning"],
        [(f"`{each.__name__}`", str(each.exit_code), each.__doc__ or "") for each in sorted(ending, key=_by_code)],
    )
    yield "## Exit codes of `pipeline run`"
    yield ""
    yield from (f"- {part.strip().rstrip('.;')}" for part in _exit_codes())


def _by_code(error: type[PipelineError]) -> tuple[int, str]:
    return error.exit_code, error.__name__


def _failures(rows: Iterable[tuple[str, Mapping[str, str]]]) -> Iterator[str]:
    yield from table(
        ["error_type", "meaning", "taken up again by itself", "to mend it"],
        [(name, text["means"], text["again"], text["mend"]) for name, text in rows],
    )


def _exit_codes() -> list[str]:
    text = " ".join((cli.commands["run"].help or "").split())
    found = re.search(r"Exit codes: (.*?interrupted)", text)
    if found is None:
        sys.exit("docs/generate.py: the help of run has no exit codes any more")
    return [re.sub(r"^([\d, ]+) ", r"**\1**: ", part.strip()) for part in found[1].split(";")]
