"""`pipeline serve`: words that mean nothing are refused before a port is taken."""

import pytest
from support.jobs import run_pipeline


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--fault", "431:first=1"], ["431"]),
        (["--fault", "429:frist=1"], ["frist"]),
        (["--latency", "3,1"], ["--latency", "3,1"]),
        (["--port", "70000"], ["70000"]),
        (["--log", "/dev/null/log.jsonl", "--port", "0"], ["/dev/null"]),
    ],
)
def test_wrong_words_are_2_and_named(words: list[str], names: list[str]) -> None:
    """The message names what was found."""
    done = run_pipeline("serve", *words)
    assert done.returncode == 2
    assert all(name in done.stderr for name in names)
    assert "Traceback" not in done.stderr
