"""A dataset opened for writing: its folder, its locks, its journal, and what an earlier run left put right.

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

from pipeline.errors import OutputError, OutputHeldError
from pipeline.store.buckets import BucketPath, Place
from pipeline.store.folding import fold_others, other_layouts
from pipeline.store.journal import Journal
from pipeline.store.leases import Lease
from pipeline.store.ledger import DatasetSettings
from pipeline.store.lock import OutputLock, in_turn, is_held
from pipeline.store.parts import made_folder
from pipeline.store.places import shards_folder, state_folder, state_path
from pipeline.store.recovery import open_journal, recover

__all__ = ["LEAST_FREE_BYTES", "open_dataset"]

logger = logging.getLogger(__name__)

LEAST_FREE_BYTES = 32 * 1024 * 1024
"""Room for a journal and a first part; below it a run does not start."""


@contextmanager
def open_dataset(settings: DatasetSettings) -> Iterator[Journal]:
    """The journal of a dataset, or of one shard of it, that this process alone may write while the block runs.

    A run without a shard holds the output's lock alone; shards share it, and hold each one of their own.

    Raises:
        OutputError: the folder cannot be written, is full, or holds a journal of a newer version.
        OutputHeldError: another run holds it.
    """
    output = settings.output
    with ExitStack() as stack:
        try:
            root = state_folder(output)
            stack.enter_context(OutputLock(root / "lock", shared=settings.shard is not None))
            _check_room(output, root)
            journal = stack.enter_context(_journal(settings, stack))
            recover(journal, settings)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(_explained(output, error)) from error
        yield journal


@contextmanager
def _journal(settings: DatasetSettings, stack: ExitStack) -> Iterator[Journal]:
    """The run's own journal, once those of other layouts are brought in; a shard's lock is kept on the stack.

    Shards start one after the other, so that each sees which others run, and one alone brings in what others left.
    """
    output, shard = settings.output, settings.shard
    with ExitStack() as start:
        if shard is not None:
            start.enter_context(in_turn(made_folder(shards_folder(output), 0o700) / "starting"))
            state_folder(output, shard)
            for other in other_layouts(output, shard):
                if is_held(state_path(output, other) / "lock"):
                    raise OutputHeldError(
                        f"{output}: shard {other} of this output is running, and shares items with shard {shard}; wait "
                        f"for it, or run shards of {other.of}"
                    )
            what = f"{output}: another run holds shard {shard} of this output"
            stack.enter_context(OutputLock(settings.state / "lock", what=what))
        if isinstance(output, BucketPath):
            stack.enter_context(Lease(output, shard))
        journal = open_journal(output, shard)
        try:
            fold_others(journal, settings)
        except BaseException:
            _close(journal)
            raise
    try:
        yield journal
    finally:
        _close(journal)


def _close(journal: Journal) -> None:
    """Closes the journal; one that cannot be sealed is checked by the next start, and loses nothing."""
    try:
        journal.close()
    except (OSError, sqlite3.Error) as error:
        logger.warning("the journal is closed, but not sealed (%s): the next start checks it in full", error)


def _check_room(output: Place, state: Path) -> None:
    here = state if isinstance(output, BucketPath) else output
    free = shutil.disk_usage(here).free
    if free < LEAST_FREE_BYTES:
        raise OutputError(
            f"{here}: {free // 1_000_000} MB free; a run needs at least {LEAST_FREE_BYTES // 1_000_000} MB to start"
        )
    for place in (here, state):
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))


def _explained(output: Place, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return f"{output}: output.path cannot be written: {reason}; choose another, or mend its permissions"
