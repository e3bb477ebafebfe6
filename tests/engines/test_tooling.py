"""Calls of tools answered one by one: each has its own result, and one that fails costs nothing but its turn."""

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.pictures import encoded, quadrants

from pipeline.engines.preparing import Preparer, ReadyItem, Room
from pipeline.engines.tooling import ToolBox
from pipeline.images.decoders import Decoders
from pipeline.images.prepare import PrepareSettings
from pipeline.images.sources import ImageSource, SourceSettings
from pipeline.prompts.templates import Templates
from pipeline.prompts.tools import Tool, ToolContext, load_tools
from pipeline.records import ImageRecord, ImageRef, Item, Message, PreparedImage, ToolResult
from pipeline.settings import SettingsPrompt

pytestmark = pytest.mark.anyio
NAMED = ["zoom", *(f"support.toolbox:{name}" for name in ("colour_of", "describe_item", "fails", "picture_of"))]
SHOWN = PreparedImage(b"x", ImageRecord("a"))


class Mute(Exception):  # noqa: N818 - as users write them
    """An error that cannot even be told."""

    def __str__(self) -> str:
        """Fails."""
        raise ValueError("no words")


def raising(error: BaseException) -> Tool:
    """A tool `own` that raises this."""

    def own(given: dict[str, Any]) -> str:
        raise error

    return Tool("own", {"name": "own"}, own)


def _constant(value: Any) -> Any:
    def own(given: dict[str, Any]) -> Any:
        assert given == {}
        return value

    return own


def returning(value: Any) -> Tool:
    """A tool `own` that gives back this."""
    return Tool("own", {"name": "own"}, _constant(value))


@asynccontextmanager
async def opened(root: Path, *own: Tool, most_images: int = 10) -> AsyncIterator[tuple[ToolBox, ReadyItem]]:
    """A box with these tools beside the usual ones, and an item with one picture of 400 x 300 px."""
    (root / "a.png").write_bytes(encoded(quadrants(400, 300), "PNG"))
    keys = SettingsPrompt(user="Describe it.")
    async with ImageSource(SourceSettings(root)) as source, Decoders(2, 1 << 30) as decoders:
        templates = Templates(["Describe it."])
        preparer = Preparer(source, PrepareSettings(), templates, keys, Room(100), decoders)
        ready = await preparer.prepare(b"key", Item("item-1", (ImageRef("a.png"),), {"title": "T"}))
        yield ToolBox([*load_tools(NAMED), *own], preparer, most_images), ready


def call(name: str, number: int = 1, /, **given: Any) -> dict[str, Any]:
    """What the model sends to call a tool."""
    return {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": given}


def only(results: Sequence[ToolResult]) -> tuple[Any, bool]:
    """The single part of a single result, and whether it is an error."""
    [result] = results
    [part] = result.parts
    return part, result.is_error


async def test_each_call_has_its_result_in_its_place(tmp_path: Path) -> None:
    """By its own id, whatever became of its neighbours."""
    calls = [call("describe_item", 1, note="n"), call("fails", 2, number=7), call("colour_of", 3, part="top")]
    async with opened(tmp_path) as (box, ready):
        results = await box.results(calls, ready, [])
    assert [result.tool_use_id for result in results] == ["toolu_1", "toolu_2", "toolu_3"]
    assert [result.is_error for result in results] == [False, True, False]
    assert str(results[0].parts[0]).startswith("item-1, T, ")
    assert results[1].parts == ("RuntimeError: out of order 7",)
    assert results[2].parts == ('{"part": "top", "colour": "red", "exact": false}',)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("gone"), "KeyError: 'gone'"),
        (StopIteration(), "StopIteration"),
        (FileNotFoundError(2, "No such file", "\udcff.txt"), "No such file"),
        (ExceptionGroup("many", [ValueError("one")]), "many"),
        (SystemExit("usage: tool [-h]"), "SystemExit: usage: tool"),
        (Mute(), "Mute"),
    ],
)
async def test_a_tool_may_raise_anything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: BaseException, said: str
) -> None:
    """The model is told what, the log says for which item, and the run goes on."""
    async with opened(tmp_path, raising(error)) as (box, ready):
        text, is_error = only(await box.results([call("own")], ready, []))
    assert is_error
    assert said in text
    [record] = [record for record in caplog.records if record.name == "pipeline.engines.tooling"]
    assert vars(record)["item_id"] == "item-1"
    assert record.getMessage().startswith("tool own: ")


async def test_what_is_told_of_an_error_is_bounded(tmp_path: Path) -> None:
    """A tool that quotes a whole page does not fill the conversation."""
    async with opened(tmp_path, raising(ValueError("x" * 10_000))) as (box, ready):
        text, is_error = only(await box.results([call("own")], ready, []))
    assert (len(text), is_error) == (500, True)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (call("paint"), "there is no tool paint; there are: zoom, colour_of, describe_item, fails, picture_of"),
        (call("colour_of", part="left"), "the input does not fit: part: "),
        (call("colour_of", part="top", other=1), "the input does not fit: other: "),
        (call("zoom", left=0, top=0, width=0.5, height=0.5, image=2), "there is no image 2; there are 1"),
    ],
)
async def test_a_call_that_cannot_be_answered_is_told_why(tmp_path: Path, asked: dict[str, Any], said: str) -> None:
    """An unknown name, a wrong input, an image that is not there: the model may mend it."""
    async with opened(tmp_path) as (box, ready):
        text, is_error = only(await box.results([asked], ready, []))
    assert is_error
    assert said in text


async def test_a_part_of_the_original_is_shown_as_large_as_it_is(tmp_path: Path) -> None:
    """The bottom right quarter of a picture is its own quadrant."""
    async with opened(tmp_path) as (box, ready):
        asked = call("zoom", left=0.5, top=0.5, width=0.5, height=0.5)
        image, is_error = only(await box.results([asked], ready, []))
    assert not is_error
    with Image.open(BytesIO(image.body)) as shown:
        assert shown.size == (200, 150)
        red, green, blue = shown.convert("RGB").resize((1, 1)).getpixel((0, 0))
    assert min(red, green) > 180
    assert blue < 90


@pytest.mark.parametrize("value", [b"", b"no picture", encoded(quadrants(), "PNG")[:60]])
async def test_bytes_that_are_no_picture_are_an_error(tmp_path: Path, value: bytes) -> None:
    """They are named after the tool that gave them back."""
    async with opened(tmp_path, returning(value)) as (box, ready):
        text, is_error = only(await box.results([call("own")], ready, []))
    assert is_error
    assert "result of own" in text


@pytest.mark.parametrize(("value", "said"), [(object(), "gave back a object"), ({1: {2}}, "gave back a dict")])
async def test_what_cannot_be_sent_is_an_error(tmp_path: Path, value: Any, said: str) -> None:
    """Only text, pictures and what JSON can say reach the model."""
    async with opened(tmp_path, returning(value)) as (box, ready):
        text, is_error = only(await box.results([call("own")], ready, []))
    assert is_error
    assert said in text


@pytest.mark.parametrize(
    ("most_images", "sent", "kept"),
    [
        (10, (), 3),
        (2, (), 2),
        (3, (SHOWN, SHOWN), 1),
        (3, ("text", SHOWN, ToolResult("toolu_0", ("text", SHOWN))), 1),
        (1, (SHOWN, SHOWN), 0),
    ],
)
async def test_pictures_beyond_the_room_of_a_request_are_left_out(
    tmp_path: Path, most_images: int, sent: tuple[Any, ...], kept: int
) -> None:
    """Those of the conversation so far count, those within results too, and each call takes from what is left."""
    async with opened(tmp_path, most_images=most_images) as (box, ready):
        calls = [call("picture_of", number, number=number) for number in range(3)]
        results = await box.results(calls, ready, [Message("user", sent)] if sent else [])
    assert [result.is_error for result in results] == [False] * kept + [True] * (3 - kept)
    assert {result.parts for result in results[kept:]} <= {("no more images fit into this conversation",)}


async def test_text_is_answered_where_no_picture_fits(tmp_path: Path) -> None:
    """Room is a matter of pictures alone."""
    async with opened(tmp_path, most_images=0) as (box, ready):
        text, is_error = only(await box.results([call("colour_of", part="top")], ready, []))
    assert not is_error
    assert "red" in text


async def test_tools_run_beside_the_event_loop(tmp_path: Path) -> None:
    """A slow one holds up no other item."""
    threads = []

    def own(given: dict[str, Any], context: ToolContext) -> str:
        threads.append(threading.current_thread())
        return f"{len(context.original(1))} bytes"

    async with opened(tmp_path, Tool("own", {"name": "own"}, own, None, "context")) as (box, ready):
        text, _ = only(await box.results([call("own")], ready, []))
    assert text == f"{(tmp_path / 'a.png').stat().st_size} bytes"
    assert threads[0] is not threading.main_thread()
