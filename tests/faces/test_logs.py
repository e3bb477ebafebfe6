"""Log lines: what is in them, and what never is."""

import io
import json
import logging
import stat
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
from support.configs import config_with
from support.logging_state import logging_kept

from pipeline.errors import ConfigError
from pipeline.faces.logs import FEW, logs_for_run, redacted, secrets_of, set_up_logs

SECRET = 'sk-"canary"\\0123456789'
"""With characters that JSON escapes: a secret that is looked for in the finished line would be missed."""
OURS = logging.getLogger("pipeline.somewhere")


class Heard:
    """What has gone to standard error."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def getvalue(self) -> str:
        """All of it so far."""
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def err(capsys: pytest.CaptureFixture[str]) -> Iterator[Heard]:
    """What goes to standard error; the log is as it was before afterwards."""
    with logging_kept():
        yield Heard(capsys)


def fail(number: int, kind: str = "image_missing") -> None:
    """The log line of an item that failed."""
    OURS.warning("failed: item-%d", number, extra={"item_id": f"item-{number}", "error_type": kind})


def raised(text: str) -> Exception:
    """An exception that was raised, with its traceback and this text in it."""
    try:
        int(text)
    except ValueError as error:
        return error
    raise AssertionError(text)


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_in_no_line_whatever_its_level_and_writer(err: Heard, tmp_path: Path, form: Any) -> None:
    """In messages, arguments, fields, exceptions, and in what libraries log; on the screen and in the file."""
    set_up_logs(form, tmp_path / "log", [SECRET, SECRET[:10]])
    for level in (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        OURS.log(level, f"the key {SECRET} and %s", SECRET)
    OURS.warning("failed", extra={"item_id": SECRET, "request_id": f"of {SECRET}", "error_type": SECRET})
    OURS.error("fault", exc_info=raised(f"header {SECRET}"))
    logging.getLogger("aiohttp.client").warning("cookie of %s", SECRET)
    for text in (err.getvalue(), (tmp_path / "log").read_text()):
        assert len(text.splitlines()) == 7
        assert text.count("***") >= 9
        shown = [json.loads(line) for line in text.splitlines()] if form == "json" else text
        assert not [part for part in ("canary", "0123456789") if part in str(shown)]


def test_a_secret_is_cut_out_before_a_long_line_is(err: Heard) -> None:
    """Half a key at the place where the line is cut would still be half a key."""
    set_up_logs("text", None, [SECRET])
    OURS.warning("%s%s", "x" * 1990, SECRET)
    assert "sk-" not in err.getvalue()


def test_a_dummy_key_garbles_nothing(err: Heard) -> None:
    """Servers without keys are given `x` or the like, and every word has an `x`."""
    set_up_logs("json", None, ["x", ""])
    OURS.warning("an example")
    assert json.loads(err.getvalue())["message"] == "an example"


def test_escape_codes_are_neutralised(err: Heard) -> None:
    """Neither text nor JSON lets an id or a path reach the terminal's ear, or make a line of its own."""
    for form in ("text", "json"):
        set_up_logs(form, None, [])  # type: ignore[arg-type]
        OURS.warning("failed: %s", "id\x1b[2J\r\n\x9b31m\u2028", extra={"item_id": "id\x1b[2J\n"})
    lines = err.getvalue().removesuffix("\n").split("\n")
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert json.loads(lines[1])["item_id"] == "id\x1b[2J\n"


def test_json_lines_have_time_level_logger_fields_and_numbers(err: Heard) -> None:
    """A log store finds what it indexes."""
    set_up_logs("json", None, [])
    OURS.info("3 of 9", extra={"numbers": {"settled": 3, "expected": None}})
    fail(1)
    first, second = map(json.loads, err.getvalue().splitlines())
    assert (first["level"], first["logger"], first["settled"], first["expected"]) == ("info", OURS.name, 3, None)
    assert first["time"].endswith("+00:00")
    assert (second["item_id"], second["error_type"]) == ("item-1", "image_missing")
    assert "request_id" not in second


def test_many_failures_of_one_kind_are_counted_and_the_file_has_them_all(err: Heard, tmp_path: Path) -> None:
    """Ten thousand bad rows do not bury the terminal; other kinds and other lines are still shown."""
    set_up_logs("text", tmp_path / "log", [])
    for number in range(FEW + 5):
        fail(number)
    fail(99, "timeout")
    OURS.warning("still here")
    shown = err.getvalue().splitlines()
    assert [f"item-{number}" in shown[number] for number in range(FEW)] == [True] * FEW
    assert "image_missing" in shown[FEW]
    assert "counted" in shown[FEW]
    assert len(shown) == FEW + 3
    kept = (tmp_path / "log").read_text()
    assert all(f"item-{number}\n" in kept for number in range(FEW + 5))


def test_json_on_standard_error_leaves_out_nothing(err: Heard) -> None:
    """What machines read is whole."""
    set_up_logs("json", None, [])
    for number in range(3 * FEW):
        fail(number)
    assert len(err.getvalue().splitlines()) == 3 * FEW


def test_the_log_file_is_private_and_appended_to(err: Heard, tmp_path: Path) -> None:
    """A second run adds to it, and the first one's file is let go of."""
    path = tmp_path / "log"
    for text in ("one", "two"):
        set_up_logs("text", path, [])
        OURS.warning(text)
    lines = path.read_text().splitlines()
    assert [line.split()[-1] for line in lines] == ["one", "two"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(err.getvalue().splitlines()) == 2


def test_a_log_file_that_cannot_be_opened_is_told_before_the_start(err: Heard, tmp_path: Path) -> None:
    """The message names the option and the file."""
    with pytest.raises(ConfigError, match=r"--log-file .*none/log: cannot be opened: No such file") as refused:
        set_up_logs("text", tmp_path / "none" / "log", [])
    assert refused.value.exit_code == 2


def test_a_log_file_that_cannot_be_written_is_said_once_without_the_secret(err: Heard) -> None:
    """A full disk under the log ends no run; the library's own report would quote the arguments."""
    set_up_logs("text", Path("/dev/full"), [SECRET])
    for _ in range(3):
        OURS.warning("key %s", SECRET)
    assert err.getvalue().count("/dev/full: cannot be written") == 1
    assert "canary" not in err.getvalue()
    assert err.getvalue().count("key ***") == 3


def test_lines_follow_standard_error_when_it_is_replaced(err: Heard) -> None:
    """A live view puts itself in its place to keep lines above the bar."""
    set_up_logs("text", None, [])
    with redirect_stderr(io.StringIO()) as other:
        OURS.warning("above")
    assert "above" in other.getvalue()
    assert not err.getvalue()


def test_a_closed_standard_error_is_no_fault(err: Heard) -> None:
    """Logging goes on as if it were heard."""
    set_up_logs("text", None, [])
    err_closed = io.StringIO()
    err_closed.close()
    with redirect_stderr(err_closed):
        OURS.warning("unheard")
    with redirect_stderr(None):
        OURS.warning("unheard")
    assert not err.getvalue()


def test_a_process_without_logging_sees_a_runs_lines_while_it_runs(err: Heard) -> None:
    """As in a notebook; afterwards nothing is left behind."""
    logger, root = logging.getLogger("pipeline"), logging.getLogger()
    handlers, root.handlers, ours, logger.handlers = root.handlers, [], logger.handlers, []
    try:
        with logs_for_run([SECRET]):
            OURS.info("key %s", SECRET)
        assert logger.handlers == []
    finally:
        root.handlers, logger.handlers = handlers, ours
    assert "key ***" in err.getvalue()


def test_a_process_with_logging_of_its_own_keeps_it(err: Heard) -> None:
    """A notebook that has set up logging gets its lines there, and only there."""
    heard: list[str] = []

    class Own(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    logging.getLogger().addHandler(own := Own())
    try:
        with logs_for_run([]):
            OURS.warning("there")
    finally:
        logging.getLogger().removeHandler(own)
    assert heard == ["there"]
    assert not err.getvalue()


def test_text_is_redacted_by_what_the_log_knows(err: Heard) -> None:
    """A traceback on its way to the screen."""
    assert redacted(SECRET) == SECRET
    set_up_logs("text", None, [SECRET])
    assert redacted(f"Traceback: {SECRET}!") == "Traceback: ***!"
    assert not err.getvalue()


def test_secrets_are_the_key_the_urls_password_and_headers_that_are_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header that everybody may see is none."""
    monkeypatch.setenv("MY_KEY", " the-key ")
    config = config_with(
        tmp_path,
        "api.api_key_env=MY_KEY",
        "api.base_url=https://me:pass%20word@example.com",
        'api.headers={"x-token" = "the-token", "anthropic-beta" = "open"}',
    )
    found = set(secrets_of(config))
    assert {"the-key", "the-token", "pass%20word", "pass word"} <= found
    assert "open" not in found
