"""Settings of a server."""

from dataclasses import FrozenInstanceError

import pytest

from pipeline.standin.options import StandinOptions


def test_options_are_set_once() -> None:
    """A running server cannot be changed under its own feet."""
    with pytest.raises(FrozenInstanceError):
        StandinOptions().port = 80  # type: ignore[misc]


def test_keys_are_not_shown() -> None:
    """A repr in a traceback or log holds no key."""
    assert "canary" not in repr(StandinOptions(keys=frozenset({"canary"})))


def test_by_default_it_is_for_this_machine_alone() -> None:
    """Nothing but loopback is listened on unless it is asked for."""
    assert StandinOptions().host == "127.0.0.1"
