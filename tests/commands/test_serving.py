"""`pipeline serve`: words that mean nothing are refused before a port is taken, and batches are as they were asked."""

from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from support.asking import HEADERS
from support.batching import item, lines_of
from support.jobs import pipeline_process, run_pipeline


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--fault", "431:first=1"], ["431"]),
        (["--fault", "429:frist=1"], ["frist"]),
        (["--latency", "3,1"], ["--latency", "3,1"]),
        (["--port", "70000"], ["70000"]),
        (["--batch-seconds", "3,1"], ["--batch-seconds", "3,1"]),
        (["--batch-queue", "0"], ["--batch-queue", "0"]),
        (["--fault", "nowhere/529"], ["nowhere", "create"]),
        (["--fault", "item/slow"], ["item/slow"]),
        (["--log", "/dev/null/log.jsonl", "--port", "0"], ["/dev/null"]),
    ],
)
def test_wrong_words_are_2_and_named(words: list[str], names: list[str]) -> None:
    """The message names what was found."""
    done = run_pipeline("serve", *words)
    assert done.returncode == 2
    assert all(name in done.stderr for name in names)
    assert "Traceback" not in done.stderr


def test_batches_are_served_as_the_options_say(tmp_path: Path) -> None:
    """Held, bounded, queued, limited, and ended by a clock that another process moves; the log knows it all."""
    log = tmp_path / "log.jsonl"
    words = "--batch-seconds 50,60 --batch-cancel-seconds 5 --batch-hold --batch-queue 4 --batch-calls-per-minute 9999"
    more = "--batch-most 3 --batch-bytes 2000 --batch-seed 7 --fault item/expired:at=1"
    process = pipeline_process("serve", "--port", "0", "--log", log, *words.split(), *more.split())
    assert process.stderr is not None
    with httpx.Client(base_url=process.stderr.readline().split()[-1], headers=HEADERS, timeout=20) as client:

        def create(*items: Any) -> httpx.Response:
            return client.post("/v1/messages/batches", json={"requests": list(items)})

        items = [item(f"i{number}") for number in range(4)]
        told = create(*items[:3])
        assert told.headers["anthropic-ratelimit-requests-limit"] == "9999"
        assert create(*items).status_code == 400
        assert create(item("a", "x" * 2000)).status_code == 413
        assert create(*items[:2]).status_code == 429
        client.post("/_standin/clock", json={"advance_s": 100})
        client.post("/_standin/batches", json={"held": False})
        path, until = f"/v1/messages/batches/{told.json()['id']}", monotonic() + 20
        while client.get(path).json()["processing_status"] != "ended" and monotonic() < until:
            pass
        assert client.get(path).json()["request_counts"]["expired"] == 1
        assert len(client.get(f"{path}/results").text.splitlines()) == 3
    process.terminate()
    _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (0, "")
    assert len(lines_of(log, "batch_delivered")) == 3
