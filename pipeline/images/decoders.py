"""Where preparation runs: in threads, or in processes for the formats that need them, while there is memory for it."""

from functools import partial
from types import TracebackType
from typing import Self

from anyio import CapacityLimiter, to_thread

from pipeline.images.isolation import IsolatedDecoders, wants_isolation
from pipeline.images.memory import DecodeRoom
from pipeline.images.prepare import PrepareSettings, need_bytes, prepare
from pipeline.records import PreparedImage

__all__ = ["Decoders"]


class Decoders:
    """Prepares pictures, several at once; an async context manager.

    Args:
        workers: pictures in work at once; as many as there are cores.
        room_bytes: what they may take together, by the estimates of `memory`; see `most_bytes`.
        isolated: the processes.
    """

    def __init__(self, workers: int, room_bytes: int, isolated: IsolatedDecoders | None = None) -> None:
        self._limiter = CapacityLimiter(workers)
        self._room = DecodeRoom(room_bytes)
        self._isolated = isolated or IsolatedDecoders()

    async def __aenter__(self) -> Self:
        """Starts nothing yet."""
        await self._isolated.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the processes."""
        await self._isolated.__aexit__(kind, error, trace)

    async def prepare(self, source: str, raw: bytes, settings: PrepareSettings) -> PreparedImage:
        """As `prepare`, in its turn.

        Raises:
            ImageError: as `prepare`; `image_corrupt` where a decoder died or took too long.
        """
        async with self._room.take(need_bytes(raw, settings)):
            if not wants_isolation(raw):
                return await to_thread.run_sync(partial(prepare, source, raw, settings), limiter=self._limiter)
            async with self._limiter:
                return await self._isolated.prepare(source, raw, settings)
