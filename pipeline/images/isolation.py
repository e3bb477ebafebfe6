"""Preparation in a process of its own, for formats whose decoders have no bound of their own or may die.

TIFF, JPEG 2000, AVIF and HEIC are decoded by large libraries that read hostile bytes: what kills or hangs one of them
costs that picture alone. The process is started as a module, so nothing of the user's script runs in it; it is given no
environment beside what finds Python, so it has no key; its memory is limited by the system where that can be done. It
serves one picture after the other and ends with its standard input.

Both sides speak in pickles, each behind its length in 8 bytes; only this program's own two ends are connected.
"""

import os
import pickle
import resource
import struct
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any, Self

import anyio
from anyio.abc import Process

from pipeline.errors import ErrorType, ImageError
from pipeline.images.memory import most_bytes
from pipeline.images.peeking import peek
from pipeline.images.prepare import PrepareSettings, prepare
from pipeline.records import PreparedImage

__all__ = ["IsolatedDecoders", "serve", "wants_isolation"]

DEADLINE_S = 120.0
"""For one picture; at `images.max_pixels` the slowest of these formats takes some ten seconds on one core."""
_ISOLATED = ("TIFF", "JPEG2000", "HEIF")
_LENGTH = struct.Struct(">Q")
_PROGRAM_BYTES = 300_000_000
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "LANG")


def wants_isolation(raw: bytes) -> bool:
    """Whether the file is of a format that is decoded apart."""
    shape = peek(raw)
    return shape is not None and shape.name in _ISOLATED


class IsolatedDecoders:
    """Processes that prepare pictures, started when they are first needed; an async context manager.

    There are as many as are asked at once: the caller limits that.

    Args:
        environ: where the environment of the processes comes from.
        deadline_s: for one picture.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, deadline_s: float = DEADLINE_S) -> None:
        self._environ = {name: environ[name] for name in _ENVIRONMENT if name in environ}
        self._deadline_s = deadline_s
        self._idle: list[Process] = []

    async def __aenter__(self) -> Self:
        """Starts nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the processes."""
        while self._idle:
            await _end(self._idle.pop())

    async def prepare(self, source: str, raw: bytes, settings: PrepareSettings) -> PreparedImage:
        """As `prepare`, elsewhere.

        Raises:
            ImageError: as `prepare`; `image_corrupt` where the decoder died or took too long.
        """
        process = self._idle.pop() if self._idle else await self._start()
        whole = False
        try:
            with anyio.fail_after(self._deadline_s):
                answer = await _ask(process, pickle.dumps((source, raw, settings)))
            whole = True
        except TimeoutError:
            text = f"{source}: not decoded within {self._deadline_s:g} s"
            raise ImageError(ErrorType.IMAGE_CORRUPT, text) from None
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ImageError(ErrorType.IMAGE_CORRUPT, f"{source}: its decoder died of it") from error
        finally:
            if whole:
                self._idle.append(process)
            else:
                with anyio.CancelScope(shield=True):
                    await _end(process)
        if isinstance(answer, PreparedImage):
            return answer
        error_type, message = answer
        raise ImageError(error_type, message)

    async def _start(self) -> Process:
        command = [sys.executable, "-m", "pipeline.images.isolation"]
        with anyio.CancelScope(shield=True):  # a start that is broken off leaves a process that nobody knows
            process = await anyio.open_process(command, stderr=None, env=self._environ, start_new_session=True)
        return process  # noqa: RET504 - mypy holds that a scope may swallow what is raised within


async def _ask(process: Process, question: bytes) -> Any:
    assert process.stdin is not None  # noqa: S101 - both are pipes, by `open_process`
    assert process.stdout is not None  # noqa: S101
    await process.stdin.send(_LENGTH.pack(len(question)))
    await process.stdin.send(question)
    head = await _received(process, _LENGTH.size)
    return pickle.loads(await _received(process, _LENGTH.unpack(head)[0]))  # noqa: S301 - from our own process


async def _received(process: Process, length: int) -> bytes:
    assert process.stdout is not None  # noqa: S101
    found = bytearray()
    while len(found) < length:
        found += await process.stdout.receive(min(1 << 20, length - len(found)))
    return bytes(found)


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.aclose()


def serve(asked: IO[bytes], told: IO[bytes]) -> None:
    """The other end: answers until there are no more questions."""
    limited = False
    while len(head := asked.read(_LENGTH.size)) == _LENGTH.size:
        source, raw, settings = pickle.loads(asked.read(_LENGTH.unpack(head)[0]))  # noqa: S301 - from our own process
        if not limited:
            _limit_memory(most_bytes(settings.max_pixels))
            limited = True
        try:
            answer: PreparedImage | tuple[str, str] = prepare(source, raw, settings)
        except ImageError as error:
            answer = error.error_type, str(error)
        packed = pickle.dumps(answer)
        told.write(_LENGTH.pack(len(packed)) + packed)
        told.flush()


def _limit_memory(decode_bytes: int) -> None:
    """A decoder that wants more is told that there is none, which fails its picture as too large."""
    if not sys.platform.startswith("linux"):  # elsewhere the limit counts other things
        return
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = decode_bytes + _PROGRAM_BYTES
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    serve(sys.stdin.buffer, answers)
