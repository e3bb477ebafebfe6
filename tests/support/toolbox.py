"""Tools that tests let the model call, named in configurations as `support.toolbox:NAME`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.prompts.tools import ToolContext
from support.pictures import encoded, quadrants

__all__ = ["colour_of", "describe_item", "fails", "operate", "picture_of", "variadic"]


def colour_of(
    part: Annotated[Literal["top", "bottom"], Field(description="which half")], exact: bool = False
) -> dict[str, Any]:
    """Tells the colour of a half.

    Measured, not guessed.
    """
    return {"part": part, "colour": "red", "exact": exact}


def describe_item(context: ToolContext, note: str) -> str:
    """Tells the item's own columns."""
    return f"{context.item_id}, {context.columns['title']}, {len(context.original(1))} bytes, {note}"


def picture_of(number: int) -> list[Any]:
    """Shows another picture."""
    return [f"picture {number}", encoded(quadrants(80, 60), "PNG")]


def fails(number: int) -> str:
    """Fails always."""
    raise RuntimeError(f"out of order {number}")


def variadic(*numbers: int) -> int:
    """Has no names for the model to give."""
    return sum(numbers)


def operate(given: dict[str, Any], context: ToolContext) -> bytes:
    """Answers the service's own computer tool with a screenshot."""
    assert isinstance(given, dict)
    return context.original(1)
