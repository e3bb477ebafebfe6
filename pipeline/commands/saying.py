"""Answers on standard output."""

import errno
import sys

from pipeline.faces.plain import write_aside

__all__ = ["say"]


def say(text: str) -> None:
    """One answer on standard output; a reader that has gone away is no fault of the run, a full disk is said."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as error:
        if error.errno != errno.EPIPE:
            write_aside(f"pipeline: standard output: {error.strerror}")
