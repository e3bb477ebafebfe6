"""Templates: what the prompt of a row becomes, and what a fault costs."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError, ErrorType, PromptError
from pipeline.prompts.templates import MAX_PROMPT_CHARS, Templates
from pipeline.records import Item


def rendered(text: str, **row: Any) -> str:
    """The prompt of one row."""
    return Templates([text]).texts(Item("1", (), row, place="m.csv:7"))[0]


def fault(text: str, **row: Any) -> str:
    """The message of a row whose prompt cannot be rendered."""
    with pytest.raises(PromptError) as caught:
        rendered(text, **row)
    assert caught.value.error_type == ErrorType.PROMPT_ERROR
    assert not caught.value.retryable
    assert str(caught.value).startswith("m.csv:7: ")
    return str(caught.value)


def test_columns_are_variables() -> None:
    """Each turn's text is rendered with the row's columns, nested values included."""
    templates = Templates(["Title: {{ title }}", "{% for tag in tags %}{{ tag }};{% endfor %}{{ meta.year }}"])
    row = {"title": "Ein «Bild»", "tags": ["a", "b"], "meta": {"year": 1999}}
    assert templates.texts(Item("1", (), row)) == ("Title: Ein «Bild»", "a;b;1999")


def test_text_is_sent_as_it_is_written() -> None:
    """Nothing is escaped, and line ends stay."""
    assert rendered("<b>{{ title }}</b>\n", title="<i> & 'x'") == "<b><i> & 'x'</b>\n"


def test_a_column_is_data_and_not_a_template() -> None:
    """Braces in a cell are text."""
    assert rendered("{{ title }}", title="{{ 7 * 7 }}{% include 'x' %}") == "{{ 7 * 7 }}{% include 'x' %}"


def test_an_undefined_variable_costs_the_row() -> None:
    """The variable is named; text with a hole is never sent."""
    assert "'titel' is undefined" in fault("{{ titel }}", title="x")
    assert "has no attribute 'year'" in fault("{{ meta.year }}", meta={})


def test_a_null_is_as_good_as_missing() -> None:
    """`None` never stands in a prompt; the message says that the column is there and empty."""
    message = fault("{{ title }}", title=None)
    assert "'title' is undefined" in message
    assert "null in this row" in message
    assert rendered("{{ title | default('untitled') }}", title=None) == "untitled"


@pytest.mark.parametrize("text", ["{{ title }}", "{% if false %}x{% endif %}", " \n{{ title }}\t"])
def test_an_empty_prompt_costs_the_row(text: str) -> None:
    """The service refuses empty text: it is said before anything is sent."""
    assert "empty" in fault(text, title="")


@pytest.mark.parametrize(
    "text",
    [
        "{{ 1 / 0 }}",
        "{{ title + 1 }}",
        "{{ title | tojson }}{{ raw | tojson }}",
        "{{ [] | first | upper }}",
        "{{ deep }}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{{ '%d' | format(title) }}",
        "{{ title | int(base=99) }}{{ {}['x'] }}",
        "{% for i in range(1000000000) %}x{% endfor %}",
    ],
)
def test_a_fault_of_rendering_costs_the_row(text: str) -> None:
    """Whatever filters and operators raise over a row's values ends as that row's failure."""
    deep: list[Any] = []
    for _ in range(20_000):
        deep = [deep]
    assert "cannot be rendered" in fault(text, title="x", raw=b"x", deep=deep)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ title.__class__ }}",
        "{{ '{0.__class__}'.format(title) }}",
        "{{ tags.append(1) }}",
        "{{ tags.__init__.__globals__ }}",
        "{{ range.__self__ }}",
    ],
)
def test_the_sandbox_holds(text: str) -> None:
    """A template reaches no internals of Python and changes no row."""
    tags: list[int] = []
    fault(text, title="x", tags=tags)
    assert tags == []


def test_a_prompt_has_a_largest_size() -> None:
    """Exactly the largest is rendered; a prompt that grows without end is stopped there."""
    assert len(rendered("{{ title }}", title="x" * MAX_PROMPT_CHARS)) == MAX_PROMPT_CHARS
    assert str(MAX_PROMPT_CHARS) in fault("{{ title }}y", title="x" * MAX_PROMPT_CHARS)
    assert str(MAX_PROMPT_CHARS) in fault("{% for i in range(99999) %}{{ title }}{% endfor %}", title="x" * 1000)


def test_a_prompt_of_many_pieces_is_whole() -> None:
    """A text that arrives in more pieces than it may have characters is not cut short."""
    loop = "{% for a in range(1100) %}{% for b in range(1000) %}{{ title }}{% endfor %}{% endfor %}end"
    assert rendered(loop, title="") == "end"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\n{{ title", "line 2"),
        ("{% if %}", "line 1"),
        ("{{ title | nosuch }}", "nosuch"),
        ("{% frobnicate %}", "frobnicate"),
        ("{% include 'other' %}", "include"),
        ("{% extends title %}", "extends"),
        ("{{ " + "(" * 5000 + ")" * 5000 + " }}", "nested"),
    ],
)
def test_a_template_that_is_none_is_an_error_of_the_configuration(text: str, words: str) -> None:
    """What can never render is found before the manifest is read."""
    with pytest.raises(ConfigError, match=words) as caught:
        Templates([text])
    assert str(caught.value).startswith("prompt.user: ")


def test_the_turn_at_fault_is_named() -> None:
    """With several turns the message says which."""
    with pytest.raises(ConfigError, match=r"^prompt\.user, turn 2: "):
        Templates(["fine", "{{"])


def test_a_variable_without_a_column_is_found_before_anything_is_sent() -> None:
    """The unknown name and the columns that there are stand in the message; loops and sets are no columns."""
    with pytest.raises(ConfigError, match='"titel" is no column of the manifest; there are: id, title'):
        Templates(["{{ titel }}"], ["id", "title"])
    with pytest.raises(ConfigError, match="there are: none"):
        Templates(["{{ titel }}"], [])
    Templates(
        ["{% set x = 1 %}{{ x }}{% for t in range(2) %}{{ t }}{{ loop.index }}{% endfor %}{{ title }}"], ["title"]
    )
    Templates(["{{ titel }}"])


@given(st.text(min_size=1, max_size=80))
@settings(deadline=None, max_examples=150)
def test_every_text_can_be_sent(title: str) -> None:
    """Whatever a cell holds, the prompt is UTF-8 text, and unchanged where the cell was."""
    text = rendered("Title: {{ title }}", title=title)
    assert text.encode().decode() == text
    if not any("\ud800" <= character <= "\udfff" for character in title):
        assert text == f"Title: {title}"


def test_half_a_surrogate_pair_does_not_reach_the_body() -> None:
    """Text that no JSON can carry is replaced."""
    assert rendered("{{ title }}", title="a\udcff") == "a?"
