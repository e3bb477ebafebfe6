"""The sign of life at the end of a good run."""

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipeline.faces.heartbeat import beat


class _Switch(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.paths.append(self.path)  # type: ignore[attr-defined]
        self.send_response(500 if self.path == "/broken" else 200)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        """Says nothing."""


@pytest.fixture
def switch() -> Iterator[HTTPServer]:
    """A server that remembers which paths it was asked for."""
    with HTTPServer(("127.0.0.1", 0), _Switch) as server:
        server.paths = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_good_run_touches_its_file(tmp_path: Path) -> None:
    """The file is made, and its time is new each time."""
    target = tmp_path / "alive"
    assert beat(str(target), 0)
    before = target.stat().st_mtime_ns
    assert beat(str(target), 0)
    assert target.stat().st_mtime_ns >= before


@pytest.mark.parametrize("code", [1, 2, 3, 4, 75, 130, 143])
def test_no_other_run_gives_a_sign(tmp_path: Path, switch: HTTPServer, code: int) -> None:
    """Neither the file is made nor the URL asked for."""
    assert not beat(str(tmp_path / "alive"), code)
    assert not beat(f"http://127.0.0.1:{switch.server_port}/ping", code)
    assert not (tmp_path / "alive").exists()
    assert switch.paths == []  # type: ignore[attr-defined]


def test_a_good_run_asks_for_its_url_once(switch: HTTPServer) -> None:
    """One GET."""
    assert beat(f"http://127.0.0.1:{switch.server_port}/ping/secret", 0)
    assert switch.paths == ["/ping/secret"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", ["http://127.0.0.1:9/ping-secret", "{folder}/none/alive", "https://[bad"])
def test_a_sign_that_cannot_be_given_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, target: str
) -> None:
    """The log names the target, without what only its owner should know."""
    with caplog.at_level(logging.WARNING):
        assert not beat(target.format(folder=tmp_path), 0)
    assert "--heartbeat" in caplog.text
    assert "ping-secret" not in caplog.text


def test_a_switch_that_answers_with_an_error_has_not_heard(
    switch: HTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A 500 is logged."""
    with caplog.at_level(logging.WARNING):
        assert not beat(f"http://127.0.0.1:{switch.server_port}/broken", 0)
    assert "500" in caplog.text
