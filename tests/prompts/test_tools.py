"""Tools from the configuration: how they are described, called, and what cannot be one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.prompts.tools import MAX_RESULT_CHARS, Tool, ToolContext, ToolFault, load_tools


def context(crop: Callable[..., bytes] | None = None) -> ToolContext:
    """An item with one image of three bytes."""
    return ToolContext("item-1", {"title": "Sea"}, lambda number: b"x" * 3 * number, crop or (lambda *_: b""))


def tool(name: str) -> Tool:
    """One of the tests' own tools."""
    [found] = load_tools([f"support.toolbox:{name}"])
    return found


def test_a_signature_becomes_a_schema() -> None:
    """Names, types, descriptions and defaults are the model's to read; the docstring says what it is for."""
    assert tool("colour_of").definition == {
        "name": "colour_of",
        "description": "Tells the colour of a half.\n\nMeasured, not guessed.",
        "input_schema": {
            "type": "object",
            "properties": {
                "part": {"description": "which half", "enum": ["top", "bottom"], "type": "string"},
                "exact": {"default": False, "type": "boolean"},
            },
            "required": ["part"],
            "additionalProperties": False,
        },
    }


def test_a_call_is_checked_and_answered() -> None:
    """Defaults are filled in, what is no text is told as JSON."""
    assert tool("colour_of").call({"part": "top"}, context()) == ['{"part": "top", "colour": "red", "exact": false}']
    text, image = tool("picture_of").call({"number": 7}, context())
    assert text == "picture 7"
    assert isinstance(image, bytes)


@pytest.mark.parametrize("given", [{}, {"part": "left"}, {"part": "top", "more": 1}, {"part": ["top"]}])
def test_an_input_that_does_not_fit_never_reaches_the_function(given: dict[str, Any]) -> None:
    """The model is told which field is wrong."""
    with pytest.raises(ToolFault, match="the input does not fit"):
        tool("colour_of").call(given, context())


def test_the_item_is_given_and_no_part_of_the_schema() -> None:
    """By the parameter that is annotated as the context."""
    described = tool("describe_item")
    assert set(described.definition["input_schema"]["properties"]) == {"note"}
    assert described.call({"note": "seen"}, context()) == ["item-1, Sea, 3 bytes, seen"]


def test_zoom_asks_for_a_part_within_the_picture() -> None:
    """Shares of width and height; what leads beyond the edge ends there."""
    asked: list[Any] = []

    def crop(image: int, box: tuple[float, float, float, float]) -> bytes:
        asked.append((image, box))
        return b"part"

    [zoom] = load_tools(["zoom"])
    assert zoom.call({"left": 0.75, "top": 0, "width": 0.5, "height": 1, "image": 2}, context(crop)) == [b"part"]
    assert asked == [(2, (0.75, 0.0, 1.0, 1.0))]
    assert zoom.definition["input_schema"]["required"] == ["left", "top", "width", "height"]
    with pytest.raises(ToolFault):
        zoom.call({"left": 2, "top": 0, "width": 0.5, "height": 1}, context(crop))


def test_results_are_bounded_and_never_empty() -> None:
    """The service takes no empty text block."""

    def call(value: Any) -> list[Any]:
        return Tool("t", {}, lambda **_: value).call({}, context())

    assert len(str(call("x" * (MAX_RESULT_CHARS + 1))[0])) == MAX_RESULT_CHARS
    assert call(" ") == ["(nothing)"]
    assert call(None) == ["null"]
    assert call([1, 2]) == ["[1, 2]"]
    with pytest.raises(ToolFault, match="a set"):
        call({1})


def test_a_module_in_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It need not be installed."""
    (tmp_path / "tools_of_this_test.py").write_text("def add(one: int, two: int) -> int:\n    return one + two\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "none")  # what is added to the path leaves it with the test
    [add] = load_tools(["tools_of_this_test:add"])
    assert add.call({"one": 1, "two": 2}, context()) == ["3"]
    assert add.definition["description"] == "add"


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (["nothing"], 'allowed: "zoom", or "module:function"'),
        (["support.toolbox:none"], "cannot be imported"),
        (["no.such.module:f"], "cannot be imported: ModuleNotFoundError"),
        (["support.toolbox:__doc__"], "is no function"),
        (["support.toolbox:variadic"], "numbers: parameters must have names"),
        (["zoom", "zoom"], 'two tools have the name "zoom"'),
        ([7], "allowed: "),
        ([{"name": "computer"}], 'handler = "module:function"'),
        ([{"name": "computer", "handler": "support.toolbox:fails"}], "a parameter `given`"),
        ([{"name": "computer", "handler": "support.toolbox:none"}], "prompt.tools.0.handler: "),
    ],
)
def test_what_cannot_be_a_tool_is_named(entries: list[Any], said: str) -> None:
    """With its number in the list, before anything is sent."""
    with pytest.raises(ConfigError) as refused:
        load_tools(entries)
    assert str(refused.value).startswith("prompt.tools")
    assert said in str(refused.value)
