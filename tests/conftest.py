"""Fixtures for every test: the event loop's backend, and stand-ins on loopback that end with the test."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from pipeline.standin.faults import parse_fault
from pipeline.standin.options import StandinOptions
from pipeline.standin.server import StandinServer

settings.register_profile("ci", derandomize=True)  # the same examples each time; elsewhere new ones are looked for
if os.environ.get("CI"):
    settings.load_profile("ci")

StartStandin = Callable[..., StandinServer]


@pytest.fixture
def anyio_backend() -> str:
    """Coroutine tests run on asyncio, as the program does."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_logging_left_behind() -> Iterator[None]:
    """What a command set up inside this process goes with its test: others listen to the same loggers."""
    yield
    ours, root = logging.getLogger("pipeline"), logging.getLogger()
    for logger in (ours, root):
        for handler in [one for one in logger.handlers if type(one).__module__ == "pipeline.faces.logs"]:
            logger.removeHandler(handler)
            handler.close()
    ours.setLevel(logging.NOTSET)
    ours.propagate = True


@pytest.fixture
def start_standin(tmp_path: Path) -> Iterator[StartStandin]:
    """Starts stand-ins: `start_standin("429:first=2", latency_s=(0, 0))`; its log is `server.options.log`."""
    with ExitStack() as stack:

        def start(*faults: str, **options: Any) -> StandinServer:
            log = options.pop("log", tmp_path / "standin" / f"log-{len(list(tmp_path.glob('standin/*')))}.jsonl")
            chosen = StandinOptions(log=log, faults=tuple(parse_fault(fault) for fault in faults), **options)
            return stack.enter_context(StandinServer(chosen))

        yield start
