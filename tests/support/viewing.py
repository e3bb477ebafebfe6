"""`pipeline view` as a real process, and a browser's part of it: the cookie, and the page's own token."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from support.jobs import pipeline_process

__all__ = ["Viewer", "viewing"]


@dataclass
class Viewer:
    """A server, and a client that was let in."""

    process: subprocess.Popen[str]
    address: str
    client: httpx.Client

    @property
    def base(self) -> str:
        """The address without its token."""
        return self.address.partition("/?")[0]

    def review(self, item_id: str, verdict: str, fingerprint: str, **more: Any) -> httpx.Response:
        """Posts a decision as the page does."""
        found = re.search(r'data-review-token="([^"]+)"', self.client.get("/").text)
        assert found
        asked = {"id": item_id, "fingerprint": fingerprint, "verdict": verdict, **more}
        return self.client.post("/reviews", json=asked, headers={"x-review-token": found[1]})

    def items(self, **query: Any) -> dict[str, Any]:
        """A page of items."""
        answer = self.client.get("/items", params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def viewing(output: Path, *words: str, number: int = signal.SIGINT, **options: Any) -> Iterator[Viewer]:
    """Serves a dataset while the block runs, and ends it by a signal, which must be an end in good order."""
    process = pipeline_process("view", output, *words, **options)
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        if found is None:
            process.kill()
            raise AssertionError(process.communicate()[1])
        with httpx.Client(base_url=found[0].partition("/?")[0], follow_redirects=True, timeout=30) as client:
            assert client.get(f"/?{found[0].partition('?')[2]}").status_code == 200
            yield Viewer(process, found[0], client)
    finally:
        if process.poll() is None:
            os.kill(process.pid, number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Traceback" not in out + err
