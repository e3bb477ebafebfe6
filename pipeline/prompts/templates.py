"""`prompt.user` as Jinja2 templates: sandboxed, strict, over the manifest's columns.

A variable that the manifest has no column for is found before anything is sent; an undefined one that depends on the
row, or any other fault of rendering, costs that row.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipeline.errors import ConfigError, ErrorType, PromptError
from pipeline.records import Item

__all__ = ["Templates"]

MAX_PROMPT_CHARS = 1_000_000
_RENDERING = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,  # RecursionError among them: a deeply nested value printed
    TypeError,
    ValueError,
)
"""What filters and operators raise over values that they were not meant for."""


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
            template, wanted = _compiled(environment, key, text)
            unknown = sorted(wanted - set(columns or ()) - set(environment.globals))
            if columns is not None and unknown:
                raise ConfigError(
                    f'{key}: "{unknown[0]}" is no column of the manifest; there are: {", ".join(columns) or "none"}'
                )
            self._templates.append(template)

    def texts(self, item: Item) -> tuple[str, ...]:
        """The prompt of each turn for one row.

        Raises:
            PromptError: a variable is undefined or null, rendering fails, or nothing is left to ask; names the row.
        """
        columns = _columns(item.columns)
        return tuple(_rendered(template.generate(columns), item) for template in self._templates)


def _compiled(environment: ImmutableSandboxedEnvironment, key: str, text: str) -> tuple[Template, set[str]]:
    """The template, and the names of the variables that it needs."""
    try:
        tree = environment.parse(text)
        if any(True for _ in meta.find_referenced_templates(tree)):
            raise ConfigError(f"{key}: include, import and extends have nothing to read from; write the text out")
        return environment.from_string(text), meta.find_undeclared_variables(tree)
    except TemplateSyntaxError as error:
        raise ConfigError(f"{key}: line {error.lineno}: {error.message}") from None
    except (RecursionError, MemoryError):
        raise ConfigError(f"{key}: nested too deeply") from None


def _rendered(pieces: Iterator[str], item: Item) -> str:
    parts, length = [], 0
    try:
        for piece in pieces:
            parts.append(piece)
            length += len(piece)
            if length > MAX_PROMPT_CHARS:
                raise _fault(item, f"the prompt is longer than {MAX_PROMPT_CHARS} characters")
    except _RENDERING as error:
        raise _fault(item, f"the prompt cannot be rendered: {_reason(error, item.columns)}") from error
    text = "".join(parts).encode("utf-8", "replace").decode()
    if not text.strip():
        # An empty text block is refused by the service (`messages-api.md` 2.2).
        raise _fault(item, "the prompt is empty for this row")
    return text


def _fault(item: Item, text: str) -> PromptError:
    return PromptError(ErrorType.PROMPT_ERROR, f"{item.place}: {text}")


def _reason(error: BaseException, row: Mapping[str, Any]) -> str:
    text = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, UndefinedError) and any(value is None and f"'{name}'" in text for name, value in row.items()):
        return f"{text}: it is null in this row"
    return text


def _columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as variables: null is as good as missing, so that `None` never stands in a prompt by accident."""
    return {name: value for name, value in row.items() if value is not None}
