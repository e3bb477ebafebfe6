"""File descriptors, counted before the start; in processes of their own, since limits cannot be raised again."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys
from pipeline.engines.descriptors import ensure_descriptors
from pipeline.errors import ConfigError
def tried(soft, hard, concurrency):
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        ensure_descriptors(concurrency)
    except ConfigError as error:
        return f"{error.exit_code} {error}"
    return resource.getrlimit(resource.RLIMIT_NOFILE)
for case in eval(sys.argv[1]):
    print(tried(*case))
"""


def tried(*cases: tuple[int, int, int | str]) -> list[str]:
    """What came of `(soft, hard, concurrency)`, one after the other; hard limits may only fall."""
    done = subprocess.run([sys.executable, "-c", CODE, repr(cases)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_soft_limit_is_raised_as_far_as_is_needed_and_never_lowered() -> None:
    """256 places and the rest of the run for `auto`; a number of requests needs that many and the rest."""
    enough, raised, auto, exact = tried((900, 1000, 100), (64, 1000, 100), (64, 1000, "auto"), (64, 228, 100))
    assert enough == "(900, 1000)"
    assert raised == "(228, 1000)"
    assert auto == "(384, 1000)"
    assert exact == "(228, 228)"


def test_a_hard_limit_that_is_too_low_is_told_with_both_remedies() -> None:
    """What is advised works: with so many requests in flight the same limit is enough."""
    refused, advised, hopeless = tried((64, 200, 100), (64, 200, 72), (64, 128, 1))
    assert refused.startswith("2 limits.concurrency: 100 requests in flight need 228 file descriptors")
    assert "ulimit -Hn" in refused
    assert refused.endswith("at most 72")
    assert advised == "(200, 200)"
    assert "ulimit -Hn" in hopeless
    assert "at most" not in hopeless


@pytest.mark.parametrize("concurrency", [1, "auto"])
def test_the_limit_of_this_process_is_enough_for_tests(concurrency: int | str) -> None:
    """A machine as it comes runs the program; nothing is changed where there is room."""
    from resource import RLIMIT_NOFILE, getrlimit, setrlimit

    from pipeline.engines.descriptors import ensure_descriptors

    before = getrlimit(RLIMIT_NOFILE)
    try:
        ensure_descriptors(concurrency)
        assert getrlimit(RLIMIT_NOFILE)[0] >= 129
    finally:
        setrlimit(RLIMIT_NOFILE, before)
