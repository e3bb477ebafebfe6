"""Calls of tools answered: in worker threads, each with its own result, whatever becomes of it.

A call that fails costs nothing but its turn: the model is told why (`is_error`) and may go on without.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from anyio import CapacityLimiter, from_thread, to_thread

from pipeline.engines.preparing import Preparer, ReadyItem
from pipeline.errors import ErrorType, ImageError, ItemError
from pipeline.images.cropping import Box, crop
from pipeline.images.sources import source_name
from pipeline.prompts.tools import Tool, ToolContext, ToolFault
from pipeline.records import ImageRef, Message, PreparedImage, ToolResult

__all__ = ["ToolBox"]

logger = logging.getLogger(__name__)
_WORKERS = 4


class ToolBox:
    """The tools of one run.

    Args:
        tools: by `prompt.tools`.
        preparer: reads originals, and prepares the images that tools give back.
        most_images: of one request; a result that would pass it is told as an error.
    """

    def __init__(self, tools: Sequence[Tool], preparer: Preparer, most_images: int) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._preparer = preparer
        self._most_images = most_images
        self._limiter = CapacityLimiter(_WORKERS)

    async def results(
        self, calls: Sequence[Mapping[str, Any]], ready: ReadyItem, sent: Sequence[Message]
    ) -> tuple[ToolResult, ...]:
        """A result for each call, in order.

        Args:
            calls: `tool_use` blocks.
            ready: the item.
            sent: the conversation so far, for the number of its images.
        """
        room = self._most_images - _images_in(sent)
        found = []
        for call in calls:
            result = await self._result(call, ready, room)
            room -= sum(isinstance(part, PreparedImage) for part in result.parts)
            found.append(result)
        return tuple(found)

    async def _result(self, call: Mapping[str, Any], ready: ReadyItem, room: int) -> ToolResult:
        try:
            parts = await self._answered(call, ready)
            if sum(isinstance(part, PreparedImage) for part in parts) <= room:
                return ToolResult(call["id"], parts)
            return ToolResult(call["id"], ("no more images fit into this conversation",), is_error=True)
        except (ToolFault, ItemError) as error:
            return ToolResult(call["id"], (str(error),), is_error=True)
        except (Exception, SystemExit) as error:  # the user's own function may raise anything; the model is told
            about, told = {"item_id": ready.item.item_id}, _told(error)
            logger.warning("tool %s: %s", call["name"], told, exc_info=True, extra=about)
            return ToolResult(call["id"], (told[:500],), is_error=True)

    async def _answered(self, call: Mapping[str, Any], ready: ReadyItem) -> tuple[str | PreparedImage, ...]:
        tool = self._tools.get(call["name"])
        if tool is None:
            raise ToolFault(f"there is no tool {call['name']}; there are: {', '.join(self._tools)}")
        work = partial(tool.call, call["input"], self._context(ready))
        parts = await to_thread.run_sync(work, limiter=self._limiter)
        shown: list[str | PreparedImage] = []
        for part in parts:
            if isinstance(part, str):
                shown.append(part)
            else:
                shown.append(await self._preparer.result(f"result of {tool.name}", part))
        return tuple(shown)

    def _context(self, ready: ReadyItem) -> ToolContext:
        def original(number: int) -> bytes:
            return from_thread.run(self._preparer.original, self._ref(ready, number))

        def part(number: int, box: Box) -> bytes:
            name = source_name(self._ref(ready, number))
            return crop(name, original(number), box, self._preparer.result_settings).body

        return ToolContext(ready.item.item_id, ready.item.columns, original, part)

    def _ref(self, ready: ReadyItem, number: int) -> ImageRef:
        if not 1 <= number <= len(ready.item.images):
            raise ImageError(ErrorType.IMAGE_MISSING, f"there is no image {number}; there are {len(ready.item.images)}")
        return ready.item.images[number - 1]


def _told(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - its text is the user's own function too
        return type(error).__name__


def _images_in(messages: Sequence[Message]) -> int:
    parts = [part for message in messages for part in message.parts]
    parts += [inner for part in parts if isinstance(part, ToolResult) for inner in part.parts]
    return sum(isinstance(part, PreparedImage) for part in parts)
