"""A dataset opened for writing: its folder, its lock, its journal, and what an earlier run left put right.

Everything that can be found wrong with an output is found here, before any money is spent.
"""

import errno
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.errors import OutputError
from pipeline.store.journal import Journal
from pipeline.store.ledger import DatasetSettings
from pipeline.store.lock import OutputLock
from pipeline.store.recovery import open_journal, recover, state_folder

__all__ = ["LEAST_FREE_BYTES", "open_dataset"]

logger = logging.getLogger(__name__)

LEAST_FREE_BYTES = 32 * 1024 * 1024
"""Room for a journal and a first part; below it a run does not start."""


@contextmanager
def open_dataset(settings: DatasetSettings) -> Iterator[Journal]:
    """The journal of a dataset that this process alone may write while the block runs.

    Raises:
        OutputError: the folder cannot be written, is full, or holds a journal of a newer version.
        OutputHeldError: another run holds it.
    """
    output = settings.output
    with ExitStack() as stack:
        try:
            state = state_folder(output)
            stack.enter_context(OutputLock(state / "lock"))
            _check_room(output, state)
            journal = open_journal(output)
            stack.callback(_close, journal)
            recover(journal, settings)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(_explained(output, error)) from error
        yield journal


def _close(journal: Journal) -> None:
    """Closes the journal; one that cannot be sealed is checked by the next start, and loses nothing."""
    try:
        journal.close()
    except (OSError, sqlite3.Error) as error:
        logger.warning("the journal is closed, but not sealed (%s): the next start checks it in full", error)


def _check_room(output: Path, state: Path) -> None:
    free = shutil.disk_usage(output).free
    if free < LEAST_FREE_BYTES:
        raise OutputError(
            f"{output}: {free // 1_000_000} MB free; a run needs at least {LEAST_FREE_BYTES // 1_000_000} MB to start"
        )
    for place in (output, state):
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))


def _explained(output: Path, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return f"{output}: output.path cannot be written: {reason}; choose another, or mend its permissions"
