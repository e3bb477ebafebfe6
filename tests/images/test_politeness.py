"""Politeness: places at a host, and the waits that servers ask for."""

from datetime import UTC, datetime

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.images.politeness import Hosts, retry_after_s

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.anyio
async def test_no_more_than_the_allowed_fetches_are_at_one_host() -> None:
    """With two places, a third fetch waits until one is free; another host is not held up."""
    hosts = Hosts(2)
    inside: list[str] = []
    release = anyio.Event()

    async def visit(host: str) -> None:
        async with hosts.place(host):
            inside.append(host)
            await release.wait()

    async with anyio.create_task_group() as group:
        for host in ("a", "a", "a", "b"):
            group.start_soon(visit, host)
        await anyio.wait_all_tasks_blocked()
        assert sorted(inside) == ["a", "a", "b"]
        release.set()
    assert inside.count("a") == 3


@pytest.mark.anyio
async def test_hosts_are_forgotten_once_nobody_is_there() -> None:
    """Memory does not grow with the hosts of a manifest, nor with fetches that were cancelled while they waited."""
    hosts = Hosts(1)
    for number in range(100):
        async with hosts.place(f"host-{number}"):
            with anyio.move_on_after(0):
                async with hosts.place(f"host-{number}"):
                    pytest.fail("there is one place only")
            assert len(hosts) == 1
    assert len(hosts) == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("²", None),
        ("Tue, 99 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_a_wait_is_read_in_either_form(text: str, seconds: float | None) -> None:
    """Seconds and HTTP dates are read, a date of the past is no wait, and what cannot be read is none."""
    assert retry_after_s(text, NOW) == seconds


@given(st.text(max_size=40))
@example("0\x1f")
@settings(deadline=None, max_examples=150)
def test_no_header_breaks_the_reader(text: str) -> None:
    """Whatever a server sends, the answer is no wait or a wait that is not negative."""
    wait = retry_after_s(text, NOW)
    assert wait is None or wait >= 0
