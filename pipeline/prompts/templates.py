"""`prompt.user` as Jinja2 templates: sandboxed, strict, over the manifest's columns.

A variable that the manifest has no column for is found before anything is sent; an undefined one that depends on the
row, or any other fault of rendering, costs that row.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipeline.errors import ConfigError, ErrorType, PromptError
from pipeline.records import Item

__all__ = ["Templates"]

MAX_PROMPT_CHARS = 1_000_000


class Templates:
    """The turns' templates, compiled once.

    Args:
        texts: one template a turn.
        columns: the manifest's columns, `None` where they are not known yet.

    Raises:
        ConfigError: a template is not valid, or names a variable that is no column.
    """

    def __init__(self, texts: Sequence[str], columns: Sequence[str] | None = None) -> None:
        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True
        )
        self._templates = []
        for number, text in enumerate(texts, 1):
            key = "prompt.user" if len(texts) == 1 else f"prompt.user, turn {number}"
            try:
                wanted = meta.find_undeclared_variables(environment.parse(text))
                self._templates.append(environment.from_string(text))
            except TemplateSyntaxError as error:
                raise ConfigError(f"{key}: line {error.lineno}: {error.message}") from None
            unknown = sorted(wanted - set(columns or ()) - set(environment.globals))
            if columns is not None and unknown:
                raise ConfigError(
                    f'{key}: "{unknown[0]}" is no column of the manifest; there are: {", ".join(columns) or "none"}'
                )

    def texts(self, item: Item) -> tuple[str, ...]:
        """The prompt of each turn for one row.

        Raises:
            PromptError: a variable is undefined or missing, or rendering fails; names the row.
        """
        return tuple(self._render(template.generate(_columns(item.columns)), item) for template in self._templates)

    def _render(self, pieces: Iterator[str], item: Item) -> str:
        text, length = [], 0
        try:
            for piece in islice(pieces, MAX_PROMPT_CHARS):
                text.append(piece)
                length += len(piece)
                if length > MAX_PROMPT_CHARS:
                    raise PromptError(
                        ErrorType.PROMPT_ERROR, f"{item.place}: the prompt is longer than {MAX_PROMPT_CHARS} characters"
                    )
        except (
            TemplateError,
            ArithmeticError,
            TypeError,
            ValueError,
            LookupError,
            AttributeError,
            MemoryError,
        ) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise PromptError(
                ErrorType.PROMPT_ERROR, f"{item.place}: the prompt cannot be rendered: {reason}"
            ) from error
        return "".join(text).encode("utf-8", "replace").decode()


def _columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as variables: null is as good as missing, so that `None` never stands in a prompt by accident."""
    return {name: value for name, value in row.items() if value is not None}
