"""The log: whole lines on disk before anyone is told."""

import json
import os
from pathlib import Path

import anyio
import pytest
from support.standins import read_log

from pipeline.standin.log import AnswerLog

pytestmark = pytest.mark.anyio


async def test_a_line_is_in_the_file_when_it_is_added(tmp_path: Path) -> None:
    """Nobody has to wait for the log's end to read it."""
    log = AnswerLog(tmp_path / "deep" / "log.jsonl")
    await log.add({"event": "answer", "n": 1})
    assert read_log(tmp_path / "deep" / "log.jsonl") == [{"event": "answer", "n": 1}]
    log.close()


async def test_many_writers_leave_whole_lines(tmp_path: Path) -> None:
    """Lines of any length that are added at once all arrive, none torn."""
    log = AnswerLog(tmp_path / "log.jsonl")
    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(log.add, {"n": number, "text": "x" * (number * 37)})
    log.close()
    assert sorted(line["n"] for line in read_log(tmp_path / "log.jsonl")) == list(range(200))


async def test_a_second_server_appends(tmp_path: Path) -> None:
    """What an earlier one wrote is kept."""
    for number in (1, 2):
        log = AnswerLog(tmp_path / "log.jsonl")
        await log.add({"n": number})
        log.close()
    assert [line["n"] for line in read_log(tmp_path / "log.jsonl")] == [1, 2]


async def test_the_file_is_private(tmp_path: Path) -> None:
    """Prompts are nobody else's business."""
    AnswerLog(tmp_path / "log.jsonl").close()
    assert (tmp_path / "log.jsonl").stat().st_mode & 0o077 == 0


async def test_a_full_disk_is_an_error_and_not_a_hang() -> None:
    """Whoever adds a line is told that it could not be written, each time."""
    log = AnswerLog(Path("/dev/full"))
    for _ in range(2):
        with pytest.raises(OSError, match=os.strerror(28)), anyio.fail_after(10):
            await log.add({"n": 1})
    log.close()


async def test_without_a_path_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file appears, and adding and closing are free."""
    monkeypatch.chdir(tmp_path)
    log = AnswerLog(None)
    await log.add({"n": 1})
    log.close()
    assert not os.listdir(tmp_path)  # noqa: PTH208 - not blocking in any way that matters


async def test_text_of_any_kind_survives(tmp_path: Path) -> None:
    """Line ends, escapes and lone surrogates in a caption do not break the file."""
    line = {"text": 'a\nb\r\u2028"\\\ud800é'}
    log = AnswerLog(tmp_path / "log.jsonl")
    await log.add(line)
    log.close()
    assert [json.loads(text) for text in (tmp_path / "log.jsonl").read_text("ascii").splitlines()] == [line]


async def test_lines_that_are_added_together_stay_together(tmp_path: Path) -> None:
    """In their order, also from a thread without an event loop."""
    log = AnswerLog(tmp_path / "log.jsonl")
    await log.extend({"n": number} for number in range(3))
    await anyio.to_thread.run_sync(log.write, [{"n": 3}, {"n": 4}])
    assert [line["n"] for line in read_log(tmp_path / "log.jsonl")] == [0, 1, 2, 3, 4]
    log.close()
    AnswerLog(None).write([{"n": 1}])
