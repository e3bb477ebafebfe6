"""`pipeline view` and `pipeline compare`."""

import getpass
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.commands.saying import say
from pipeline.errors import ConfigError, OutputError
from pipeline.exports.exporting import originals_of
from pipeline.faces.compare import write_comparison
from pipeline.faces.logs import set_up_logs
from pipeline.faces.plain import write_aside
from pipeline.faces.view_server import ViewSettings, serve_view
from pipeline.store.buckets import Place, place_of
from pipeline.store.read import dataset_status

__all__ = ["compare_command", "view_command"]

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def view_command(output: Path, options: Mapping[str, Any]) -> int:
    """Serves the gallery of a dataset until it is told to end."""
    set_up_logs("text", None, ())
    place = place_of(output)
    host, port, given = options["host"], options["port"], options["fingerprint"]
    settings = ViewSettings(
        place,
        originals_of(place, options["root"]),
        options["reviewer"] or _user(),
        _fingerprint(place, given, "--fingerprint") if given is not None else None,
        host,
        port,
    )
    if host not in _LOOPBACK:
        write_aside(f"pipeline: listening on {host}: whoever has the address with its token can read and review")
    try:
        serve_view(settings, lambda address: say(f"view        {address}\nend it with Ctrl-C"))
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"--host {host} --port {port}: cannot be listened on: {reason}") from error
    return 0


def compare_command(output: Path, other: Path | None, fingerprints: Sequence[str], target: Path | None) -> int:
    """Writes the page of two sides."""
    set_up_logs("text", None, ())
    first = place_of(output)
    one, two = _sides(first, None if other is None else place_of(other), fingerprints)
    place = target or first / "compare.html"
    try:
        say(f"comparison  {write_comparison(one, two, place)}")
    except OSError as error:
        raise OutputError(f"-o {place}: the page cannot be written: {error.strerror or error}") from error
    return 0


def _sides(output: Place, other: Place | None, given: Sequence[str]) -> tuple[tuple[Place, str], tuple[Place, str]]:
    """The two sides that a command line names: fingerprints, two datasets, or both."""
    second = other or output
    if given:
        return (
            (output, _fingerprint(output, given[0], "--fingerprints")),
            (second, _fingerprint(second, given[1], "--fingerprints")),
        )
    if other is not None:
        return (output, _known(output)[0]), (other, _known(other)[0])
    known = _known(output)
    if len(known) != 2:
        raise ConfigError(
            f"--fingerprints: {output} has {len(known)}: {', '.join(known)}; name two of them, or a second dataset"
        )
    return (output, known[1]), (output, known[0])


def _fingerprint(output: Place, text: str, option: str) -> str:
    """The one fingerprint of a dataset that begins so."""
    known = _known(output)
    found = [one for one in known if one.startswith(text)] if text else []
    exact = [one for one in found if one == text]
    if len(exact or found) != 1:
        problem = "begins several" if found else "is none"
        raise ConfigError(f'{option}: found "{text}", which {problem} of {output}; it has {", ".join(known)}')
    return (exact or found)[0]


def _known(output: Place) -> list[str]:
    """The fingerprints of a dataset, newest first."""
    known = list(dataset_status(output).fingerprints)
    if not known:
        raise ConfigError(f"{output}: holds no answers and no failures yet")
    return known


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "reviewer"
